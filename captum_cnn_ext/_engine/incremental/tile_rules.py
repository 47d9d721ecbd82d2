"""What each operation makes of tiles. An operation without a rule gets whole maps."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext._engine.incremental.operation_tape import Ref, Step
from captum_cnn_ext._engine.incremental.tiles import Span, Tile, cut, joined, paste

# A tile that covers this part of the map, cut out and pasted back, costs as much as the map.
ALMOST_ALL = 0.85

Change = Tile | Tensor  # part of a map, or whole maps
ELEMENTWISE = {
    *("relu", "hardtanh", "threshold", "clamp", "clamp_min", "leaky_relu", "elu", "celu", "selu"),
    *("silu", "gelu", "hardswish", "hardsigmoid", "mish", "softplus", "sigmoid", "tanh", "neg"),
    *("abs", "pow", "exp", "log", "sqrt", "rsqrt", "reciprocal", "clone", "alias", "detach"),
    *("_to_copy", "add", "sub", "mul", "div", "rsub", "_prelu_kernel"),
}


class Frame(Protocol):
    """What the rules see: the recorded values, and those that changed."""

    count: int

    def shape(self, number: int) -> torch.Size: ...
    def base(self, number: int) -> Tensor: ...
    def padded(self, number: int, pads: tuple[int, ...], value: float) -> Tensor: ...
    def change(self, number: int) -> Change | None: ...


Rule = Callable[[Step, Frame], list[Change] | None]


def through(step: Step, frame: Frame) -> list[Change] | None:
    """The operation's outputs from its tiles, or None where it needs whole maps."""
    changes = [frame.change(number) for number in step.reads()]
    if not any(isinstance(change, Tile) for change in changes):
        return None
    rule = RULES.get(step.name) or (_elementwise if step.name in ELEMENTWISE else None)
    if rule is None or any(isinstance(change, Tensor) for change in changes):
        return None
    return rule(step, frame)


def needs_recorded(step: Step, shapes: Mapping[int, torch.Size]) -> bool:
    """Whether the operation may need the recorded maps that it reads, beside the tiles."""
    reads = step.reads()
    if len(reads) > 1:
        return True
    constants = [value for value in step.args.values() if isinstance(value, Tensor)]
    if step.name in ELEMENTWISE:
        return any(value.numel() > 1 for value in constants)
    if step.name == "constant_pad_nd":
        return min(step.args["pad"]) < 0 or len(step.args["pad"]) > 2 * len(shapes[reads[0]][2:])
    return RULES.get(step.name) is not _batch_norm


def _tile(frame: Frame, ref: Any) -> Tile | None:
    change = frame.change(ref.index) if isinstance(ref, Ref) else None
    return change if isinstance(change, Tile) else None


