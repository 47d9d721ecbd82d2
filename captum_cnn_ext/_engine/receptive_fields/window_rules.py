"""Receptive fields through operations whose outputs read windows of positions.

A rule sees one image axis of one tensor at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from captum_cnn_ext._engine.receptive_fields.axis import (
    Axis,
    NotFollowed,
    Taps,
    adaptive_taps,
    mirrored_taps,
    moved_taps,
    resizing_taps,
    transposed_taps,
    window_taps,
)


@dataclass(frozen=True)
class Field:
    """An image axis in a tensor: what its positions depend on and where they are.

    The position at index i of dimension ``dim`` is (i // inner) % (number of positions), so that
    reshaped tensors are followed. ``dim`` None: all of the tensor depends on the same pixels, for
    the ``reason`` given.
    """

    axis: Axis
    dim: int | None
    inner: int = 1
    reason: str = ""

    def everywhere(self, reason: str) -> Field:
        """Each value depends on all positions."""
        if self.dim is None:
            return self
        return Field(Axis.of_range(*self.axis.at_once()), None, 1, reason)

    def is_plain(self, shape: Sequence[int]) -> bool:
        """Whether a dimension of its own holds the positions."""
        return self.dim is not None and shape[self.dim] == len(self.axis.lows) and self.inner == 1


@dataclass(frozen=True)
class Call:
    """One call of one operation: its name, arguments by name, its input's and output's shapes."""

    name: str
    arguments: dict[str, Any]
    shape: tuple[int, ...]
    result: tuple[int, ...]

    def spatial(self, field: Field) -> int:
        """0 for the second last dimension, 1 for the last, of an operation on images."""
        place = (field.dim or 0) - (len(self.shape) - 2)
        if place not in (0, 1) or not field.is_plain(self.shape):
            raise NotFollowed("its positions are not the last two dimensions")
        return place

    def pair(self, name: str, place: int, default: Any = None) -> Any:
        """An argument that may be one number for both dimensions, none or an empty list."""
        value = self.arguments.get(name)
        if value is None or (isinstance(value, (list, tuple)) and not value):
            value = default
        if isinstance(value, (list, tuple)):
            return value[place] if len(value) > 1 else value[0]
        return value


def dim_of(call: Call, name: str, default: int) -> int:
    dim = call.arguments.get(name)
    return (default if dim is None else int(dim)) % max(len(call.shape), 1)


def _through(field: Field, call: Call, taps: Taps, rate: Fraction) -> Field:
    assert field.dim is not None
    return replace(field, axis=field.axis.through(taps, call.result[field.dim], rate))


def convolution(field: Field, call: Call) -> Field:
    if field.dim is not None and field.dim < len(call.shape) - 2:
        return field if field.dim == 0 else field.everywhere("a convolution over its channels")
    place = call.spatial(field)
    kernel = call.arguments["weight"].shape[2 + place]
    settings = [int(call.pair(name, place)) for name in ("stride", "padding", "dilation")]
    if call.arguments.get("transposed"):
        return _through(field, call, transposed_taps(kernel, *settings), Fraction(1, settings[0]))
    return _through(field, call, window_taps(kernel, *settings), Fraction(settings[0]))


def pool(field: Field, call: Call) -> Field:
    if field.dim is not None and field.dim < len(call.shape) - 2:
        return field
    place = call.spatial(field)
    kernel = int(call.pair("kernel_size", place))
    stride = int(call.pair("stride", place, kernel))
    padding, dilation = int(call.pair("padding", place, 0)), int(call.pair("dilation", place, 1))
    return _through(field, call, window_taps(kernel, stride, padding, dilation), Fraction(stride))


def adaptive_pool(field: Field, call: Call) -> Field:
    if field.dim is not None and field.dim < len(call.shape) - 2:
        return field
    call.spatial(field)
    assert field.dim is not None
    inputs, outputs = call.shape[field.dim], call.result[field.dim]
    if outputs == 1 and inputs > 1:
        return field.everywhere("pooling over all positions")
    return _through(field, call, adaptive_taps(inputs, outputs), Fraction(inputs, outputs))


def resize(field: Field, call: Call) -> Field:
    if field.dim is not None and field.dim < len(call.shape) - 2:
        return field
    place = call.spatial(field)
    assert field.dim is not None
    inputs, outputs = call.shape[field.dim], call.result[field.dim]
    given = call.pair("scale_factors", place) or call.arguments.get(("scales_h", "scales_w")[place])
    rate = Fraction(inputs, outputs)
    if given and not call.arguments.get("align_corners"):
        rate = Fraction(1 / given).limit_denominator(1000)
    half = Fraction(1, 2)
    if "nearest" in call.name:
        reach, shift = (0, 0), half if "exact" in call.name else Fraction(0)
        offset = rate * shift
    else:
        reach = (-1, 2) if "bicubic" in call.name else (0, 1)
        offset = rate * half - half
        if call.arguments.get("align_corners"):
            rate, offset = Fraction(max(inputs - 1, 0), max(outputs - 1, 1)), Fraction(0)
    whole = math.lcm(rate.denominator, offset.denominator)
    slope, start = int(rate * whole), int(offset * whole)
    taps = resizing_taps(inputs, reach, lambda q: (q * slope + start) // whole)
    return _through(field, call, taps, rate)


def pad(field: Field, call: Call) -> Field:
    assert field.dim is not None
    pad = call.arguments.get("pad", call.arguments.get("padding"))
    assert pad is not None
    back = len(call.shape) - 1 - field.dim
    before = int(pad[2 * back]) if 2 * back < len(pad) else 0
    if call.result[field.dim] == call.shape[field.dim] and not before:
        return field
    if not field.is_plain(call.shape):
        raise NotFollowed("pads reshaped positions")
    if call.name == "constant_pad_nd":
        return _through(field, call, moved_taps(-before, 1), Fraction(1))
    taps = mirrored_taps(len(field.axis.lows), before, "reflection" in call.name)
    return _through(field, call, taps, Fraction(1))


def sliced(field: Field, call: Call) -> Field:
    assert field.dim is not None
    if dim_of(call, "dim", 0) != field.dim or call.result == call.shape:
        return field
    if not field.is_plain(call.shape):
        raise NotFollowed("cuts reshaped positions")
    length = call.shape[field.dim]
    start, step = call.arguments.get("start") or 0, call.arguments.get("step") or 1
    start = min(max(start + length if start < 0 else start, 0), length)
    return _through(field, call, moved_taps(start, step), Fraction(step))


def flip(field: Field, call: Call) -> Field:
    assert field.dim is not None
    if field.dim not in [d % len(call.shape) for d in call.arguments["dims"]]:
        return field
    if not field.is_plain(call.shape):
        raise NotFollowed("flips reshaped positions")
    return _through(field, call, moved_taps(len(field.axis.lows) - 1, -1), Fraction(-1))


def shuffle_up(field: Field, call: Call) -> Field:
    call.spatial(field)
    r = call.arguments["upscale_factor"]
    taps = resizing_taps(len(field.axis.lows), (0, 0), lambda q: q // r)
    return _through(field, call, taps, Fraction(1, r))


def shuffle_down(field: Field, call: Call) -> Field:
    call.spatial(field)
    r = call.arguments["downscale_factor"]
    return _through(field, call, window_taps(r, r, 0, 1), Fraction(r))
