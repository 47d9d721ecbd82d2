"""The grid of windows that an occlusion slides over an input, by Captum's rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.to_device import to_device
from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.errors import ArgumentError


@dataclass(frozen=True)
class Grid:
    """Windows over the dimensions of one input, without the batch.

    Window i of a dimension begins at ``i strides``; the last one may be cut off at the end.
    """

    shape: tuple[int, ...]
    window: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """How many windows there are along each dimension."""
        return tuple(
            -(-(size - length) // stride) + 1
            for size, length, stride in zip(self.shape, self.window, self.strides, strict=True)
        )

    def __len__(self) -> int:
        return math.prod(self.counts)

    def starts(self, numbers: Tensor) -> Tensor:
        """Where windows begin: (W,) numbers in row-major order -> (W, D)."""
        places = []
        for count in reversed(self.counts):
            places.append(numbers % count)
            numbers = numbers // count
        index = torch.stack(places[::-1], 1) if places else numbers.new_zeros(len(numbers), 0)
        return index * index.new_tensor(self.strides)

    def by_border(self, numbers: Tensor) -> Tensor:
        """An order of windows (W,) of a map in which neighbours lie equally far from a border.

        What a window reaches ends at the border, and all tiles of one pass are as large as the
        largest of them: windows of a corner are better taken with those of the other corners.
        """
        index = self.starts(numbers) // numbers.new_tensor(self.strides)
        classes = torch.zeros_like(numbers)
        for d in range(1, len(self.shape)):
            distance = torch.minimum(index[:, d], self.counts[d] - 1 - index[:, d])
            classes = classes * self.counts[d] + distance // 2  # 4 windows for each axis
        sizes = classes.bincount()[classes]
        return (classes - sizes * (int(classes.max()) + 1)).argsort(stable=True)

    def masks(self, numbers: Tensor, device: torch.device) -> Tensor:
        """1 in each window: (W, *shape), boolean."""
        starts = self.starts(numbers)
        masks = torch.ones(len(numbers), *[1] * len(self.shape), dtype=torch.bool, device=device)
        for d, (size, length) in enumerate(zip(self.shape, self.window, strict=True)):
            place = torch.arange(size, device=starts.device)
            first = starts[:, d, None]
            inside = (place >= first) & (place < first + length)
            form = [len(numbers), *[1] * len(self.shape)]
            form[d + 1] = size
            masks = masks & to_device(inside.reshape(form), device)
        return masks

    def spread(self, values: Tensor) -> Tensor:
        """The mean over the windows that hold an element: (N, len(self)) -> (N, *shape).

        A window's value is added to every element in it. That is a product of one matrix for each
        dimension, so a fine grid costs no loop.
        """
        total = values.reshape(len(values), *self.counts)
        with torch.autocast(values.device.type, enabled=False):  # it is the model's, not ours
            for d, matrix in enumerate(self._membership(values)):
                total = torch.movedim(torch.tensordot(total, matrix, ([d + 1], [0])), -1, d + 1)
        return total

    def _membership(self, like: Tensor) -> list[Tensor]:
        """For each dimension (windows, size): the share of the element that is the window's."""
        found = []
        for size, length, stride, count in zip(
            self.shape, self.window, self.strides, self.counts, strict=True
        ):
            place = torch.arange(size, device=like.device)
            first = torch.arange(count, device=like.device)[:, None] * stride
            inside = ((place >= first) & (place < first + length)).to(like.dtype)
            found.append(inside / inside.sum(0))
        return found

    def coarse(self) -> tuple[Tensor, list[Tensor]]:
        """Every second window along each dimension, and how the others lie between them.

        Returns:
            The numbers of those windows, and for each dimension a matrix (coarse, all) of linear
            interpolation.
        """
        numbers, matrices = torch.zeros(1, dtype=torch.long, device="cpu"), []
        for count in self.counts:
            kept = sorted({*range(0, count, 2), count - 1})
            matrix = torch.zeros(len(kept), count, dtype=torch.float64, device="cpu")
            for place in range(count):
                right = next(i for i, k in enumerate(kept) if k >= place)
                left = max(right - (kept[right] != place), 0)
                gap = kept[right] - kept[left]
                share = (place - kept[left]) / gap if gap else 1.0
                matrix[left, place] += 1 - share
                matrix[right, place] += share
            numbers = (numbers[:, None] * count + numbers.new_tensor(kept)).reshape(-1)
            matrices.append(matrix)
        return numbers, matrices


def grids(inputs: Sequence[Tensor], windows: Any, strides: Any) -> list[Grid]:
    """The grid of each input from Captum's ``sliding_window_shapes`` and ``strides``.

    Raises:
        ArgumentError: a window or stride does not fit its input.
    """
    if isinstance(windows, tuple) and not (windows and isinstance(windows[0], (tuple, list))):
        windows = (windows,)
    if strides is None:
        strides = (None,) * len(inputs)
    if len(inputs) == 1 and not (isinstance(strides, tuple) and len(strides) == 1):
        strides = (strides,)
    for name, given in (("sliding_window_shapes", windows), ("strides", strides)):
        if not isinstance(given, (tuple, list)) or len(given) != len(inputs):
            raise ArgumentError(
                f"{name}={given!r}: expected a tuple with one for each of {len(inputs)} input(s)"
            )
    return [
        _grid(tuple(x.shape[1:]), window, stride, f" of input {i}" if len(inputs) > 1 else "")
        for i, (x, window, stride) in enumerate(zip(inputs, windows, strides, strict=True))
    ]


def _grid(shape: tuple[int, ...], window: Any, stride: Any, which: str) -> Grid:
    steps = 1 if stride is None else stride
    steps = steps if isinstance(steps, (tuple, list)) else (steps,) * len(shape)
    window = _sizes("sliding_window_shapes", window, shape, which)
    sizes = _sizes("strides", steps, shape, which)
    for length, step, size in zip(window, sizes, shape, strict=True):
        if length > size:
            raise ArgumentError(
                f"sliding_window_shapes={window}{which}: expected at most the input's {shape}"
            )
        if step > length and length != size:
            raise ArgumentError(
                f"strides={sizes}{which}: expected at most the window's {window}, so that every "
                "element is occluded"
            )
    return Grid(shape, window, sizes)


def _sizes(name: str, given: Any, shape: tuple[int, ...], which: str) -> tuple[int, ...]:
    if not isinstance(given, (tuple, list)) or len(given) != len(shape):
        raise ArgumentError(
            f"{name}={given!r}{which}: expected {len(shape)} positive integers, one for each "
            f"dimension of {shape} after the batch"
        )
    return tuple(as_count(f"{name}[{d}]{which}", size) for d, size in enumerate(given))
