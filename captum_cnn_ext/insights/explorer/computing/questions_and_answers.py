"""What the explorer is asked about, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Photo:
    """An image to look at.

    Args:
        name: as people see it.
        picture: RGB.
        source: a Python expression that reads it, for copied code.
        whole: squeezed to a square first, so that the preprocessing cuts less away.
    """

    name: str
    picture: Image.Image
    source: str
    whole: bool = False

    @property
    def seen(self) -> Image.Image:
        """What the preprocessing gets."""
        side = min(self.picture.size)
        return self.picture.resize((side, side)) if self.whole else self.picture


@dataclass(frozen=True)
class Unit:
    """A channel of a layer, for one image."""

    layer: str
    channel: int


@dataclass(frozen=True)
class UnitFacts:
    """What is known of a unit for an image.

    Args:
        maximum, mean: of its map.
        position: (row, column) of the maximum, () for single units.
        rank: its place by maximum among the channels of its layer, from 1.
        channels: how many these are.
        broken: how many values of its map are not finite.
    """

    maximum: float
    mean: float
    position: tuple[int, ...]
    rank: int
    channels: int
    broken: int

    @classmethod
    def of(cls, maps: Tensor, channel: int) -> UnitFacts:
        """Read off the maps of its layer, (C, ...)."""
        own, tops = maps[channel], maps.flatten(1).amax(1)
        position = torch.unravel_index(own.argmax(), own.shape) if own.ndim else ()
        return cls(
            float(own.max()),
            float(own.mean()),
            tuple(int(place) for place in position),
            int((tops > tops[channel]).sum()) + 1,
            len(maps),
            int((~own.isfinite()).sum()),
        )


@dataclass(frozen=True)
class Reconstruction:
    """A unit back in pixels, (C, H, W), and what must be known of the picture."""

    picture: Tensor
    remark: str


@dataclass(frozen=True)
class Patch:
    """What excites a unit, cut out of an image: (C, h, w), and the pixels there that drive it."""

    picture: Tensor
    value: float
    name: str
    driving: Tensor | None = None
