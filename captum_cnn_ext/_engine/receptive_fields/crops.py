"""Whether a cut of the image gives a unit its value, and which cut: stricter than what it sees.

Along each of the two image axes, position p of a map sees the pixels from ``low + p step`` to
``high + p step``, both included, and beyond the border where that is outside. The pair is carried
through every tensor operation of a pass; an operation that is not known to keep it (a view, a
global pooling, attention) gives no window, and the caller uses the whole image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from captum_cnn_ext._engine.trace.forward_trace import Left, Operation, Trace, Value


@dataclass(frozen=True)
class Window:
    """The pixels that position p sees along one axis: low + p step to high + p step."""

    low: int
    high: int
    step: int

    def slide(self, kernel: int, stride: int, padding: int, dilation: int) -> "Window":
        """Through a convolution or pooling."""
        first = self.low - padding * self.step
        last = self.high + (dilation * (kernel - 1) - padding) * self.step
        return Window(first, last, self.step * stride)

    def shift(self, before: int) -> "Window":
        """Through a padding (or, negative, a cut) of so many positions before the first."""
        offset = before * self.step
        return Window(self.low - offset, self.high - offset, self.step)


Windows = tuple[Window, Window]


@dataclass(frozen=True)
class Crops:
    """How to cut the image so that a unit of the cut is that unit of the image.

    Along each axis every cut has ``size`` pixels and starts at a multiple of the step, so that all
    strides fall on the positions they had; where the field goes over a border, the cut ends there.
    """

    field: Windows
    image: tuple[int, int]
    size: tuple[int, int]

    def starts(self, position: Sequence[int]) -> tuple[int, int]:
        """The first row and column of the cut for the unit at ``position``."""
        first, second = (
            min(max(w.low + p * w.step, 0) // w.step * w.step, length - size)
            for w, p, length, size in zip(self.field, position, self.image, self.size, strict=True)
        )
        return first, second

    def position(self, position: Sequence[int]) -> tuple[int, int]:
        """Where the unit at ``position`` is in its cut."""
        first, second = (
            p - start // w.step
            for w, p, start in zip(self.field, position, self.starts(position), strict=True)
        )
        return first, second

    @property
    def share(self) -> float:
        """The cut's part of the image's area."""
        return self.size[0] * self.size[1] / (self.image[0] * self.image[1])


def crops(field: Windows, image: tuple[int, int]) -> Crops:
    """The smallest cut that holds any unit's field: at least the field and one step of alignment.

    The image's remainder is a multiple of the step, so that the last cut ends at the border.
    """

    def size(window: Window, length: int) -> int:
        least = window.high - window.low + window.step
        return length - window.step * max(0, (length - least) // window.step)

    first, second = (size(w, length) for w, length in zip(field, image, strict=True))
    return Crops(field, image, (first, second))


def box(field: Windows, position: Sequence[int], image: Sequence[int]) -> list[list[int]]:
    """[[top, bottom], [left, right]) of the pixels that a unit sees, cut at the border."""
    return [
        [max(0, w.low + p * w.step), min(length, w.high + p * w.step + 1)]
        for w, p, length in zip(field, position, image, strict=True)
    ]


ELEMENTWISE = {
    *("relu", "relu_", "hardtanh", "hardtanh_", "threshold", "threshold_", "clamp", "clamp_"),
    *("clamp_min", "clamp_min_", "leaky_relu", "leaky_relu_", "elu", "elu_", "celu", "celu_"),
    *("silu", "silu_", "gelu", "hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_", "mish"),
    *("mish_", "softplus", "sigmoid", "sigmoid_", "tanh", "tanh_", "_prelu_kernel", "selu"),
    *("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "neg", "abs", "pow"),
    *("clone", "detach", "alias", "_to_copy", "contiguous", "copy_", "selu_", "lift_fresh"),
}
_NORMS = {
    *("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"),
    *("miopen_batch_norm", "_native_batch_norm_legit", "batch_norm_with_update"),
}
_POOLS = {"max_pool2d_with_indices", "max_pool2d", "avg_pool2d", "mkldnn_max_pool2d"}


def cut_field(trace: Trace, value: Value) -> Windows | None:
    """The field of a value's positions, or None where it is not known to move with a cut.

    The pass begins with the image, (N, C, H, W).
    """
    image = trace.inputs[0]
    pixel = Window(0, 0, 1)
    # of the values that the image has a part in; None where it is not known
    fields: dict[Value, Windows | None] = {image: (pixel, pixel) if len(image.shape) == 4 else None}
    for operation in trace.events:
        if isinstance(operation, Left):
            return None  # a value may have gone anywhere
        if not isinstance(operation, Operation):
            continue
        sources = [source for source in operation.reads if source in fields]
        sound = _sound(operation, fields)
        if not sources and sound:
            continue
        known = sound and all(fields[source] is not None for source in sources)
        field = _through(operation, fields) if known else None
        for _, result in operation.written:
            fields[result] = None
        for place, result in enumerate(operation.outputs):
            fields[result] = field if place == 0 and len(result.shape) == 4 else None
    return fields.get(value)


def _sound(operation: Operation, fields: dict[Value, Windows | None]) -> bool:
    """Nothing that is read was written, through another tensor, with another field."""
    return all(
        new not in fields or (fields[new] is not None and fields.get(old) == fields[new])
        for writer in operation.stale
        for old, new in writer.written
    )


def _through(operation: Operation, fields: dict[Value, Windows | None]) -> Windows | None:
    name, arguments = operation.name, operation.arguments
    reads = operation.reads
    if name == "cat":
        along_channels = arguments["dim"] in (1, -3)
        return _union([fields.get(v) for v in arguments["tensors"]]) if along_channels else None
    if name in ELEMENTWISE:
        # constants that differ by position would not move with a cut
        flat = [value.shape for value in reads if value not in fields]
        if any(max(shape[-2:], default=1) > 1 for shape in flat if len(shape) != 1):
            return None
        if any(shape[0] > 1 for shape in flat if len(shape) == 1) and name != "_prelu_kernel":
            return None
        return _union([fields[value] for value in reads if value in fields])
    first = fields.get(reads[0])
    if first is None:
        return None
    rows, columns = first
    if name in _NORMS:
        of_the_batch = name in ("_native_batch_norm_legit", "batch_norm_with_update")
        return None if of_the_batch or arguments.get("training") else first
    if name == "convolution":
        weight = arguments["weight"].shape
        if arguments["transposed"] or len(weight) != 4:
            return None
        return _slide(first, weight[2:], *(arguments[n] for n in ("stride", "padding", "dilation")))
    if name in _POOLS:
        kernel, padding = arguments["kernel_size"], arguments["padding"]
        stride = arguments["stride"] or kernel
        # an average over fewer pixels at the border is tied to the border; so is a ceil
        if name == "avg_pool2d" and arguments["ceil_mode"]:
            return None
        return _slide(first, kernel, stride, padding, arguments.get("dilation", 1))
    if name == "constant_pad_nd":
        pad = [*arguments["pad"], 0, 0, 0, 0]
        return (rows.shift(pad[2]), columns.shift(pad[0])) if not any(pad[4:]) else None
    return None


def _union(fields: Sequence[Windows | None]) -> Windows | None:
    known = [field for field in fields if field is not None]
    if not known or len(known) < len(fields):
        return None
    axes = []
    for windows in zip(*known, strict=True):
        if len({w.step for w in windows}) > 1:
            return None
        low, high = min(w.low for w in windows), max(w.high for w in windows)
        axes.append(Window(low, high, windows[0].step))
    return axes[0], axes[1]


def _slide(field: Windows, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Windows:
    sizes = [
        value * 2 if len(value := list(v) if isinstance(v, (list, tuple, torch.Size)) else [v]) == 1
        else value
        for v in (kernel, stride, padding, dilation)
    ]  # fmt: skip
    rows, columns = field
    return (
        rows.slide(*(value[0] for value in sizes)),
        columns.slide(*(value[1] for value in sizes)),
    )
