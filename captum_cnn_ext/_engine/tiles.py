"""The part of a map that a change of the image reaches: one equally large tile for each row.

A tile lies inside its map. Where a change comes close to the border the tile is moved inwards, so
that it holds some positions that did not change; their values are right too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Starts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Span:
    """Where the tiles of all rows begin along one axis, and how long each is."""

    starts: Starts
    length: int

    def through(
        self, kernel: int, stride: int, padding: int, dilation: int, positions: int
    ) -> "Span":
        """The positions of the output of a convolution or pooling that read any of these."""
        reach = dilation * (kernel - 1)
        first = -((reach - padding - self.starts) // stride)  # rounded up
        last = (self.starts + self.length - 1 + padding) // stride
        first, last = first.clip(0, positions - 1), last.clip(0, positions - 1)
        return _inside(first, int((last - first).max()) + 1, positions)

    def needed(self, kernel: int, stride: int, padding: int, dilation: int) -> "Span":
        """What these outputs of a convolution or pooling read, counted in the padded input."""
        length = (self.length - 1) * stride + dilation * (kernel - 1) + 1
        return Span(self.starts * stride, length)

    def shifted(self, by: int) -> "Span":
        return Span(self.starts + by, self.length)

    def same(self, other: "Span") -> bool:
        return self.length == other.length and bool((self.starts == other.starts).all())


def joined(spans: Sequence[Span], positions: int) -> Span:
    """The shortest span that holds all of them, row by row."""
    first = np.minimum.reduce([span.starts for span in spans])
    end = np.maximum.reduce([span.starts + span.length for span in spans])
    return _inside(first, int((end - first).max()), positions)


def _inside(starts: Starts, length: int, positions: int) -> Span:
    length = max(1, min(length, positions))
    return Span(starts.clip(0, positions - length), length)


@dataclass(frozen=True)
class Tile:
    """New values (R, C, h, w) of part of a map, and where each row's part lies."""

    data: Tensor
    rows: Span
    columns: Span

    def with_data(self, data: Tensor) -> "Tile":
        return Tile(data, self.rows, self.columns)

    @property
    def area(self) -> int:
        return self.rows.length * self.columns.length


def cut(base: Tensor, rows: Span, columns: Span) -> Tensor:
    """The windows (R, C, h, w) of one map (1, C, H, W), as memory of their own."""
    channels_last = base[0].permute(1, 2, 0)
    windows = channels_last.unfold(0, rows.length, 1).unfold(1, columns.length, 1)
    index = torch.from_numpy(np.stack([rows.starts, columns.starts])).to(base.device)
    picked = windows.permute(0, 1, 3, 4, 2)[index[0], index[1]]
    return picked.permute(0, 3, 1, 2)


def paste(windows: Tensor, rows: Span, columns: Span, tile: Tile) -> None:
    """Write a tile's values into windows of the same map, where they overlap."""
    down, right = tile.rows.starts - rows.starts, tile.columns.starts - columns.starts
    offsets = np.stack([down, right], 1)
    first = offsets[0]
    if bool((offsets == first).all()):
        _paste_at(windows, slice(None), int(first[0]), int(first[1]), tile.data)
        return
    kinds, group = np.unique(offsets, axis=0, return_inverse=True)
    for number, (y, x) in enumerate(kinds.tolist()):
        members = np.flatnonzero(group.reshape(-1) == number)
        _paste_at(windows, _as_slice(members), y, x, tile.data)


def _as_slice(members: npt.NDArray[Any]) -> Any:
    """Consecutive rows as a slice, which copies nothing."""
    if members[-1] - members[0] + 1 == len(members):
        return slice(int(members[0]), int(members[-1]) + 1)
    return torch.from_numpy(members)


def _paste_at(windows: Tensor, which: Any, y: int, x: int, data: Tensor) -> None:
    height, width = windows.shape[-2:]
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + data.shape[-2], height), min(x + data.shape[-1], width)
    if top >= bottom or left >= right:
        return
    part = data[:, :, top - y : bottom - y, left - x : right - x]
    if isinstance(which, Tensor):
        which = which.to(data.device)
    windows[which, :, top:bottom, left:right] = part[which]


def whole(base: Tensor, tile: Tile) -> Tensor:
    """The changed maps (R, C, H, W)."""
    count = len(tile.data)
    form = torch.channels_last if base.shape[1] > 1 else torch.contiguous_format
    maps = base.expand(count, *base.shape[1:]).clone(memory_format=form)
    zero = np.zeros(count, np.int64)
    paste(maps, Span(zero, base.shape[2]), Span(zero, base.shape[3]), tile)
    return maps
