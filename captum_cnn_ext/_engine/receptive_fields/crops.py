"""Whether a cut of the image gives a unit its value, and which cut: stricter than what it sees.

Along each of the two image axes, what a map's positions see of the image is the window of one
`Slide`, beyond the border where that is outside. The pair is carried through every tensor operation
of a pass; an operation that is not known to keep it (a view, a global pooling, attention) gives
none, and the caller uses the whole image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from captum_cnn_ext._engine.trace.forward_trace import Left, Operation, Trace, Value
from captum_cnn_ext._engine.trace.window_arithmetic import (
    Call,
    Slide,
    is_fixed_norm,
    is_pointwise,
    slides_of,
)

CutField = tuple[Slide, Slide]  # from the image's rows and columns to a map's


@dataclass(frozen=True)
class Crops:
    """How to cut the image so that a unit of the cut is that unit of the image.

    Along each axis every cut has ``size`` pixels and starts at a multiple of the step, so that all
    strides fall on the positions they had; where the field goes over a border, the cut ends there.
    """

    field: CutField
    image: tuple[int, int]
    size: tuple[int, int]

    def starts(self, position: Sequence[int]) -> tuple[int, int]:
        """The first row and column of the cut for the unit at ``position``."""
        first, second = (
            min(max(see.inputs(p, p)[0], 0) // see.stride * see.stride, length - size)
            for see, p, length, size in zip(
                self.field, position, self.image, self.size, strict=True
            )
        )
        return first, second

    def position(self, position: Sequence[int]) -> tuple[int, int]:
        """Where the unit at ``position`` is in its cut."""
        first, second = (
            p - start // see.stride
            for see, p, start in zip(self.field, position, self.starts(position), strict=True)
        )
        return first, second

    @property
    def share(self) -> float:
        """The cut's part of the image's area."""
        return self.size[0] * self.size[1] / (self.image[0] * self.image[1])


def crops(field: CutField, image: tuple[int, int]) -> Crops:
    """The smallest cut that holds any unit's field: at least the field and one step of alignment.

    The image's remainder is a multiple of the step, so that the last cut ends at the border.
    """

    def size(see: Slide, length: int) -> int:
        spare = length - see.reach - see.stride
        return length - see.stride * max(0, spare // see.stride)

    first, second = (size(see, length) for see, length in zip(field, image, strict=True))
    return Crops(field, image, (first, second))


def box(field: CutField, position: Sequence[int], image: Sequence[int]) -> list[list[int]]:
    """[[top, bottom], [left, right]) of the pixels that a unit sees, cut at the border."""
    edges = [see.inputs(p, p) for see, p in zip(field, position, strict=True)]
    return [
        [max(0, low), min(length, high + 1)]
        for (low, high), length in zip(edges, image, strict=True)
    ]


# that give a position in a cut what it has in the image; a slice or a flip counts from the border
_MOVING = {
    *("convolution", "max_pool2d_with_indices", "max_pool2d", "avg_pool2d", "mkldnn_max_pool2d"),
    "constant_pad_nd",
}


def cut_field(trace: Trace, value: Value) -> CutField | None:
    """The field of a value's positions, or None where it is not known to move with a cut.

    The pass begins with the image, (N, C, H, W).
    """
    image = trace.inputs[0]
    # of the values that the image has a part in; None where it is not known
    fields: dict[Value, CutField | None] = {
        image: (Slide(), Slide()) if len(image.shape) == 4 else None
    }
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


def _sound(operation: Operation, fields: dict[Value, CutField | None]) -> bool:
    """Nothing that is read was written, through another tensor, with another field."""
    return all(
        new not in fields or (fields[new] is not None and fields.get(old) == fields[new])
        for writer in operation.stale
        for old, new in writer.written
    )


def _through(operation: Operation, fields: dict[Value, CutField | None]) -> CutField | None:
    name, arguments, reads = operation.name, operation.arguments, operation.reads
    if name == "cat":
        along_channels = arguments["dim"] in (1, -3)
        return _union([fields.get(v) for v in arguments["tensors"]]) if along_channels else None
    if is_pointwise(operation.func):
        if len({value.shape[-2:] for value in reads if value in fields}) > 1:
            return None  # one position spread over all
        # constants that differ by position would not move with a cut
        flat = [value.shape for value in reads if value not in fields]
        if any(max(shape[-2:], default=1) > 1 for shape in flat if len(shape) != 1):
            return None
        if any(shape[0] > 1 for shape in flat if len(shape) == 1) and name != "_prelu_kernel":
            return None
        return _union([fields[value] for value in reads if value in fields])
    first = fields.get(reads[0])
    if first is None or is_fixed_norm(name, arguments):
        return first
    # an average over fewer pixels at the border is tied to the border; so is a ceil
    if name not in _MOVING or (name == "avg_pool2d" and arguments["ceil_mode"]):
        return None
    slides = slides_of(Call(name, arguments, reads[0].shape, operation.outputs[0].shape))
    return None if slides is None else (first[0].then(slides[0]), first[1].then(slides[1]))


def _union(fields: Sequence[CutField | None]) -> CutField | None:
    known = [field for field in fields if field is not None]
    if not known or len(known) < len(fields):
        return None
    axes = []
    for slides in zip(*known, strict=True):
        if len({see.stride for see in slides}) > 1:
            return None
        low = -max(see.padding for see in slides)
        high = max(see.inputs(0, 0)[1] for see in slides)
        axes.append(Slide(high - low + 1, slides[0].stride, -low))
    return axes[0], axes[1]
