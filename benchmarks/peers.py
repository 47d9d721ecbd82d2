"""Peers as methods of ``captum-cnn-ext bench --adapters benchmarks/peers.py``.

Each takes (subject, images (N, C, H, W), classes) and gives maps at any resolution. ``at`` says
that the map is of a layer: where truths are known, they come at two layers.
"""

from typing import Any

import torch
from torch import Tensor

METHODS: dict[str, Any] = {}


def _classes(x: Tensor, target: Any) -> list[int]:
    return torch.as_tensor(target).expand(len(x)).tolist()


try:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def _grad_cam(name: str) -> Any:
        def run(subject: Any, x: Tensor, target: Any) -> Tensor:
            kind = getattr(pytorch_grad_cam, name)
            with kind(model=subject.model, target_layers=[subject.module]) as cam:
                found = cam(x, [ClassifierOutputTarget(t) for t in _classes(x, target)])
            return torch.from_numpy(found).to(x)

        run.at = "layer"
        return run

    for _name in ("GradCAM", "GradCAMPlusPlus", "HiResCAM", "LayerCAM", "XGradCAM", "EigenCAM",
                  "EigenGradCAM"):  # fmt: skip
        METHODS[f"grad-cam {_name}"] = _grad_cam(_name)
except ImportError:
    pass

try:
    import torchcam.methods

    def _torchcam(name: str) -> Any:
        def run(subject: Any, x: Tensor, target: Any) -> Tensor:
            with getattr(torchcam.methods, name)(subject.model, subject.module) as extractor:
                found = extractor(_classes(x, target), subject.model(x.requires_grad_()))
            return found[0].detach()

        run.at = "layer"
        return run

    for _name in ("GradCAM", "GradCAMpp", "LayerCAM", "XGradCAM"):
        METHODS[f"torchcam {_name}"] = _torchcam(_name)
except ImportError:
    pass
