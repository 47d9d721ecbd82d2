"""Where classes and their references meet: small networks, a layer, a call of it, images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import models
import rectifier_models
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Scene:
    build: Callable[[], nn.Module]
    layer: str | list[str]
    call: int | None = None
    inputs: Callable[[], Tensor] = models.image_batch


def pooled(kind):
    """With the head that CAM needs."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    return models._seeded(kind(head))


def pyramid():
    """Three resolutions: 12 x 16, 6 x 8 and 3 x 4."""
    torch.manual_seed(6)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5),
    ).double().eval()  # fmt: skip


def pictures(factor=1.0):
    generator = torch.Generator().manual_seed(7)
    drawn = factor * torch.rand(3, 2, 12, 16, generator=generator, device="cpu").double()
    return drawn.to(torch.get_default_device())


def signal(*shape):
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(8), device="cpu").double()
    return drawn.to(torch.get_default_device())


def scene(kind, layer, call=None):
    return Scene(partial(models.build, kind), layer, call)


SCENES = {
    "net": scene(models.Net, "block"),
    "functional": scene(models.Functional, "block"),
    "first layer": scene(models.Functional, "stem"),
    "residual": scene(models.Residual, "block"),
    "before the residual": scene(models.Residual, "stem"),
    "first call": scene(models.CalledTwice, "relu", 0),
    "last call": scene(models.CalledTwice, "relu", 1),
    "list input": scene(models.ListInput, "join"),
    "catches exceptions": scene(models.GoesOnAnyway, "block"),
    "sequence": Scene(models.one_dimensional, "3", None, partial(signal, 2, 2, 9)),
    "volume": Scene(models.three_dimensional, "1", None, partial(signal, 2, 2, 3, 3, 4)),
    "pooled": Scene(partial(pooled, models.Net), "head.0"),
    "pooled, residual": Scene(partial(pooled, models.Residual), "head.0"),
    "pyramid": Scene(pyramid, "4", None, pictures),
    "three layers": Scene(pyramid, ["1", "4", "7"], None, pictures),
    "three layers, strong": Scene(pyramid, ["1", "4", "7"], None, partial(pictures, 10.0)),
    "like AlexNet": Scene(
        partial(rectifier_models.stack, "alexnet"), "7", None, rectifier_models.photos
    ),
    "like VGG": Scene(partial(rectifier_models.stack, "vgg"), "9", None, rectifier_models.photos),
} | {
    kind: Scene(partial(rectifier_models.build, rectifier_models.KINDS[kind]), "second")
    for kind in rectifier_models.KINDS
}
