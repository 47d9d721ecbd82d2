"""What tensor operations do to the pixels that positions depend on: one rule per kind.

A rule sees one image axis of one tensor at a time. Operations without a rule are not guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from captum_cnn_ext._engine.trace.field_axis import (
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


Rule = Callable[[Field, Call], Field]


def _through(field: Field, call: Call, taps: Taps, rate: Fraction) -> Field:
    assert field.dim is not None
    return replace(field, axis=field.axis.through(taps, call.result[field.dim], rate))


def _convolution(field: Field, call: Call) -> Field:
    if field.dim is not None and field.dim < len(call.shape) - 2:
        return field if field.dim == 0 else field.everywhere("a convolution over its channels")
    place = call.spatial(field)
    kernel = call.arguments["weight"].shape[2 + place]
    settings = [int(call.pair(name, place)) for name in ("stride", "padding", "dilation")]
    if call.arguments.get("transposed"):
        return _through(field, call, transposed_taps(kernel, *settings), Fraction(1, settings[0]))
    return _through(field, call, window_taps(kernel, *settings), Fraction(settings[0]))


def _pool(field: Field, call: Call) -> Field:
    if field.dim is not None and field.dim < len(call.shape) - 2:
        return field
    place = call.spatial(field)
    kernel = int(call.pair("kernel_size", place))
    stride = int(call.pair("stride", place, kernel))
    padding, dilation = int(call.pair("padding", place, 0)), int(call.pair("dilation", place, 1))
    return _through(field, call, window_taps(kernel, stride, padding, dilation), Fraction(stride))


def _adaptive_pool(field: Field, call: Call) -> Field:
    if field.dim is not None and field.dim < len(call.shape) - 2:
        return field
    call.spatial(field)
    assert field.dim is not None
    inputs, outputs = call.shape[field.dim], call.result[field.dim]
    if outputs == 1 and inputs > 1:
        return field.everywhere("pooling over all positions")
    return _through(field, call, adaptive_taps(inputs, outputs), Fraction(inputs, outputs))


def _resize(field: Field, call: Call) -> Field:
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


def _pad(field: Field, call: Call) -> Field:
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


def _slice(field: Field, call: Call) -> Field:
    assert field.dim is not None
    if _dim(call, "dim", 0) != field.dim or call.result == call.shape:
        return field
    if not field.is_plain(call.shape):
        raise NotFollowed("cuts reshaped positions")
    length = call.shape[field.dim]
    start, step = call.arguments.get("start") or 0, call.arguments.get("step") or 1
    start = min(max(start + length if start < 0 else start, 0), length)
    return _through(field, call, moved_taps(start, step), Fraction(step))


def _flip(field: Field, call: Call) -> Field:
    assert field.dim is not None
    if field.dim not in [d % len(call.shape) for d in call.arguments["dims"]]:
        return field
    if not field.is_plain(call.shape):
        raise NotFollowed("flips reshaped positions")
    return _through(field, call, moved_taps(len(field.axis.lows) - 1, -1), Fraction(-1))


def _select(field: Field, call: Call) -> Field:
    assert field.dim is not None
    dim = _dim(call, "dim", 0)
    if dim == field.dim:
        if not field.is_plain(call.shape):
            raise NotFollowed("takes one of reshaped positions")
        place = call.arguments["index"] % call.shape[dim]
        low, high = field.axis.lows[place : place + 1], field.axis.highs[place : place + 1]
        return Field(Axis(low, high, low, high, 0), None, 1, "one position taken for all")
    return replace(field, dim=field.dim - (dim < field.dim))


def _split(field: Field, call: Call) -> Field:
    if _dim(call, "dim", 0) == field.dim:
        raise NotFollowed("splits positions")
    return field


def _unbind(field: Field, call: Call) -> Field:
    assert field.dim is not None
    dim = _dim(call, "dim", 0)
    if dim == field.dim:
        raise NotFollowed("splits positions")
    return replace(field, dim=field.dim - (dim < field.dim))


def _view(field: Field, call: Call) -> Field:
    """Where the positions are after a reshape: the same stride in row-major order."""
    assert field.dim is not None
    stride = field.inner * math.prod(call.shape[field.dim + 1 :])
    length, below = len(field.axis.lows), 1
    for dim in reversed(range(len(call.result))):
        size = call.result[dim]
        fits = below <= stride and stride % below == 0 and stride * length <= below * size
        if fits and (below * size) % (stride * length) == 0:
            return replace(field, dim=dim, inner=stride // below)
        below *= size
    raise NotFollowed("a reshape that cuts positions into blocks")


def _permute(field: Field, call: Call) -> Field:
    assert field.dim is not None
    count = len(call.shape)
    if call.name == "permute":
        order = [d % count for d in call.arguments["dims"]]
    else:
        first, second = (
            (0, count - 1) if call.name in ("t", "t_") else
            (_dim(call, "dim0", 0), _dim(call, "dim1", 1))
        )  # fmt: skip
        order = list(range(count))
        order[first], order[second] = second, first
    return replace(field, dim=order.index(field.dim))


def _expand(field: Field, call: Call) -> Field:
    assert field.dim is not None
    dim = field.dim + len(call.result) - len(call.shape)
    if call.result[dim] != call.shape[field.dim]:
        return field.everywhere("one position spread over all")
    return replace(field, dim=dim)


def _reduce(field: Field, call: Call) -> Field:
    assert field.dim is not None
    dims = call.arguments.get("dim")
    count = len(call.shape)
    listed = [dims] if isinstance(dims, int) else list(dims or range(count))
    gone = {d % count for d in listed}
    if field.dim in gone:
        return field.everywhere(f"{call.name} over all positions")
    kept = call.arguments.get("keepdim") or len(call.result) == count
    return field if kept else replace(field, dim=field.dim - sum(d < field.dim for d in gone))


def _along(field: Field, call: Call) -> Field:
    """Softmax and the like: within one dimension every value depends on all."""
    if _dim(call, "dim", -1) == field.dim:
        return field.everywhere(f"{call.name.lstrip('_')} over all positions")
    return field


def _layer_norm(field: Field, call: Call) -> Field:
    assert field.dim is not None
    if field.dim >= len(call.shape) - len(call.arguments["normalized_shape"]):
        return field.everywhere("a layer norm over all positions")
    return field


def _group_norm(field: Field, call: Call) -> Field:
    return field if field.dim == 0 else field.everywhere("a group norm over all positions")


def _batch_norm(field: Field, call: Call) -> Field:
    training = call.arguments.get("training") or call.arguments.get("use_input_stats")
    if (training or call.name == "_native_batch_norm_legit") and field.dim != 1:
        return field.everywhere("a norm over all positions")
    return field


def _shuffle_up(field: Field, call: Call) -> Field:
    call.spatial(field)
    r = call.arguments["upscale_factor"]
    taps = resizing_taps(len(field.axis.lows), (0, 0), lambda q: q // r)
    return _through(field, call, taps, Fraction(1, r))


def _shuffle_down(field: Field, call: Call) -> Field:
    call.spatial(field)
    r = call.arguments["downscale_factor"]
    return _through(field, call, window_taps(r, r, 0, 1), Fraction(r))


def _linear(field: Field, call: Call) -> Field:
    if field.dim == len(call.shape) - 1:
        return field.everywhere("a linear layer over all positions")
    return field


def _channel_shuffle(field: Field, call: Call) -> Field:
    if field.dim == len(call.shape) - 3:
        raise NotFollowed("shuffles positions")
    return field


def _dim(call: Call, name: str, default: int) -> int:
    dim = call.arguments.get(name)
    return (default if dim is None else int(dim)) % max(len(call.shape), 1)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool2d", "avg_pool2d"), _pool),
    **dict.fromkeys(("mkldnn_max_pool2d", "quantized_max_pool2d"), _pool),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_avg_pool2d"), _adaptive_pool),
    "adaptive_max_pool2d": _adaptive_pool,
    **dict.fromkeys(("upsample_nearest2d", "_upsample_nearest_exact2d"), _resize),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_bicubic2d"), _resize),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), _pad),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze"), _view),
    **dict.fromkeys(("flatten", "_reshape_alias", "unflatten"), _view),
    **dict.fromkeys(("permute", "transpose", "t"), _permute),
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _split),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std"), _reduce),
    **dict.fromkeys(("var_mean", "std_mean", "prod", "logsumexp", "linalg_vector_norm"), _reduce),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "sort"), _along),
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    **dict.fromkeys(("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"), _batch_norm),
    **dict.fromkeys(("_native_batch_norm_legit_no_training", "_native_batch_norm_legit"),
                    _batch_norm),
    "pixel_shuffle": _shuffle_up,
    "pixel_unshuffle": _shuffle_down,
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), _channel_shuffle),
    "linear": _linear,
    "slice": _slice,
    "flip": _flip,
    "select": _select,
    "unbind": _unbind,
    "expand": _expand,
}  # fmt: skip
SAME = {
    *("clone", "detach", "alias", "_to_copy", "contiguous", "copy_", "lift_fresh", "lift"),
    *("_prelu_kernel", "dropout", "native_dropout", "dropout_", "feature_dropout", "cumsum_"),
}
