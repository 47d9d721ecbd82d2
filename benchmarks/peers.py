"""Peers as methods of ``captum-cnn-ext bench --adapters benchmarks/peers.py``.

Each takes (subject, image (1, C, H, W), class) and gives a map at any resolution.
"""

from typing import Any

import torch
from torch import Tensor

METHODS: dict[str, Any] = {}

try:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def _grad_cam(name: str) -> Any:
        def run(subject: Any, x: Tensor, target: int) -> Tensor:
            kind = getattr(pytorch_grad_cam, name)
            with kind(model=subject.model, target_layers=[subject.module]) as cam:
                found = cam(input_tensor=x, targets=[ClassifierOutputTarget(target)])
            return torch.from_numpy(found).to(x)

        return run

    for _name in ("GradCAM", "GradCAMPlusPlus", "EigenCAM"):
        METHODS[f"grad-cam {_name}"] = _grad_cam(_name)
except ImportError:
    pass

try:
    import torchcam.methods

    def _torchcam(name: str) -> Any:
        def run(subject: Any, x: Tensor, target: int) -> Tensor:
            with getattr(torchcam.methods, name)(subject.model, subject.module) as extractor:
                found = extractor(target, subject.model(x.requires_grad_()))
            return found[0].detach()

        return run

    for _name in ("GradCAM", "LayerCAM"):
        METHODS[f"torchcam {_name}"] = _torchcam(_name)
except ImportError:
    pass
