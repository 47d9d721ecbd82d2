"""Windows of positions: which positions of its input each output position of an operation reads.

`windows_of` reads an operation's arguments, here and nowhere else. Receptive fields, the cuts of an
image for deconvnet and the tiles of an incremental pass all go through its answers, one dimension
at a time: backwards by ``reads``, and of a plain `Slide` also by its ends, in both directions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

Ints = npt.NDArray[np.int64]
Have = npt.NDArray[np.bool_]
Place = TypeVar("Place", int, Ints)


class Windows(ABC):
    """Along one dimension: the input positions that each output position reads."""

    @property
    @abstractmethod
    def rate(self) -> Fraction:
        """Input positions from one output position to the next, on average."""

    @abstractmethod
    def reads(self, outputs: Ints, endless: bool) -> tuple[Ints, Have]:
        """Of output positions (n,) the input positions (n, taps), and which of them it has.

        ``endless`` asks for the positions as they are far from every border.
        """


@dataclass(frozen=True)
class Slide(Windows):
    """Output q reads q stride - padding + t dilation for every t below kernel.

    Convolution and pooling; with a kernel of one, zero padding, slices and flips.
    """

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @property
    def rate(self) -> Fraction:
        return Fraction(self.stride)

    @property
    def reach(self) -> int:
        """From the first position of a window to the last one."""
        return self.dilation * (self.kernel - 1)

    def reads(self, outputs: Ints, endless: bool) -> tuple[Ints, Have]:
        offsets = np.arange(self.kernel, dtype=np.int64) * self.dilation - self.padding
        read = outputs[:, None] * self.stride + offsets
        return read, np.ones_like(read, dtype=bool)

    def inputs(self, first: Place, last: Place) -> tuple[Place, Place]:
        """The first and last input that the outputs from one to another read."""
        start = -self.padding
        return first * self.stride + start, last * self.stride + start + self.reach

    def outputs(self, first: Place, last: Place) -> tuple[Place, Place]:
        """The first and last output that reads any of the inputs from one to another."""
        before = -((self.reach - self.padding - first) // self.stride)  # rounded up
        return before, (last + self.padding) // self.stride

    def then(self, other: Slide) -> Slide:
        """This operation and another after it: all from the first to the last input read."""
        first, last = self.inputs(*other.inputs(0, 0))
        return Slide(last - first + 1, self.stride * other.stride, -first)


@dataclass(frozen=True)
class Transposed(Windows):
    """Transposed convolution: output q reads i where i stride - padding + t dilation = q."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def rate(self) -> Fraction:
        return Fraction(1, self.stride)

    def reads(self, outputs: Ints, endless: bool) -> tuple[Ints, Have]:
        offsets = self.padding - np.arange(self.kernel, dtype=np.int64) * self.dilation
        read, rest = np.divmod(outputs[:, None] + offsets, self.stride)
        return read, rest == 0


