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
from captum_cnn_ext._engine.trace.window_arithmetic import Call, Slide, is_pointwise, slides_of

# A tile that covers this part of the map, cut out and pasted back, costs as much as the map.
ALMOST_ALL = 0.85

Change = Tile | Tensor  # part of a map, or whole maps


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
    changes = [frame.change(number) for number in step.reads]
    if not any(isinstance(change, Tile) for change in changes):
        return None
    rule = RULES.get(step.name) or (_elementwise if is_pointwise(step.func) else None)
    if rule is None or any(isinstance(change, Tensor) for change in changes):
        return None
    return rule(step, frame)


def needs_recorded(step: Step, shapes: Mapping[int, torch.Size]) -> bool:
    """Whether the operation may need the recorded maps that it reads, beside the tiles."""
    reads = step.reads
    if len(reads) > 1:
        return True
    constants = [value for value in step.args.values() if isinstance(value, Tensor)]
    if is_pointwise(step.func):
        return any(value.numel() > 1 for value in constants)
    if step.name == "constant_pad_nd":
        return min(step.args["pad"]) < 0 or len(step.args["pad"]) > 2 * len(shapes[reads[0]][2:])
    return RULES.get(step.name) is not _batch_norm


def _tile(frame: Frame, ref: Any) -> Tile | None:
    change = frame.change(ref.index) if isinstance(ref, Ref) else None
    return change if isinstance(change, Tile) else None


def _slides(step: Step, frame: Frame) -> list[Slide] | None:
    source, result = frame.shape(step.reads[0]), frame.shape(step.outputs[0])
    return slides_of(Call(step.name, step.args, source, result))


def _sliding(step: Step, frame: Frame, read: str, outside: float) -> list[Change] | None:
    """Convolution and pooling: the outputs that read the tile, from all that those read.

    ``outside`` is the value beyond the border.
    """
    ref = step.args[read]
    tile = _tile(frame, ref)
    others_read = any(number >= 0 for number in step.outputs[1:])  # where a maximum lies
    size, positions = frame.shape(ref.index), frame.shape(step.outputs[0])[2:]
    slides = _slides(step, frame)
    if tile is None or slides is None or others_read:
        return None
    spans = tuple(
        span.through(slide, count)
        for span, slide, count in zip(tile.spans, slides, positions, strict=True)
    )
    if _almost_all(spans, positions):
        return None
    windows = tile.data
    if any(slide != Slide() for slide in slides):
        pads: tuple[int, ...] = ()  # after the last position: as far as the last output reads
        for slide, count, length in zip(slides, positions, size[2:], strict=True):
            _, last = slide.inputs(0, count - 1)
            pads = (slide.padding, max(0, last + 1 - length), *pads)
        needed = [span.needed(slide) for span, slide in zip(spans, slides, strict=True)]
        inside = [span.shifted(slide.padding) for span, slide in zip(needed, slides, strict=True)]
        windows = cut(frame.padded(ref.index, pads, outside), inside)
        paste(windows, needed, tile)
    changed = {read: windows, "padding": [0] * tile.axes, "ceil_mode": False}
    args = {k: changed.get(k, v) for k, v in step.args.items()}
    result = Step(step.func, args, ()).call(frame.base, frame.count)
    return [Tile(result[0] if isinstance(result, tuple) else result, spans)]


def _almost_all(spans: Sequence[Span], sizes: Sequence[int]) -> bool:
    return math.prod(span.length for span in spans) > ALMOST_ALL * math.prod(sizes)


def _convolution(step: Step, frame: Frame) -> list[Change] | None:
    if isinstance(step.args["weight"], Ref) or isinstance(step.args["bias"], Ref):
        return None
    return _sliding(step, frame, "input", 0.0)


def _max_pool(step: Step, frame: Frame) -> list[Change] | None:
    return _sliding(step, frame, "self", float("-inf"))


def _average_pool(step: Step, frame: Frame) -> list[Change] | None:
    a = step.args
    # at the border an average over fewer positions; so is the last one of a ceil
    if a["ceil_mode"] or (np.any(a["padding"]) and not a["count_include_pad"]):
        return None
    return _sliding(step, frame, "self", 0.0)


def _pad(step: Step, frame: Frame) -> list[Change] | None:
    ref = step.args["self"]
    tile, slides = _tile(frame, ref), _slides(step, frame)
    if tile is None or slides is None or min(step.args["pad"]) < 0:
        return None
    moved = (span.shifted(slide.padding) for span, slide in zip(tile.spans, slides, strict=True))
    return [Tile(tile.data, tuple(moved))]


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
    eps = a["eps" if "eps" in a else "epsilon"]  # the second is cuDNN's name
    data = F.batch_norm(tile.data, mean, variance, weight, bias, False, 0.0, eps)
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
