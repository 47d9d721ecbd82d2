"""The part of a map that a change of the input reaches: one equally large tile for each row.

A map is (N, C, ...) with any number of axes: one in a signal, two in an image, three in a volume.

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

from captum_cnn_ext._engine.to_device import to_device
from captum_cnn_ext._engine.trace.window_arithmetic import Ints, Slide

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by a map's dimensions


@dataclass(frozen=True)
class Span:
    """Where the tiles of all rows begin along one axis, and how long each is."""

    starts: Ints
    length: int

    def through(self, slide: Slide, positions: int) -> "Span":
        """The positions of the output of an operation that read any of these."""
        first, last = slide.outputs(self.starts, self.starts + self.length - 1)
        first, last = first.clip(0, positions - 1), last.clip(0, positions - 1)
        return _inside(first, int((last - first).max()) + 1, positions)

    def needed(self, slide: Slide) -> "Span":
        """What these outputs of an operation read of its input, border included."""
        first, last = slide.inputs(self.starts, self.starts)
        return Span(first, int((last - first)[0]) + (self.length - 1) * slide.stride + 1)

    def shifted(self, by: int) -> "Span":
        return Span(self.starts + by, self.length)

    def same(self, other: "Span") -> bool:
        return self.length == other.length and bool((self.starts == other.starts).all())


def joined(spans: Sequence[Span], positions: int) -> Span:
    """The shortest span that holds all of them, row by row."""
    first = np.minimum.reduce([span.starts for span in spans])
    end = np.maximum.reduce([span.starts + span.length for span in spans])
    return _inside(first, int((end - first).max()), positions)


def _inside(starts: Ints, length: int, positions: int) -> Span:
    length = max(1, min(length, positions))
    return Span(starts.clip(0, positions - length), length)


@dataclass(frozen=True)
class Tile:
    """New values (R, C, ...) of part of a map, and where each row's part lies along each axis."""

    data: Tensor
    spans: tuple[Span, ...]

    def with_data(self, data: Tensor) -> "Tile":
        return Tile(data, self.spans)

    @property
    def axes(self) -> int:
        """How many the map has after examples and channels."""
        return len(self.spans)

    def same_place(self, spans: Sequence[Span]) -> bool:
        return all(own.same(other) for own, other in zip(self.spans, spans, strict=True))


def fastest_format(tensor: Tensor) -> torch.memory_format:
    """How the kernels like maps and weights best, and tiles are cut from maps fastest."""
    return _CHANNELS_LAST.get(tensor.ndim, torch.contiguous_format)


def in_fastest_format(tensor: Tensor) -> Tensor:
    """Maps and weights in that format; anything else as it is."""
    form = _CHANNELS_LAST.get(tensor.ndim)
    return tensor if form is None else tensor.contiguous(memory_format=form)


def cut(base: Tensor, spans: Sequence[Span]) -> Tensor:
    """The windows (R, C, ...) of one map (1, C, ...), as memory of their own."""
    windows = base[0].movedim(0, -1)
    for axis, span in enumerate(spans):
        windows = windows.unfold(axis, span.length, 1)
    index = torch.from_numpy(np.stack([span.starts for span in spans]))
    index = to_device(index, base.device)
    return windows.movedim(len(spans), -1)[tuple(index)].movedim(-1, 1)


def paste(windows: Tensor, spans: Sequence[Span], tile: Tile) -> None:
    """Write a tile's values into windows of the same map, where they overlap."""
    offsets = np.stack(
        [own.starts - span.starts for own, span in zip(tile.spans, spans, strict=True)], 1
    )
    first = offsets[0]
    if bool((offsets == first).all()):
        _paste_at(windows, slice(None), first.tolist(), tile.data)
        return
    kinds, group = np.unique(offsets, axis=0, return_inverse=True)
    for number, place in enumerate(kinds.tolist()):
        members = np.flatnonzero(group.reshape(-1) == number)
        _paste_at(windows, _as_slice(members), place, tile.data)


def _as_slice(members: npt.NDArray[Any]) -> Any:
    """Consecutive rows as a slice, which copies nothing."""
    if members[-1] - members[0] + 1 == len(members):
        return slice(int(members[0]), int(members[-1]) + 1)
    return torch.from_numpy(members)


def _paste_at(windows: Tensor, which: Any, place: Sequence[int], data: Tensor) -> None:
    into, out_of = [], []
    for start, size, length in zip(place, windows.shape[2:], data.shape[2:], strict=True):
        first, last = max(start, 0), min(start + length, size)
        if first >= last:
            return
        into.append(slice(first, last))
        out_of.append(slice(first - start, last - start))
    if isinstance(which, Tensor):
        which = to_device(which, data.device)
    windows[(which, slice(None), *into)] = data[(slice(None), slice(None), *out_of)][which]


def whole(base: Tensor, tile: Tile) -> Tensor:
    """The changed maps (R, C, ...)."""
    count = len(tile.data)
    form = fastest_format(base) if base.shape[1] > 1 else torch.contiguous_format
    maps = base.expand(count, *base.shape[1:]).clone(memory_format=form)
    zero = np.zeros(count, np.int64)
    paste(maps, [Span(zero, size) for size in base.shape[2:]], tile)
    return maps
