"""Turning and mirroring kernels and maps, exactly where the pixel grid allows it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._numbers import as_count, as_number
from captum_cnn_ext.errors import ArgumentError, choose

GROUPS = ("rotations", "rotations+flips", "none")


@dataclass(frozen=True)
class Turn:
    """Mirrored left to right if ``flipped``, then turned counter-clockwise by ``angle`` degrees."""

    angle: float
    flipped: bool = False

    __repr__ = brief

    def __post_init__(self) -> None:
        as_number("angle", self.angle)

    @property
    def inverse(self) -> Turn:
        """What undoes it; a mirroring undoes itself."""
        return self if self.flipped else Turn((-self.angle) % 360)

    @property
    def exact(self) -> bool:
        """Whether it maps the pixel grid onto itself."""
        return self.angle % 90 == 0

    def __str__(self) -> str:
        return f"{'mirrored ' * self.flipped}{self.angle:g}°"

    def __call__(self, maps: Tensor) -> Tensor:
        """Apply it to the last two dimensions of (N, C, h, w).

        Other angles than multiples of 90 degrees are interpolated bilinearly about the centre,
        with 0 outside.
        """
        maps = maps.flip(-1) if self.flipped else maps
        if self.exact:
            return maps.rot90(round(self.angle / 90) % 4, (-2, -1))
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        # where each pixel of the result comes from; rows count downwards
        matrix = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]], dtype=maps.dtype)
        grid = F.affine_grid(
            matrix.to(maps.device).expand(len(maps), 2, 3), list(maps.shape), align_corners=True
        )
        return F.grid_sample(maps, grid, align_corners=True)


def turns_of(group: str, angles: int, exact: bool = False) -> list[Turn]:
    """The transforms of a group, the identity first.

    Raises:
        ArgumentError: no such group, or a number of angles that it cannot have.
    """
    choose("group", group, GROUPS)
    if group == "none":
        return [Turn(0)]
    angles = as_count("angles", angles, 1, 360)
    if exact and angles not in (1, 2, 4):
        raise ArgumentError(f"angles={angles!r}: expected 1, 2 or 4, which keep the pixel grid")
    turns = [Turn(360 * i / angles) for i in range(angles)]
    return turns + [Turn(t.angle, True) for t in turns if group == "rotations+flips"]
