"""The attribution methods of an audit, with the parameters they run with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import captum.attr
import torch
from captum.attr import NoiseTunnel
from torch import Tensor, nn

import captum_cnn_ext.attr
from captum_cnn_ext._engine.arguments import ArgumentError, find_layer
from captum_cnn_ext._engine.one_image import one_image_norms
from captum_cnn_ext.attr import LayerHiResCam
from captum_cnn_ext.insights.catalogue import INPUT, LAYER, LAYERS, OURS, KnownMethod
from captum_cnn_ext.insights.figure_code import module_code

Attribute = Callable[[Tensor, Tensor], Tensor]

DEFAULT_METHODS = (
    "Saliency",
    "Occlusion",
    "LayerGradCam",
    "LayerCam",
    "LayerGradCamPlusPlus",
    "LayerXGradCam",
    "LayerHiResCam",
    "LayerLayerCam",
    "NoiseTunnel(LayerHiResCam)",
)
QUICK_METHODS = (
    "Saliency",
    "LayerGradCam",
    "LayerGradCamPlusPlus",
    "LayerHiResCam",
    "LayerLayerCam",
)
WINDOW_SHARE = 4  # an occluding window covers a quarter of each side
STRIDES_PER_WINDOW = 2
STEPS = 50  # of an integral
ROWS_AT_ONCE = 16
NOISE_SAMPLES = 8
NOISE_SAMPLES_AT_ONCE = 2
# noise of 15 % of the input's range, the middle of what Smilkov et al. recommend for SmoothGrad
NOISE_SHARE = 0.15


@dataclass(frozen=True)
class Method:
    """A method ready to run: ``attribute(inputs, targets)``, and its parameters in words.

    ``code`` is the same as Python, giving ``heat`` from ``model``, ``x`` and ``target``.
    """

    known: KnownMethod
    attribute: Attribute
    parameters: str
    code: str

    @property
    def name(self) -> str:
        """The class's name."""
        return self.known.name

    @property
    def origin(self) -> str:
        """The library it comes from."""
        return self.known.origin


def methods_at(
    model: nn.Module,
    inputs: Tensor,
    layers: Sequence[str],
    joined: Sequence[str],
    chosen: Sequence[KnownMethod],
) -> dict[str, list[Method]]:
    """The chosen methods by the place they explain: the input, each layer, some layers joined."""
    places = {INPUT: [_at_input(m, model, inputs) for m in chosen if m.at == INPUT]}
    for layer in layers:
        places[layer] = [_at_layer(m, model, layer, inputs) for m in chosen if m.at == LAYER]
    modules = [find_layer(model, layer) for layer in joined]
    code = f"[{', '.join(map(module_code, joined))}]"
    at_several = [_plain(m, code, model, modules) for m in chosen if m.at == LAYERS]
    places.setdefault(joined_name(joined), []).extend(at_several)
    return {place: methods for place, methods in places.items() if methods}


def joined_name(layers: Sequence[str]) -> str:
    """The place of methods that join several layers."""
    return " + ".join(layers)


def _at_input(method: KnownMethod, model: nn.Module, inputs: Tensor) -> Method:
    if method.name == "Occlusion":
        return _occlusion(method, model, inputs)
    if method.name == "IntegratedGradients":
        return _plain(method, "", model, n_steps=STEPS, internal_batch_size=ROWS_AT_ONCE)
    return _plain(method, "", model)


def _at_layer(method: KnownMethod, model: nn.Module, layer: str, inputs: Tensor) -> Method:
    module = find_layer(model, layer)
    code = module_code(layer)
    if method.name == "NoiseTunnel(LayerHiResCam)":
        return _smoothed(method, code, model, module, inputs)
    if method.name in ("LayerIntegratedGradients", "LayerConductance", "InternalInfluence"):
        return _plain(method, code, model, module, n_steps=STEPS, internal_batch_size=ROWS_AT_ONCE)
    return _plain(method, code, model, module)


def _plain(method: KnownMethod, place: str, *arguments: Any, **options: Any) -> Method:
    """The class of this name, with its defaults but for ``options``; ``place`` as code."""
    library = captum_cnn_ext.attr if method.origin == OURS else captum.attr
    kind = getattr(library, method.name)

    def attribute(inputs: Tensor, targets: Tensor) -> Tensor:
        inputs = inputs.requires_grad_() if method.at == INPUT else inputs
        with one_image_norms([inputs]):
            result: Tensor = kind(*arguments).attribute(inputs, target=targets, **options)
        return result

    words = ", ".join(f"{name}={value}" for name, value in options.items())
    package = "captum_cnn_ext.attr" if method.origin == OURS else "captum.attr"
    inputs = "x.requires_grad_()" if method.at == INPUT else "x"
    code = (
        f"from {package} import {method.name}\n"
        f"heat = {method.name}(model{', ' if place else ''}{place}).attribute("
        f"{inputs}, target=target{', ' if words else ''}{words})"
    )
    return Method(method, attribute, words or "defaults", code)


def _occlusion(method: KnownMethod, model: nn.Module, inputs: Tensor) -> Method:
    channels, *size = inputs.shape[1:]
    window = tuple(max(1, -(-side // WINDOW_SHARE)) for side in size)
    stride = tuple(max(1, side // STRIDES_PER_WINDOW) for side in window)

    def attribute(inputs: Tensor, targets: Tensor) -> Tensor:
        result: Tensor = captum_cnn_ext.attr.Occlusion(model).attribute(
            inputs,
            (channels, *window),
            (channels, *stride),
            baselines=0,
            target=targets,
        )
        return result

    words = (
        f"window {' × '.join(map(str, window))} over all channels, stride "
        f"{' and '.join(map(str, stride))}, baseline 0 after preprocessing"
    )
    code = (
        "from captum_cnn_ext.attr import Occlusion\n"
        f"heat = Occlusion(model).attribute(x, {(channels, *window)}, {(channels, *stride)}, "
        "baselines=0, target=target)"
    )
    return Method(method, attribute, words, code)


def _smoothed(
    method: KnownMethod, place: str, model: nn.Module, module: nn.Module, inputs: Tensor
) -> Method:
    noise = NOISE_SHARE * float(inputs.max() - inputs.min())

    def attribute(inputs: Tensor, targets: Tensor) -> Tensor:
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

    words = (
        f"smoothgrad, {NOISE_SAMPLES} samples, standard deviation {noise:.3g} "
        f"({NOISE_SHARE:.0%} of the inputs' range)"
    )
    code = (
        "from captum.attr import NoiseTunnel\nfrom captum_cnn_ext.attr import LayerHiResCam\n"
        f"heat = NoiseTunnel(LayerHiResCam(model, {place})).attribute(\n"
        f"    x, nt_samples={NOISE_SAMPLES}, nt_samples_batch_size={NOISE_SAMPLES_AT_ONCE}, "
        f"stdevs={noise!r}, target=target)"
    )
    return Method(method, attribute, words, code)


def as_maps(attribution: Any, photos: int) -> Tensor:
    """An attribution that can be drawn: (N, C, H, W).

    Raises:
        ArgumentError: it has another shape.
    """
    if not isinstance(attribution, Tensor) or attribution.ndim != 4 or len(attribution) != photos:
        shape = tuple(getattr(attribution, "shape", ()))
        raise ArgumentError(f"gives shape {shape}, which is no map for each photo")
    return attribution