def _each(value: Any, axes: int) -> tuple[int, ...]:
    """A setting of a sliding operation, for each axis."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * axes if len(values) == 1 else values


def _sliding(
    step: Step,
    frame: Frame,
    read: str,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    outside: float,
) -> list[Change] | None:
    """A convolution or pooling of argument ``read``, on what it reads for the outputs that change.

    ``outside`` stands beyond the border of the map.
    """
    ref = step.args[read]
    tile = _tile(frame, ref)
    others_read = any(number >= 0 for number in step.outputs[1:])  # where a maximum lies
    if tile is None or len(kernel) != tile.axes or others_read:
        return None
    positions, size = frame.shape(step.outputs[0])[2:], frame.shape(ref.index)[2:]
    padding = _each(step.args["padding"], tile.axes)
    settings = list(zip(kernel, stride, padding, dilation, strict=True))
    spans = tuple(
        span.through(*setting, count)
        for span, setting, count in zip(tile.spans, settings, positions, strict=True)
    )
    if _almost_all(spans, positions):
        return None
    windows = tile.data
    if any(setting != (1, 1, 0, 1) for setting in settings):
        pads: tuple[int, ...] = ()  # after the last position: as far as the last output reads
        for (k, s, p, d), count, length in zip(settings, positions, size, strict=True):
            pads = (p, max(0, (count - 1) * s + d * (k - 1) + 1 - length - p), *pads)
        needed = [span.needed(*setting) for span, setting in zip(spans, settings, strict=True)]
        windows = cut(frame.padded(ref.index, pads, outside), needed)
        moved = [span.shifted(p) for span, p in zip(tile.spans, padding, strict=True)]
        paste(windows, needed, Tile(tile.data, tuple(moved)))
    changed = {read: windows, "padding": [0] * tile.axes, "ceil_mode": False}
    args = {k: changed.get(k, v) for k, v in step.args.items()}
    result = Step(step.func, args, ()).call(frame.base, frame.count)
    return [Tile(result[0] if isinstance(result, tuple) else result, spans)]


def _almost_all(spans: Sequence[Span], sizes: Sequence[int]) -> bool:
    return math.prod(span.length for span in spans) > ALMOST_ALL * math.prod(sizes)


def _convolution(step: Step, frame: Frame) -> list[Change] | None:
    a, weight = step.args, step.args["weight"]
    if a["transposed"] or not isinstance(weight, Tensor) or isinstance(a["bias"], Ref):
        return None
    axes = weight.ndim - 2
    stride, dilation = _each(a["stride"], axes), _each(a["dilation"], axes)
    return _sliding(step, frame, "input", tuple(weight.shape[2:]), stride, dilation, 0.0)


def _max_pool(step: Step, frame: Frame) -> list[Change] | None:
    kernel, stride = _pooling(step, frame)
    dilation = _each(step.args["dilation"], len(kernel))
    return _sliding(step, frame, "self", kernel, stride, dilation, float("-inf"))


def _average_pool(step: Step, frame: Frame) -> list[Change] | None:
    a = step.args
    kernel, stride = _pooling(step, frame)
    # at the border an average over fewer positions; so is the last one of a ceil
    if a["ceil_mode"] or (any(_each(a["padding"], 1)) and not a["count_include_pad"]):
        return None
    return _sliding(step, frame, "self", kernel, stride, (1,) * len(kernel), 0.0)


def _pooling(step: Step, frame: Frame) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Kernel and stride of a pooling."""
    axes = len(frame.shape(step.outputs[0])) - 2
    kernel, stride = step.args["kernel_size"], step.args["stride"]
    return _each(kernel, axes), _each(stride or kernel, axes)


def _pad(step: Step, frame: Frame) -> list[Change] | None:
    tile, pad = _tile(frame, step.args["self"]), list(step.args["pad"])
    if tile is None or any(pad[2 * tile.axes :]) or min(pad) < 0:
        return None
    before = [*pad[::2], *[0] * tile.axes][: tile.axes]  # the last axis first
    spans = [span.shifted(by) for span, by in zip(tile.spans, before[::-1], strict=True)]
    return [Tile(tile.data, tuple(spans))]


def _unsqueeze(step: Step, frame: Frame) -> list[Change] | None:
    """A further axis of one position: PyTorch pools a signal as an image of one row."""
    tile, dim = _tile(frame, step.args["self"]), step.args["dim"]
    dim = dim if tile is None or dim >= 0 else dim + tile.axes + 3
    if tile is None or dim < 2:
        return None
    one = Span(np.zeros(len(tile.data), np.int64), 1)
    spans = (*tile.spans[: dim - 2], one, *tile.spans[dim - 2 :])
    return [Tile(tile.data.unsqueeze(dim), spans)]


def _squeeze(step: Step, frame: Frame) -> list[Change] | None:
    ref, dim = step.args["self"], step.args.get("dim")
    tile = _tile(frame, ref)
    if tile is None or not isinstance(dim, int):
        return None
    dim %= tile.axes + 2
    if dim < 2 or frame.shape(ref.index)[dim] != 1 or tile.axes == 1:
        return None
    return [Tile(tile.data.squeeze(dim), (*tile.spans[: dim - 2], *tile.spans[dim - 1 :]))]


def _batch_norm(step: Step, frame: Frame) -> list[Change] | None:
    tile, a = _tile(frame, step.args["input"]), step.args
    statistics = [a[k] for k in ("running_mean", "running_var", "weight", "bias")]
    if tile is None or any(isinstance(value, Ref) for value in statistics):
        return None
    mean, variance, weight, bias = statistics
    data = F.batch_norm(tile.data, mean, variance, weight, bias, False, 0.0, a["eps"])
    return [tile.with_data(data)]


