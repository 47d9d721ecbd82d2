"""Soft random masks over the positions of an input, as RISE draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext._engine.to_device import to_device
from captum_cnn_ext._engine.wide_numbers import wide_dtype
from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.errors import ArgumentError

_TOGETHER = (
    64  # masks that are summed at once, whatever the passes: the sum does not depend on them
)


@dataclass(frozen=True)
class RandomMasks:
    """M masks: bits of a coarse grid, stretched by linear interpolation, cut out at a random shift.

    Along an axis of ``size`` positions the grid's s cells are stretched to (s + 1) cells of
    ``ceil(size / s)`` positions each, of which ``size`` are taken from a shift below one cell on.

    The bits and shifts, a few numbers for each mask, come from the host and are the same for every
    device; the masks themselves are made on the device they are used on.

    Args:
        size: the positions (H, W), of any number of axes.
        bits: (M, s, s), 1 where a cell is shown.
        shifts: (M, axes), in positions.
        probability: with which a cell is shown.
    """

    size: tuple[int, ...]
    bits: Tensor
    shifts: Tensor
    probability: float

    @classmethod
    def drawn(
        cls,
        size: Sequence[int],
        cells: int | Sequence[int],
        probability: float,
        count: int,
        generator: torch.Generator,
        like: Tensor,
    ) -> RandomMasks:
        """``count`` masks: first all bits are drawn, then all shifts along each axis in turn.

        Raises:
            ArgumentError: ``cells`` are none, or more than there are positions.
        """
        size = tuple(size)
        given = tuple(cells) if isinstance(cells, (tuple, list)) else (cells,) * len(size)
        if len(given) != len(size):
            raise ArgumentError(
                f"cells={cells!r}: expected an integer, or one for each axis of {size}"
            )
        grid = [as_count("cells", s, 1, most) for s, most in zip(given, size, strict=True)]
        bits = torch.rand(count, *grid, generator=generator, device="cpu") < probability
        shifts = [
            torch.randint(math.ceil(length / s), (count,), generator=generator, device="cpu")
            for length, s in zip(size, grid, strict=True)
        ]
        placed = to_device(torch.stack(shifts, 1), like.device)
        return cls(size, to_device(bits, like.device, wide_dtype(like.dtype)), placed, probability)

    def __len__(self) -> int:
        return len(self.bits)

    def of(self, numbers: slice) -> Tensor:
        """The masks of these numbers, (m, *size) in [0, 1].

        Interpolation is a product of one matrix for each axis: no larger mask is made first.
        """
        masks, shifts = self.bits[numbers], self.shifts[numbers]
        with torch.autocast(masks.device.type, enabled=False):  # it is the model's, not ours
            for axis, length in enumerate(self.size):
                cells = self.bits.shape[axis + 1]
                stretched = _stretched(cells, math.ceil(length / cells), masks)
                rows = shifts[:, axis, None] + torch.arange(length, device=masks.device)
                left = masks.shape[2:]
                cut = stretched[rows].transpose(1, 2)  # (m, cells, length)
                # each product puts its axis last, so that in the end they are in order again
                along = masks.reshape(len(masks), cells, -1).transpose(1, 2) @ cut
                masks = along.reshape(-1, *left, length)
        return masks

    def weighted(self, scores: Tensor) -> Tensor:
        r"""The masks summed by their scores (M, T): :math:`\sum_i s_i M_i / (p M)`, (T, *size)."""
        total = scores.new_zeros(scores.shape[1], math.prod(self.size))
        with torch.autocast(scores.device.type, enabled=False):
            for start in range(0, len(self), _TOGETHER):
                part = slice(start, start + _TOGETHER)
                total += scores[part].T @ self.of(part).flatten(1).to(scores.dtype)
        return total.reshape(-1, *self.size) / (self.probability * len(self))


def _stretched(cells: int, cell: int, like: Tensor) -> Tensor:
    """((cells + 1) cell, cells): linear interpolation between the centres of cells."""
    one_each = torch.eye(cells, device=like.device, dtype=like.dtype)[None]
    return F.interpolate(one_each, size=(cells + 1) * cell, mode="linear")[0].T
