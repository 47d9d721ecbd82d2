"""Windows of positions: which positions of its input each output position of an operation reads.

`windows_of` reads an operation's arguments, here and nowhere else. Receptive fields, the cuts of an
image for deconvnet and the tiles of an incremental pass all go through its answers, one dimension
at a time: backwards by ``reads``, and of a plain `Slide` also by its ends, in both directions.
"""

from __future__ import annotations

import math
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


@dataclass(frozen=True)
class Slide:
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
        return _all(outputs[:, None] * self.stride + offsets)

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
class Taps:
    """Windows of any other form.

    Args:
        rate: input positions from one output position to the next, on average.
        reads: of output positions (n,) the input positions (n, taps), and which of them it has;
            asked with ``endless``, as they are far from every border.
    """

    rate: Fraction
    reads: Callable[[Ints, bool], tuple[Ints, Have]]


Windows = Slide | Taps  # along one dimension: the input positions that each output position reads


def _transposed(kernel: int, stride: int, padding: int, dilation: int) -> Taps:
    """Output q reads i where i stride - padding + t dilation = q."""
    offsets = padding - np.arange(kernel, dtype=np.int64) * dilation

    def reads(outputs: Ints, endless: bool) -> tuple[Ints, Have]:
        read, rest = np.divmod(outputs[:, None] + offsets, stride)
        return read, rest == 0

    return Taps(Fraction(1, stride), reads)