def _mean(step: Step, frame: Frame) -> list[Change] | None:
    """Over all positions: the recorded mean and the difference that the tile makes."""
    ref, dims = step.args["self"], step.args["dim"]
    tile = _tile(frame, ref)
    if tile is None or step.args["dtype"]:
        return None
    places = list(range(2, tile.axes + 2))
    if sorted(d % (tile.axes + 2) for d in dims or ()) != places:
        return None
    base = frame.base(ref.index)
    difference = (tile.data - cut(base, tile.spans)).sum(places, keepdim=True)
    mean = base.mean(places, keepdim=True) + difference / math.prod(base.shape[2:])
    return [mean if step.args["keepdim"] else mean.flatten(1)]


def _by_channel(tile: Tile | None, dim: int) -> bool:
    return tile is not None and dim % (tile.axes + 2) == 1


def _split(step: Step, frame: Frame) -> list[Change] | None:
    tile = _tile(frame, step.args["self"])
    if tile is None or not _by_channel(tile, step.args["dim"]):
        return None
    sizes = step.args["split_sizes" if "split_sizes" in step.args else "split_size"]
    return [tile.with_data(part) for part in torch.split(tile.data, sizes, 1)]


def _slice(step: Step, frame: Frame) -> list[Change] | None:
    tile, a = _tile(frame, step.args["self"]), step.args
    if tile is None or not _by_channel(tile, a["dim"]):
        return None
    return [tile.with_data(tile.data[:, a["start"] : a["end"] : a["step"]])]


def _concatenate(step: Step, frame: Frame) -> list[Change] | None:
    parts = step.args["tensors"]
    tile = next(tile for part in parts if (tile := _tile(frame, part)) is not None)
    if not _by_channel(tile, step.args["dim"]) or not all(isinstance(part, Ref) for part in parts):
        return None
    aligned = _aligned(list(parts), frame)
    if aligned is None:
        return None
    data, spans = aligned
    return [Tile(torch.cat(data, 1), spans)]


def _elementwise(step: Step, frame: Frame) -> list[Change] | None:
    """One value for each position of the tensors it reads; constants must not vary with it."""
    names = [n for n, value in step.args.items() if isinstance(value, Ref)]
    aligned = _aligned([step.args[n] for n in names], frame)
    if aligned is None:
        return None
    data, spans = aligned
    constants = [v for v in step.args.values() if isinstance(v, Tensor)]
    if any(v.shape[-len(spans) :].numel() > 1 for v in constants):
        return None
    given = {**step.args, **dict(zip(names, data, strict=True))}
    return [Tile(Step(step.func, given, ()).call(frame.base, frame.count), spans)]


def _aligned(refs: list[Ref], frame: Frame) -> tuple[list[Tensor], tuple[Span, ...]] | None:
    """The values of all tensors on the tile that holds every change."""
    tiles = [tile for ref in refs if (tile := _tile(frame, ref)) is not None]
    first = tiles[0]
    if len(refs) == 1:
        return [first.data], first.spans
    one = (1,) * first.axes
    sizes = {shape for ref in refs if (shape := frame.shape(ref.index)[2:]) != one}
    if len(sizes) != 1 or any(tile.axes != first.axes for tile in tiles):
        return None
    (size,) = sizes
    spans = tuple(
        joined([tile.spans[axis] for tile in tiles], length) for axis, length in enumerate(size)
    )
    if _almost_all(spans, size):
        return None
    data = []
    for ref in refs:
        tile = _tile(frame, ref)
        if tile is not None and tile.same_place(spans):
            data.append(tile.data)
            continue
        base = frame.base(ref.index)
        if base.shape[2:] == one:
            data.append(base)
        else:
            windows = cut(base, spans)
            if tile is not None:
                paste(windows, spans, tile)
            data.append(windows)
    return data, spans


RULES: dict[str, Rule] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _max_pool,
    "max_pool3d_with_indices": _max_pool,
    "avg_pool1d": _average_pool,
    "avg_pool2d": _average_pool,
    "avg_pool3d": _average_pool,
    "constant_pad_nd": _pad,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "cudnn_batch_norm": _batch_norm,
    "mean": _mean,
    "split": _split,
    "split_with_sizes": _split,
    "slice": _slice,
    "cat": _concatenate,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
}
