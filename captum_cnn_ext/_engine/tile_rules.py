"""What each operation makes of tiles. An operation without a rule gets whole maps."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext._engine.tape import Ref, Step
from captum_cnn_ext._engine.tiles import Span, Tile, cut, joined, paste

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
    def padded(self, number: int, pads: tuple[int, int, int, int], value: float) -> Tensor: ...
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


def needs_recorded(step: Step) -> bool:
    """Whether the operation may need the recorded maps that it reads, beside the tiles."""
    if len(step.reads()) > 1:
        return True
    constants = [value for value in step.args.values() if isinstance(value, Tensor)]
    if step.name in ELEMENTWISE:
        return any(value.numel() > 1 for value in constants)
    if step.name == "constant_pad_nd":
        return min(step.args["pad"]) < 0 or len(step.args["pad"]) > 4
    return RULES.get(step.name) is not _batch_norm


def _tile(frame: Frame, ref: Any) -> Tile | None:
    change = frame.change(ref.index) if isinstance(ref, Ref) else None
    return change if isinstance(change, Tile) else None


def _pair(value: Any) -> tuple[int, int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def _windows(
    step: Step,
    frame: Frame,
    ref: Ref,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    outside: float,
    positions: tuple[int, int],
) -> tuple[Tensor, Span, Span] | None:
    """What a sliding operation reads for the outputs that change, and where these lie."""
    tile = _tile(frame, ref)
    if tile is None:
        return None
    rows, columns = (
        span.through(k, s, p, d, n)
        for span, k, s, p, d, n in zip(
            (tile.rows, tile.columns), kernel, stride, padding, dilation, positions, strict=True
        )
    )
    if rows.length * columns.length > ALMOST_ALL * positions[0] * positions[1]:
        return None
    if kernel == (1, 1) and stride == (1, 1) and padding == (0, 0):
        return tile.data, rows, columns
    size = frame.shape(ref.index)[2:]
    pads = []  # after the last position: as far as the last output reads
    for k, s, p, d, n, length in zip(
        kernel, stride, padding, dilation, positions, size, strict=True
    ):
        pads.append((p, max(0, (n - 1) * s + d * (k - 1) + 1 - length - p)))
    base = frame.padded(ref.index, (*pads[1], *pads[0]), outside)
    read_rows = rows.needed(kernel[0], stride[0], padding[0], dilation[0])
    read_columns = columns.needed(kernel[1], stride[1], padding[1], dilation[1])
    windows = cut(base, read_rows, read_columns)
    moved = Tile(tile.data, tile.rows.shifted(padding[0]), tile.columns.shifted(padding[1]))
    paste(windows, read_rows, read_columns, moved)
    return windows, rows, columns


def _convolution(step: Step, frame: Frame) -> list[Change] | None:
    a = step.args
    weight, bias = a["weight"], a["bias"]
    if a["transposed"] or not isinstance(weight, Tensor) or isinstance(bias, Ref):
        return None
    if weight.ndim != 4 or not isinstance(a["input"], Ref):
        return None
    stride, dilation = _pair(a["stride"]), _pair(a["dilation"])
    kernel = (weight.shape[2], weight.shape[3])
    read = _windows(
        step, frame, a["input"], kernel, stride, _pair(a["padding"]), dilation, 0.0,
        _positions(step, frame),
    )  # fmt: skip
    if read is None:
        return None
    windows, rows, columns = read
    data = F.conv2d(windows, weight, bias, stride, 0, dilation, a["groups"])
    return [Tile(data, rows, columns)]


def _max_pool(step: Step, frame: Frame) -> list[Change] | None:
    a = step.args
    if not isinstance(a["self"], Ref):
        return None
    kernel, dilation = _pair(a["kernel_size"]), _pair(a["dilation"])
    stride = _pair(a["stride"]) if a["stride"] else kernel
    read = _windows(
        step, frame, a["self"], kernel, stride, _pair(a["padding"]), dilation, float("-inf"),
        _positions(step, frame),
    )  # fmt: skip
    if read is None:
        return None
    windows, rows, columns = read
    return [Tile(F.max_pool2d(windows, kernel, stride, 0, dilation), rows, columns)]


def _average_pool(step: Step, frame: Frame) -> list[Change] | None:
    a = step.args
    kernel = _pair(a["kernel_size"])
    stride, padding = (_pair(a["stride"]) if a["stride"] else kernel), _pair(a["padding"])
    # at the border an average over fewer positions; so is the last one of a ceil
    uneven = a["ceil_mode"] or (any(padding) and not a["count_include_pad"])
    if uneven or not isinstance(a["self"], Ref):
        return None
    read = _windows(
        step, frame, a["self"], kernel, stride, padding, (1, 1), 0.0, _positions(step, frame)
    )
    if read is None:
        return None
    windows, rows, columns = read
    data = F.avg_pool2d(windows, kernel, stride, divisor_override=a["divisor_override"])
    return [Tile(data, rows, columns)]


def _positions(step: Step, frame: Frame) -> tuple[int, int]:
    height, width = frame.shape(step.outputs[0])[2:]
    return height, width


def _pad(step: Step, frame: Frame) -> list[Change] | None:
    tile, pad = _tile(frame, step.args["self"]), [*step.args["pad"], 0, 0, 0, 0]
    if tile is None or any(pad[4:]) or min(pad) < 0:
        return None
    return [Tile(tile.data, tile.rows.shifted(pad[2]), tile.columns.shifted(pad[0]))]


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
    if tile is None or sorted(d % 4 for d in dims or ()) != [2, 3] or step.args["dtype"]:
        return None
    base = frame.base(ref.index)
    before = cut(base, tile.rows, tile.columns)
    difference = (tile.data - before).sum((2, 3), keepdim=True)
    mean = base.mean((2, 3), keepdim=True) + difference / (base.shape[2] * base.shape[3])
    return [mean if step.args["keepdim"] else mean.flatten(1)]


def _split(step: Step, frame: Frame) -> list[Change] | None:
    tile, dim = _tile(frame, step.args["self"]), step.args["dim"]
    if tile is None or dim % 4 != 1:
        return None
    sizes = step.args["split_sizes" if "split_sizes" in step.args else "split_size"]
    return [tile.with_data(part) for part in torch.split(tile.data, sizes, 1)]


def _slice(step: Step, frame: Frame) -> list[Change] | None:
    tile, a = _tile(frame, step.args["self"]), step.args
    if tile is None or a["dim"] % 4 != 1:
        return None
    return [tile.with_data(tile.data[:, a["start"] : a["end"] : a["step"]])]


def _concatenate(step: Step, frame: Frame) -> list[Change] | None:
    parts = step.args["tensors"]
    if step.args["dim"] % 4 != 1 or not all(isinstance(part, Ref) for part in parts):
        return None
    aligned = _aligned(list(parts), frame)
    if aligned is None:
        return None
    data, rows, columns = aligned
    return [Tile(torch.cat(data, 1), rows, columns)]


def _elementwise(step: Step, frame: Frame) -> list[Change] | None:
    """One value for each position of the tensors it reads; constants must not vary with it."""
    names = [n for n, value in step.args.items() if isinstance(value, Ref)]
    constants = [v for v in step.args.values() if isinstance(v, Tensor) and v.numel() > 1]
    if any(v.ndim > 1 and (v.ndim < 3 or v.shape[-2:] != (1, 1)) for v in constants):
        return None
    if any(v.ndim == 1 and step.name != "_prelu_kernel" for v in constants):
        return None
    aligned = _aligned([step.args[n] for n in names], frame)
    if aligned is None:
        return None
    data, rows, columns = aligned
    given = {**step.args, **dict(zip(names, data, strict=True))}
    return [Tile(Step(step.func, given, ()).call(frame.base, frame.count), rows, columns)]


def _aligned(refs: list[Ref], frame: Frame) -> tuple[list[Tensor], Span, Span] | None:
    """The values of all tensors on the tile that holds every change."""
    tiles = [tile for ref in refs if (tile := _tile(frame, ref)) is not None]
    rows, columns = tiles[0].rows, tiles[0].columns
    if len(refs) == 1:
        return [tiles[0].data], rows, columns
    shapes = {frame.shape(ref.index)[2:] for ref in refs}
    sizes = [shape for shape in shapes if shape != (1, 1)]
    if len(sizes) != 1 or len(sizes[0]) != 2:
        return None
    height, width = sizes[0]
    rows = joined([tile.rows for tile in tiles], height)
    columns = joined([tile.columns for tile in tiles], width)
    if rows.length * columns.length > ALMOST_ALL * height * width:
        return None
    data = []
    for ref in refs:
        tile = _tile(frame, ref)
        if tile is not None and tile.rows.same(rows) and tile.columns.same(columns):
            data.append(tile.data)
            continue
        base = frame.base(ref.index)
        if base.shape[2:] == (1, 1):
            data.append(base)
        else:
            windows = cut(base, rows, columns)
            if tile is not None:
                paste(windows, rows, columns, tile)
            data.append(windows)
    return data, rows, columns


RULES: dict[str, Rule] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool2d": _average_pool,
    "constant_pad_nd": _pad,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "cudnn_batch_norm": _batch_norm,
    "mean": _mean,
    "split": _split,
    "split_with_sizes": _split,
    "slice": _slice,
    "cat": _concatenate,
}