@dataclass(frozen=True)
class Adaptive(Windows):
    """Adaptive pooling: output q reads from floor(q rate) until before ceil((q + 1) rate)."""

    length: int
    results: int

    @property
    def rate(self) -> Fraction:
        return Fraction(self.length, self.results)

    def reads(self, outputs: Ints, endless: bool) -> tuple[Ints, Have]:
        start = outputs * self.length // self.results
        end = -(-(outputs + 1) * self.length // self.results)
        widest = -(-self.length // self.results) + 1
        read = start[:, None] + np.arange(widest, dtype=np.int64)
        return read, read < end[:, None]


@dataclass(frozen=True)
class Resized(Windows):
    """Resizing: output q reads floor(q ratio + offset) and so many before and after it, held
    inside the map at its borders."""

    length: int
    ratio: Fraction
    offset: Fraction = Fraction(0)
    before: int = 0
    after: int = 0

    @property
    def rate(self) -> Fraction:
        return self.ratio

    def reads(self, outputs: Ints, endless: bool) -> tuple[Ints, Have]:
        whole = math.lcm(self.ratio.denominator, self.offset.denominator)
        start = (outputs * int(self.ratio * whole) + int(self.offset * whole)) // whole
        if not endless and not self.before:
            start = start.clip(0, self.length - 1)
        read = start[:, None] + np.arange(-self.before, self.after + 1, dtype=np.int64)
        read = read if endless else read.clip(0, self.length - 1)
        return read, np.ones_like(read, dtype=bool)


@dataclass(frozen=True)
class Mirrored(Windows):
    """Padding with the map's own values, mirrored (``reflect``) or the border's repeated."""

    length: int
    padding: int
    reflect: bool

    @property
    def rate(self) -> Fraction:
        return Fraction(1)

    def reads(self, outputs: Ints, endless: bool) -> tuple[Ints, Have]:
        read = outputs - self.padding
        if not endless:
            if self.reflect:
                read = np.abs(read)
                read = self.length - 1 - np.abs(self.length - 1 - read)
            read = read.clip(0, self.length - 1)
        return read[:, None], np.ones((len(read), 1), dtype=bool)


# --- operations by their names and arguments ----------------------------------------------------

# beside what PyTorch itself says of its operations
_POINTWISE = {
    *("_prelu_kernel", "hardswish", "hardswish_", "mish_", "threshold_", "_to_copy", "detach"),
    *("alias", "lift_fresh", "copy_"),
}


def is_pointwise(func: Any) -> bool:
    """Whether an operation makes each value from those at the same position of its tensors."""
    return torch.Tag.pointwise in func.tags or func.overloadpacket.__name__ in _POINTWISE


def is_fixed_norm(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether it is a batch norm by its running statistics: the same for every position."""
    by_the_batch = name in ("_native_batch_norm_legit", "batch_norm_with_update")
    return "batch_norm" in name and not (by_the_batch or arguments.get("training"))


Shape = Sequence[int]
Arguments = Mapping[str, Any]
Found = dict[int, Windows]


def windows_of(name: str, arguments: Arguments, shape: Shape, result: Shape) -> Found | None:
    """The windows of each dimension along which an operation reads them; it keeps the others.

    None for an operation that is not in `WINDOWED`.

    Args:
        name: of the ATen operation.
        arguments: by their names; a weight needs to have a shape and nothing else.
        shape: of the input.
        result: of the output.
    """
    reader = WINDOWED.get(name)
    return None if reader is None else reader(name, arguments, shape, result)


def _convolution(name: str, arguments: Arguments, shape: Shape, result: Shape) -> Found:
    kernel = tuple(arguments["weight"].shape[2:])
    kind = Transposed if arguments.get("transposed") else Slide
    settings = (_each(arguments[n], len(kernel)) for n in ("stride", "padding", "dilation"))
    return {d: kind(*own) for d, own in enumerate(zip(kernel, *settings, strict=True), 2)}


def _pool(name: str, arguments: Arguments, shape: Shape, result: Shape) -> Found:
    axes = _axes(name)
    kernel = _each(arguments["kernel_size"], axes)
    stride = _each(arguments.get("stride") or kernel, axes)
    padding, dilation = arguments.get("padding", 0), arguments.get("dilation", 1)
    settings = zip(kernel, stride, _each(padding, axes), _each(dilation, axes), strict=True)
    return {d: Slide(*own) for d, own in enumerate(settings, len(shape) - axes)}


def _adaptive_pool(name: str, arguments: Arguments, shape: Shape, result: Shape) -> Found:
    dims = range(len(shape) - _axes(name), len(shape))
    return {d: Adaptive(shape[d], result[d]) for d in dims}


def _pad(name: str, arguments: Arguments, shape: Shape, result: Shape) -> Found:
    found: Found = {}
    pad = arguments["pad" if "pad" in arguments else "padding"]
    for back, before in enumerate(pad[::2], 1):  # the last dimension first
        d = len(shape) - back
        if before or result[d] != shape[d]:
            found[d] = (
                Slide(padding=before)
                if name == "constant_pad_nd"
                else Mirrored(shape[d], before, name.startswith("reflection"))
            )
    return found


def _resize(name: str, arguments: Arguments, shape: Shape, result: Shape) -> Found:
    found: Found = {}
    aligned = arguments.get("align_corners")
    factors = [arguments.get("scales_h"), arguments.get("scales_w")]
    for d, factor in enumerate(arguments.get("scale_factors") or factors, len(shape) - 2):
        rate = Fraction(shape[d], result[d])
        if factor and not aligned:
            rate = Fraction(1 / factor).limit_denominator(1000)
        before, after = (1, 2) if "bicubic" in name else (0, 1)
        if "nearest" in name:
            found[d] = Resized(shape[d], rate, rate / 2 if "exact" in name else Fraction(0))
        elif aligned:
            rate = Fraction(max(shape[d] - 1, 0), max(result[d] - 1, 1))
            found[d] = Resized(shape[d], rate, Fraction(0), before, after)
        else:
            found[d] = Resized(shape[d], rate, (rate - 1) / 2, before, after)
    return found


def _pixel_shuffle(name: str, arguments: Arguments, shape: Shape, result: Shape) -> Found:
    rate = Fraction(1, arguments["upscale_factor"])
    return {d: Resized(shape[d], rate) for d in (len(shape) - 2, len(shape) - 1)}


def _pixel_unshuffle(name: str, arguments: Arguments, shape: Shape, result: Shape) -> Found:
    factor = arguments["downscale_factor"]
    return dict.fromkeys((len(shape) - 2, len(shape) - 1), Slide(factor, factor))


def _slice(name: str, arguments: Arguments, shape: Shape, result: Shape) -> Found:
    if tuple(result) == tuple(shape):
        return {}
    d, start = (arguments.get("dim") or 0) % len(shape), arguments.get("start") or 0
    start = min(max(start + shape[d] if start < 0 else start, 0), shape[d])
    return {d: Slide(stride=arguments.get("step") or 1, padding=-start)}


def _flip(name: str, arguments: Arguments, shape: Shape, result: Shape) -> Found:
    dims = (d % len(shape) for d in arguments["dims"])
    return {d: Slide(stride=-1, padding=1 - shape[d]) for d in dims}


def _axes(name: str) -> int:
    """Two of "avg_pool2d"."""
    return int(name[name.index("pool") + 4])


def _each(value: Any, axes: int) -> tuple[int, ...]:
    """A setting for each axis, which may be one number for all."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * axes if len(values) == 1 else values


WINDOWED: dict[str, Callable[[str, Arguments, Shape, Shape], Found]] = {
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices", "max_pool3d_with_indices"), _pool),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), _pool),
    **dict.fromkeys(("mkldnn_max_pool2d", "quantized_max_pool2d"), _pool),
    **dict.fromkeys(("adaptive_avg_pool2d", "_adaptive_avg_pool2d"), _adaptive_pool),
    "adaptive_max_pool2d": _adaptive_pool,
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), _pad),
    **dict.fromkeys(("upsample_nearest2d", "_upsample_nearest_exact2d"), _resize),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_bicubic2d"), _resize),
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "slice": _slice,
    "flip": _flip,
}
"""Operations that read windows of positions, by their names in ATen."""
