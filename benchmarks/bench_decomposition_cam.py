"""Decompositions and many targets: time and peak memory, the limits and the peers beside them."""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from captum.attr import LayerGradCam
from measure import compare, write
from torch import Tensor, nn
from torchvision import models

from captum_cnn_ext.attr import LayerEigenCam, LayerFem, LayerHiResCam, LayerKPCACam

CLASSES = list(range(10))


def bare_forward(model: nn.Module, x: Tensor) -> Callable[[], Any]:
    def run() -> None:
        with torch.no_grad():
            model(x)

    return run


def decompositions(model: nn.Module, layer: nn.Module, x: Tensor) -> dict[str, Callable[[], Any]]:
    """Maps from the activations alone, of ours and of grad-cam."""
    runs = {"bare forward": bare_forward(model, x)}
    for cls in (LayerEigenCam, LayerKPCACam, LayerFem):
        cam = cls(model, layer)
        runs[f"ours {cls.__name__}"] = lambda cam=cam: cam.attribute(x)
    try:
        import pytorch_grad_cam as peer
    except ImportError:
        return runs

    def run_peer(kind: type) -> None:
        with kind(model=model, target_layers=[layer]) as cam:
            cam(input_tensor=x, targets=None)

    for kind in (peer.EigenCAM, peer.KPCA_CAM, peer.FEM):
        runs[f"grad-cam {kind.__name__}"] = lambda kind=kind: run_peer(kind)
    return runs


def many_targets(model: nn.Module, layer: nn.Module, x: Tensor) -> dict[str, Callable[[], Any]]:
    """Ten classes of one image: ours in one call, the others as they can."""
    ours, captum = LayerHiResCam(model, layer), LayerGradCam(model, layer)
    runs: dict[str, Callable[[], Any]] = {
        "bare forward": bare_forward(model, x),
        "ours attribute_targets": lambda: ours.attribute_targets(x, CLASSES),
        "ours attribute, 10 calls": lambda: [ours.attribute(x, c) for c in CLASSES],
        "captum LayerGradCam, 10 calls": lambda: [captum.attribute(x, c) for c in CLASSES],
    }
    try:
        from pytorch_grad_cam import HiResCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
        from torchcam.methods import GradCAM
    except ImportError:
        return runs

    def grad_cam() -> None:
        with HiResCAM(model=model, target_layers=[layer]) as cam:
            for c in CLASSES:
                cam(input_tensor=x, targets=[ClassifierOutputTarget(c)])

    def torchcam() -> None:
        with GradCAM(model, layer) as extractor:
            scores = model(x)
            for c in CLASSES:
                extractor(c, scores, retain_graph=True)

    runs["grad-cam HiResCAM, 10 calls"] = grad_cam
    runs["torchcam GradCAM, 10 classes of one forward"] = torchcam
    return runs


CASES: dict[str, tuple[Callable[..., dict[str, Callable[[], Any]]], str, str, int]] = {
    "10 classes, resnet50.layer4, batch 1": (many_targets, "resnet50", "layer4", 1),
    "Decompositions, resnet50.layer4, batch 8": (decompositions, "resnet50", "layer4", 8),
    "10 classes, resnet50.layer3, batch 1": (many_targets, "resnet50", "layer3", 1),
    "10 classes, vgg16.features.29, batch 1": (many_targets, "vgg16", "features.29", 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", type=int, default=len(CASES))
    options = parser.parse_args()
    tables = {}
    for title, (contenders, name, layer, batch) in list(CASES.items())[: options.cases]:
        torch.manual_seed(0)
        model = getattr(models, name)().to(options.device).eval()
        x = torch.randn(batch, 3, 224, 224, device=options.device)
        runs = contenders(model, model.get_submodule(layer), x)
        tables[title] = compare(runs, options.device, options.rounds)
        write("decomposition_cam", options.device, tables, "bare forward")


if __name__ == "__main__":
    main()
