"""Pictures drawn by code: shapes, backgrounds from photos, and where each shape is."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

KINDS = ("circle", "square", "triangle", "plus", "ring", "diamond", "bar")
Generator = np.random.Generator


def shape_mask(kind: str, size: int, centre: Sequence[float], radius: float) -> Tensor:
    """(size, size), True on a shape of ``KINDS``."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    dy, dx = (y - centre[0]) / radius, (x - centre[1]) / radius
    far = dy.square() + dx.square()
    inside = (dy.abs() <= 0.85) & (dx.abs() <= 0.85)
    return {
        "circle": far <= 1,
        "square": inside,
        "triangle": (dy <= 0.8) & (dx.abs() <= (dy + 1) * 0.55),
        "plus": inside & ((dy.abs() <= 0.3) | (dx.abs() <= 0.3)),
        "ring": (far <= 1) & (far >= 0.36),
        "diamond": dy.abs() + dx.abs() <= 1,
        "bar": (dy.abs() <= 0.3) & (dx.abs() <= 1),
    }[kind]


def normalized(picture: Tensor) -> Tensor:
    """Colours from 0 to 1 as networks here take them: grey is 0."""
    return (picture - 0.5) * 4


def colour(random: Generator) -> Tensor:
    """A strong colour, (3, 1)."""
    found = random.permutation([random.uniform(0.75, 1), random.uniform(0, 0.25), random.uniform()])
    return torch.from_numpy(found).float().unsqueeze(1)


@functools.cache
def _photos() -> list[Tensor]:
    from torchvision.transforms import functional

    from captum_cnn_ext.photos import demo_photos

    return [functional.to_tensor(functional.resize(p, [96])) for p in demo_photos().values()]


def photo_crops(count: int, size: int, random: Generator) -> Tensor:
    """(count, 3, size, size) from 0 to 1: parts of packaged photos, half of them mirrored."""
    found = []
    for _ in range(count):
        photo = _photos()[random.integers(len(_photos()))]
        top, left = (int(random.integers(side - size + 1)) for side in photo.shape[1:])
        crop = photo[:, top : top + size, left : left + size]
        found.append(crop.flip(2) if random.uniform() < 0.5 else crop)
    return torch.stack(found).clone()


def places(
    radii: Sequence[float], size: int, random: Generator, gap: float = 1.0
) -> list[tuple[float, float]]:
    """Centres inside the picture for circles that do not touch."""
    while True:
        found: list[tuple[float, float]] = []
        for radius in radii:
            for _ in range(30):
                here = random.uniform(radius, size - 1 - radius, 2)
                if all(
                    np.hypot(*(here - there)) > radius + other + gap
                    for there, other in zip(found, radii, strict=False)
                ):
                    found.append((float(here[0]), float(here[1])))
                    break
        if len(found) == len(radii):
            return found
