"""Gradient CAMs of this package, of Captum and of the peers behind one call each."""

from collections.abc import Callable
from typing import Any

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from captum_cnn_ext import attr


def gradient_cams(
    model: nn.Module, layer: nn.Module, x: Tensor, target: int
) -> dict[str, Callable[[], Any]]:
    """Every contender that is installed; the first is the limit."""

    def bare_forward() -> None:
        with torch.no_grad():
            model(x)

    runs: dict[str, Callable[[], Any]] = {"bare forward": bare_forward}
    for name in ("LayerGradCamPlusPlus", "LayerXGradCam", "LayerHiResCam", "LayerLayerCam"):
        cam = getattr(attr, name)(model, layer)
        runs[f"ours {name}"] = lambda cam=cam: cam.attribute(x, target)
    captum = LayerGradCam(model, layer)
    runs["captum LayerGradCam"] = lambda: captum.attribute(x, target)
    runs.update(_grad_cam(model, layer, x, target))
    runs.update(_torchcam(model, layer, x, target))
    return runs


def _grad_cam(
    model: nn.Module, layer: nn.Module, x: Tensor, target: int
) -> dict[str, Callable[[], Any]]:
    try:
        from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        return {}
    targets = [ClassifierOutputTarget(target)] * len(x)

    def run(kind: type) -> None:
        with kind(model=model, target_layers=[layer]) as cam:
            cam(input_tensor=x, targets=targets)

    return {
        "grad-cam GradCAM": lambda: run(GradCAM),
        "grad-cam GradCAMPlusPlus": lambda: run(GradCAMPlusPlus),
    }


def _torchcam(
    model: nn.Module, layer: nn.Module, x: Tensor, target: int
) -> dict[str, Callable[[], Any]]:
    try:
        from torchcam.methods import GradCAM, LayerCAM
    except ImportError:
        return {}

    def run(kind: type) -> None:
        with kind(model, layer) as extractor:
            extractor(target, model(x))

    return {"torchcam GradCAM": lambda: run(GradCAM), "torchcam LayerCAM": lambda: run(LayerCAM)}