def _adaptive(length: int, results: int) -> Taps:
    """Output q reads from floor(q rate) until before ceil((q + 1) rate)."""
    widest = -(-length // results) + 1

    def reads(outputs: Ints, endless: bool) -> tuple[Ints, Have]:
        start, end = outputs * length // results, -(-(outputs + 1) * length // results)
        read = start[:, None] + np.arange(widest, dtype=np.int64)
        return read, read < end[:, None]

    return Taps(Fraction(length, results), reads)


def _resized(
    length: int, rate: Fraction, offset: Fraction = Fraction(0), before: int = 0, after: int = 0
) -> Taps:
    """Output q reads floor(q rate + offset) and so many before and after it, held inside the map
    at its borders."""
    whole = math.lcm(rate.denominator, offset.denominator)
    slope, shift = int(rate * whole), int(offset * whole)

    def reads(outputs: Ints, endless: bool) -> tuple[Ints, Have]:
        start = (outputs * slope + shift) // whole
        if not endless and not before:
            start = start.clip(0, length - 1)
        read = start[:, None] + np.arange(-before, after + 1, dtype=np.int64)
        return _all(read if endless else read.clip(0, length - 1))

    return Taps(rate, reads)


def _mirrored(length: int, padding: int, reflect: bool) -> Taps:
    """Padding with the map's own values, mirrored (``reflect``) or the border's repeated."""

    def reads(outputs: Ints, endless: bool) -> tuple[Ints, Have]:
        read = outputs - padding
        if not endless:
            read = length - 1 - np.abs(length - 1 - np.abs(read)) if reflect else read
            read = read.clip(0, length - 1)
        return _all(read[:, None])

    return Taps(Fraction(1), reads)


def _all(read: Ints) -> tuple[Ints, Have]:
    return read, np.ones_like(read, dtype=bool)


# --- operations by their names and arguments ----------------------------------------------------

# beside what PyTorch itself says of its operations
_POINTWISE = {
    *("_prelu_kernel", "hardswish", "hardswish_", "mish_", "threshold_", "_to_copy", "detach"),
    *("alias", "lift_fresh", "copy_"),
}


@dataclass(frozen=True)
class Call:
    """One call of one ATen operation.

    Args:
        name: the operation's, without its overload.
        arguments: by their names; of a weight nothing but its shape is looked at.
        shape: of the input.
        result: of the output.
    """

    name: str
    arguments: Mapping[str, Any]
    shape: Sequence[int]
    result: Sequence[int]

    def dim(self, name: str = "dim", default: int = 0) -> int:
        """An argument that names a dimension of the input."""
        dim = self.arguments.get(name)
        return (default if dim is None else int(dim)) % max(len(self.shape), 1)

    def last(self, axes: int) -> range:
        """The last dimensions."""
        return range(len(self.shape) - axes, len(self.shape))


def is_pointwise(func: Any) -> bool:
    """Whether an operation makes each value from those at the same position of its tensors."""
    return torch.Tag.pointwise in func.tags or func.overloadpacket.__name__ in _POINTWISE


def is_fixed_norm(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether it is a batch norm by its running statistics: the same for every position."""
    by_the_batch = name in ("_native_batch_norm_legit", "batch_norm_with_update")
    return "batch_norm" in name and not (by_the_batch or arguments.get("training"))


def windows_of(call: Call) -> dict[int, Windows] | None:
    """The windows of each dimension along which an operation reads them; it keeps the others.

    None for an operation that is not in `WINDOWED`.
    """
    reader = WINDOWED.get(call.name)
    return None if reader is None else reader(call)


def slides_of(call: Call) -> list[Slide] | None:
    """What an operation does along each dimension after examples and channels.

    None where it reads other windows than plain ones, or along those two.
    """
    windows, dims = windows_of(call), range(2, len(call.shape))
    if windows is None or not windows.keys() <= set(dims):
        return None
    found = [windows.get(dim, Slide()) for dim in dims]
    slides = [slide for slide in found if isinstance(slide, Slide)]
    return slides if len(slides) == len(found) else None


def _convolution(call: Call) -> dict[int, Windows]:
    kernel = tuple(call.arguments["weight"].shape[2:])
    kind = _transposed if call.arguments.get("transposed") else Slide
    names = ("stride", "padding", "dilation")
    settings = zip(kernel, *(_each(call.arguments[n], len(kernel)) for n in names), strict=True)
    return {d: kind(*own) for d, own in enumerate(settings, 2)}


def _pool(call: Call) -> dict[int, Windows]:
    a, axes = call.arguments, _axes(call)
    given = (a["kernel_size"], a.get("stride") or a["kernel_size"])
    settings = (_each(v, axes) for v in (*given, a.get("padding", 0), a.get("dilation", 1)))
    return {d: Slide(*own) for d, *own in zip(call.last(axes), *settings, strict=True)}


def _adaptive_pool(call: Call) -> dict[int, Windows]:
    return {d: _adaptive(call.shape[d], call.result[d]) for d in call.last(_axes(call))}


def _pad(call: Call) -> dict[int, Windows]:
    found: dict[int, Windows] = {}
    pad = call.arguments["pad" if "pad" in call.arguments else "padding"]
    for d, before in zip(reversed(call.last(len(call.shape))), pad[::2], strict=False):
        if call.name == "constant_pad_nd" and (before or call.result[d] != call.shape[d]):
            found[d] = Slide(padding=before)
        elif before or call.result[d] != call.shape[d]:
            found[d] = _mirrored(call.shape[d], before, call.name.startswith("reflection"))
    return found


def _resize(call: Call) -> dict[int, Windows]:
    found: dict[int, Windows] = {}
    a, name, aligned = call.arguments, call.name, call.arguments.get("align_corners")
    factors = a.get("scale_factors") or [a.get("scales_h"), a.get("scales_w")]
    before, after = (1, 2) if "bicubic" in name else (0, 0) if "nearest" in name else (0, 1)
    for d, factor in zip(call.last(2), factors, strict=True):
        length, results = call.shape[d], call.result[d]
        rate = Fraction(length, results)
        if factor and not aligned:
            rate = Fraction(1 / factor).limit_denominator(1000)
        offset = (
            rate / 2 if "exact" in name else Fraction(0) if "nearest" in name else (rate - 1) / 2
        )
        if aligned:
            rate, offset = Fraction(max(length - 1, 0), max(results - 1, 1)), Fraction(0)
        found[d] = _resized(length, rate, offset, before, after)
    return found


def _pixel_shuffle(call: Call) -> dict[int, Windows]:
    rate = Fraction(1, call.arguments["upscale_factor"])
    return {d: _resized(call.shape[d], rate) for d in call.last(2)}


def _pixel_unshuffle(call: Call) -> dict[int, Windows]:
    factor = call.arguments["downscale_factor"]
    return dict.fromkeys(call.last(2), Slide(factor, factor))


def _slice(call: Call) -> dict[int, Windows]:
    if tuple(call.result) == tuple(call.shape):
        return {}
    d, start = call.dim(), call.arguments.get("start") or 0
    start = min(max(start + call.shape[d] if start < 0 else start, 0), call.shape[d])
    return {d: Slide(stride=call.arguments.get("step") or 1, padding=-start)}


def _flip(call: Call) -> dict[int, Windows]:
    dims = (d % len(call.shape) for d in call.arguments["dims"])
    return {d: Slide(stride=-1, padding=1 - call.shape[d]) for d in dims}


def _axes(call: Call) -> int:
    """Two of "avg_pool2d"."""
    return int(call.name[call.name.index("pool") + 4])


def _each(value: Any, axes: int) -> tuple[int, ...]:
    """A setting for each axis, which may be one number for all."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * axes if len(values) == 1 else values


WINDOWED: dict[str, Callable[[Call], dict[int, Windows]]] = {
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
