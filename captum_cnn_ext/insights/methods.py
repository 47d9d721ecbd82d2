"""The attribution methods of an audit, with the parameters they run with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import LayerGradCam, NoiseTunnel, Occlusion, Saliency
from torch import Tensor, nn

from captum_cnn_ext._engine.arguments import find_layer
from captum_cnn_ext.attr import (
    LayerCam,
    LayerGradCamPlusPlus,
    LayerHiResCam,
    LayerLayerCam,
    LayerXGradCam,
)

OURS = "captum-cnn-ext"
CAPTUM = "Captum"
Attribute = Callable[[Tensor, Tensor], Tensor]

WINDOW_SHARE = 4  # an occluding window covers a quarter of each side
STRIDES_PER_WINDOW = 2
WINDOWS_AT_ONCE = 4
NOISE_SAMPLES = 8
NOISE_SAMPLES_AT_ONCE = 2
# noise of 15 % of the input's range, the middle of what Smilkov et al. recommend for SmoothGrad
NOISE_SHARE = 0.15


@dataclass(frozen=True)
class Method:
    """A method ready to run: ``attribute(inputs, targets)``; parameters and idea in words."""

    name: str
    origin: str
    attribute: Attribute
    parameters: str

    @property
    def idea(self) -> str:
        """What the method computes, in a sentence for readers."""
        return IDEAS[self.name]


IDEAS = {
    "Saliency": "Absolute gradient of the class score by each input value (Simonyan et al. 2013).",
    "Occlusion": "By how much the class score falls when a window of the input is set to 0 after "
    "preprocessing (Zeiler, Fergus 2014).",
    "LayerGradCam": "Feature maps, each weighted by its mean gradient (Selvaraju et al. 2017).",
    "LayerCam": "Feature maps weighted by the classifier's own weights; defined only for the layer "
    "that is pooled right before the classifier (Zhou et al. 2016).",
    "LayerGradCamPlusPlus": "Feature maps weighted by positive gradients, whatever the area these "
    "come from (Chattopadhyay et al. 2018).",
    "LayerXGradCam": "Feature maps weighted by gradients, which count by the share that a position "
    "has of its map (Fu et al. 2020).",
    "LayerHiResCam": "Gradient times activation at each position (Draelos, Carin 2020).",
    "LayerLayerCam": "Positive gradient times activation at each position (Jiang et al. 2021).",
    "NoiseTunnel(LayerHiResCam)": "Mean of LayerHiResCam over noisy copies of the input (Smilkov "
    "et al. 2017).",
}


def input_methods(model: nn.Module, inputs: Tensor) -> list[Method]:
    """Methods that explain by pixels of the input."""
    channels, *size = inputs.shape[1:]
    window = tuple(max(1, -(-side // WINDOW_SHARE)) for side in size)
    stride = tuple(max(1, side // STRIDES_PER_WINDOW) for side in window)

    def saliency(inputs: Tensor, targets: Tensor) -> Tensor:
        result: Tensor = Saliency(model).attribute(inputs.requires_grad_(), targets)
        return result

    def occlusion(inputs: Tensor, targets: Tensor) -> Tensor:
        result: Tensor = Occlusion(model).attribute(
            inputs,
            (channels, *window),
            (channels, *stride),
            baselines=0,
            target=targets,
            perturbations_per_eval=WINDOWS_AT_ONCE,
        )
        return result

    windows = " × ".join(map(str, window))
    steps = " and ".join(map(str, stride))
    return [
        Method("Saliency", CAPTUM, saliency, "absolute gradient of the class score"),
        Method(
            "Occlusion",
            CAPTUM,
            occlusion,
            f"window {windows} over all channels, stride {steps}, baseline 0 after preprocessing",
        ),
    ]


def layer_methods(model: nn.Module, layer: str, inputs: Tensor) -> list[Method]:
    """Methods that explain by positions of a layer."""
    module = find_layer(model, layer)
    noise = NOISE_SHARE * float(inputs.max() - inputs.min())

    def plain(kind: Any, origin: str) -> Method:
        def attribute(inputs: Tensor, targets: Tensor) -> Tensor:
            result: Tensor = kind(model, module).attribute(inputs, targets)
            return result

        return Method(kind.__name__, origin, attribute, "defaults")

    def smoothed(inputs: Tensor, targets: Tensor) -> Tensor:
        # NoiseTunnel's noise is in single precision and would make the inputs so
        half = inputs.dtype in (torch.float16, torch.bfloat16)
        forward = (lambda noisy: model(noisy.to(inputs.dtype))) if half else model
        result: Tensor = NoiseTunnel(LayerHiResCam(forward, module)).attribute(
            inputs,
            nt_type="smoothgrad",
            nt_samples=NOISE_SAMPLES,
            nt_samples_batch_size=NOISE_SAMPLES_AT_ONCE,
            stdevs=noise,
            target=targets,
        )
        return result

    ours = (LayerCam, LayerGradCamPlusPlus, LayerXGradCam, LayerHiResCam, LayerLayerCam)
    return [
        plain(LayerGradCam, CAPTUM),
        *(plain(kind, OURS) for kind in ours),
        Method(
            "NoiseTunnel(LayerHiResCam)",
            f"{CAPTUM} around {OURS}",
            smoothed,
            f"smoothgrad, {NOISE_SAMPLES} samples, standard deviation {noise:.3g} "
            f"({NOISE_SHARE:.0%} of the inputs' range)",
        ),
    ]


def as_maps(attribution: Any, photos: int) -> Tensor:
    """An attribution that can be drawn: (N, C, H, W).

    Raises:
        ValueError: it has another shape.
    """
    if not isinstance(attribution, Tensor) or attribution.ndim != 4 or len(attribution) != photos:
        shape = tuple(getattr(attribution, "shape", ()))
        raise ValueError(f"gives shape {shape}, which is no map for each photo")
    return attribution
