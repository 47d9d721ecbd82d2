"""The methods that are compared, each as one function of a network, its layer, a photo, a class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import captum.attr
import torch
from torch import Tensor, nn

from captum_cnn_ext import attr
from captum_cnn_ext.metrics import gaussian_map, random_map


@dataclass(frozen=True)
class Subject:
    """What is explained: a network, the layer that CAMs look at, and a seed."""

    model: nn.Module
    layer: str
    seed: int = 0

    @property
    def module(self) -> nn.Module:
        return self.model.get_submodule(self.layer)


Method = Callable[[Subject, Tensor, int], Any]
CONTROLS = ("random", "gaussian")
BUDGET_CHANNELS = 32  # of Score-CAM
SAMPLES = 8  # of SmoothGrad
STEPS = 16  # of integrated gradients


def layer_method(name: str, **options: Any) -> Method:
    """A class of ours at the subject's layer."""

    def run(subject: Subject, x: Tensor, target: int) -> Any:
        cam = getattr(attr, name)(subject.model, subject.layer, **options)
        return cam.attribute(x, target)

    return run


def _grad_cam(subject: Subject, x: Tensor, target: int) -> Any:
    found = captum.attr.LayerGradCam(subject.model, subject.module).attribute(x, target)
    return found.detach()


def _saliency(subject: Subject, x: Tensor, target: int) -> Any:
    return captum.attr.Saliency(subject.model).attribute(x.clone().requires_grad_(), target)


def _input_x_gradient(subject: Subject, x: Tensor, target: int) -> Any:
    method = captum.attr.InputXGradient(subject.model)
    return method.attribute(x.clone().requires_grad_(), target).detach()


def _integrated_gradients(subject: Subject, x: Tensor, target: int) -> Any:
    method = captum.attr.IntegratedGradients(subject.model)
    return method.attribute(x, target=target, n_steps=STEPS, internal_batch_size=4).detach()


def _smooth_grad(subject: Subject, x: Tensor, target: int) -> Any:
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(subject.model))
    spread = 0.15 * float(x.max() - x.min())
    devices = [x.device] if x.is_cuda else []
    with torch.random.fork_rng(devices):  # Captum draws from the global generator
        torch.manual_seed(subject.seed)
        return tunnel.attribute(
            x.clone().requires_grad_(),
            nt_samples=SAMPLES,
            nt_samples_batch_size=2,
            stdevs=spread,
            target=target,
        ).detach()


def _guided_backprop(subject: Subject, x: Tensor, target: int) -> Any:
    return attr.GuidedBackprop(subject.model).attribute(x.clone().requires_grad_(), target).abs()


def _full_grad(subject: Subject, x: Tensor, target: int) -> Any:
    return attr.FullGrad(subject.model).attribute(x, target)


def _occlusion(subject: Subject, x: Tensor, target: int) -> Any:
    """Windows of a fifth of each side, at half steps."""
    window = tuple(max(2, side // 5) for side in x.shape[2:])
    strides = tuple(side // 2 for side in window)
    return attr.Occlusion(subject.model).attribute(
        x, (x.shape[1], *window), (x.shape[1], *strides), target=target
    )


METHODS: dict[str, Method] = {
    "random": lambda subject, x, target: random_map(x, subject.seed),
    "gaussian": lambda subject, x, target: gaussian_map(x),
    "Captum LayerGradCam": _grad_cam,
    "LayerGradCamPlusPlus": layer_method("LayerGradCamPlusPlus"),
    "LayerXGradCam": layer_method("LayerXGradCam"),
    "LayerHiResCam": layer_method("LayerHiResCam"),
    "LayerLayerCam": layer_method("LayerLayerCam"),
    "LayerFinerCam": layer_method("LayerFinerCam"),
    "LayerEigenCam": layer_method("LayerEigenCam"),
    "LayerEigenGradCam": layer_method("LayerEigenGradCam"),
    "LayerReciproCam": layer_method("LayerReciproCam"),
    "LayerAblationCam": layer_method("LayerAblationCam"),
    "LayerScoreCam, 32 channels": layer_method("LayerScoreCam", top_channels=BUDGET_CHANNELS),
    "FullGrad": _full_grad,
    "GuidedBackprop": _guided_backprop,
    "Captum Saliency": _saliency,
    "Captum InputXGradient": _input_x_gradient,
    "Captum IntegratedGradients, 16 steps": _integrated_gradients,
    "Captum SmoothGrad, 8 samples": _smooth_grad,
    "Occlusion": _occlusion,
}
