"""A real architecture with seeded random weights and batch statistics that fit its activations."""

from functools import cache

import pytest
import torch

SIZE = 96


@cache
def calibrated_resnet18():
    models = pytest.importorskip("torchvision.models")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = models.resnet18(num_classes=20)
        x = torch.randn(8, 3, SIZE, SIZE)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(x)
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()


def pictures(n=2):
    generator = torch.Generator().manual_seed(5)
    drawn = torch.randn(n, 3, SIZE, SIZE, generator=generator, device="cpu")
    return drawn.to(torch.get_default_device())
