"""Which window of the image a unit sees, read off the operations of a forward pass.

Along each of the two image axes, position p of a map sees the pixels from ``low + p step`` to
``high + p step``, both included, and beyond the border where that is outside. The pair is carried
through every tensor operation of a real forward pass; an operation that is not known to keep it
(a view, a global pooling, attention) gives no window, and the caller uses the whole image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.following import Follower, tensors_in


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


Field = tuple[Window, Window]


@dataclass(frozen=True)
class Crops:
    """How to cut the image so that a unit of the cut is that unit of the image.

    Along each axis every cut has ``size`` pixels and starts at a multiple of the step, so that all
    strides fall on the positions they had; where the field goes over a border, the cut ends there.
    """

    field: Field
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


def crops(field: Field, image: tuple[int, int]) -> Crops:
    """The smallest cut that holds any unit's field: at least the field and one step of alignment.

    The image's remainder is a multiple of the step, so that the last cut ends at the border.
    """

    def size(window: Window, length: int) -> int:
        least = window.high - window.low + window.step
        return length - window.step * max(0, (length - least) // window.step)

    first, second = (size(w, length) for w, length in zip(field, image, strict=True))
    return Crops(field, image, (first, second))


def box(field: Field, position: Sequence[int], image: Sequence[int]) -> list[list[int]]:
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


class FieldTracer(Follower):
    """Carries the field of an image through every operation inside its ``with`` block.

    What is known of a tensor is its field, or None.
    """

    def begin(self, image: Tensor) -> None:
        """The tensor whose pixels are counted, (N, C, H, W)."""
        self.note(image, (Window(0, 0, 1), Window(0, 0, 1)) if image.ndim == 4 else None)

    def of(self, tensor: Tensor) -> Field | None:
        """The field of the tensor's positions, or None where it is not known."""
        return None if self.left else self.known.get(tensor)

    def follow(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], sources: Sequence[Tensor]
    ) -> Any:
        if not sources:
            return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        known = all(self.known[t] is not None for t in sources)
        field = self._through(name, args, kwargs) if known else None
        if func._schema.is_mutable and name not in _NORMS:
            target = args[0] if isinstance(args[0], Tensor) else None
            # what is not understood, or read through another tensor, would leave a stale field
            changes = target not in self.known or field != self.known[target]
            if field is None or (changes and target is not None and self.beside(target)):
                self.lose(f"{name} writes in place")
        result = func(*args, **kwargs)
        for place, tensor in enumerate(tensors_in(result)):
            self.note(tensor, field if place == 0 and tensor.ndim == 4 else None)
        return result

    def _through(self, name: str, args: tuple[Any, ...], kwargs: Any) -> Field | None:
        if name == "cat":
            tensors, dim = args[0], args[1] if len(args) > 1 else kwargs.get("dim", 0)
            return self._union(tensors) if dim in (1, -3) else None
        if name in ELEMENTWISE:
            # constants that differ by position would not move with a cut
            flat = [a for a in args if isinstance(a, Tensor) and a not in self.known]
            if any(max(a.shape[-2:], default=1) > 1 for a in flat if a.ndim != 1):
                return None
            if any(a.ndim == 1 and a.numel() > 1 and name != "_prelu_kernel" for a in flat):
                return None
            return self._union([a for a in args if isinstance(a, Tensor) and a in self.known])
        if not args or not isinstance(args[0], Tensor) or args[0] not in self.known:
            return None
        rows, columns = self.known[args[0]]
        if name in _NORMS:
            training = [a for a in args if isinstance(a, bool)]
            return None if any(training) or name == "_native_batch_norm_legit" else (rows, columns)
        if name == "convolution":
            _, weight, _, stride, padding, dilation, transposed, *_ = args
            if transposed or weight.ndim != 4:
                return None
            return _slide((rows, columns), weight.shape[2:], stride, padding, dilation)
        if name in _POOLS:
            return self._pool(name, (rows, columns), args, kwargs)
        if name == "constant_pad_nd":
            pad = [*args[1], 0, 0, 0, 0]
            return (rows.shift(pad[2]), columns.shift(pad[0])) if not any(pad[4:]) else None
        return None

    def _union(self, tensors: Sequence[Tensor]) -> Field | None:
        fields = [self.known.get(t) for t in tensors]
        if not fields or any(f is None for f in fields):
            return None
        axes = []
        for windows in zip(*fields, strict=True):
            if len({w.step for w in windows}) > 1:
                return None
            low, high = min(w.low for w in windows), max(w.high for w in windows)
            axes.append(Window(low, high, windows[0].step))
        return axes[0], axes[1]

    @staticmethod
    def _pool(name: str, field: Field, args: tuple[Any, ...], kwargs: Any) -> Field | None:
        if kwargs:
            return None
        kernel, *rest = args[1:]
        stride = (rest[0] if rest else None) or kernel
        padding = rest[1] if len(rest) > 1 else 0
        if name == "avg_pool2d":
            ceil = rest[2] if len(rest) > 2 else False
            # an average over fewer pixels at the border is tied to the border; so is a ceil
            return None if ceil else _slide(field, kernel, stride, padding, 1)
        dilation = rest[2] if len(rest) > 2 else 1
        return _slide(field, kernel, stride, padding, dilation)


def _slide(field: Field, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Field:
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
