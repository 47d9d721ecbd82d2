"""A class of whatever the model gives, and targets as they are written on a command line."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from captum_cnn_ext._engine.judging.detections import as_detections, holds_queries
from captum_cnn_ext._engine.judging.output_targets import parts_of
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.judging.targets import select_score
from captum_cnn_ext.errors import ArgumentError, TargetError
from captum_cnn_ext.targets.base import Target
from captum_cnn_ext.targets.boxes import Boxes
from captum_cnn_ext.targets.segment import Segment

FORMS = "a class as 3, box:3, class:3 or class:7@120,80"
_RAW = (
    "; of the raw head of a detector it is Boxes(label=..., "
    "read=captum_cnn_ext.targets.RawBoxes(...)) that means a class"
)
_BOX, _CLASS = re.compile(r"box:(\d+)"), re.compile(r"(?:class:)?(\d+)(?:@(\d+),(\d+))?")


@dataclass(frozen=True, eq=False, repr=False)
class AnyClass(Target):
    """Where is this class? Of a classifier its score, of a detector its boxes, of maps its area.

    For programs that do not know which kind of model they get; where you know it, use a class
    index, :class:`Boxes` or :class:`Segment`.

    Args:
        label: the class.
        at: a point (x, y) of the image that the model gets: the strongest box of the class that
            holds it, or the class's score at that pixel.
        on_photo: whether that is a pixel of the photo instead, before it was resized and cropped:
            for `compare`, `explain` and `audit`, which know where the model's input lies on it.

    Raises:
        TargetError: (when used) the model has no such class, or a classifier gets a point; a point
            of the photo where no photo is known.

    Example::

        >>> import torch
        >>> from captum_cnn_ext import targets
        >>> targets.AnyClass(1)(torch.tensor([[0.5, 2.0, 1.0]]))
        tensor([2.])
    """

    label: int
    at: tuple[float, ...] | None = field(default=None, kw_only=True)
    on_photo: bool = field(default=False, kw_only=True)

    @property
    def is_fixed(self) -> bool:
        """The model's output decides what it means."""
        return False

    def fixed(self, output: Any) -> list[Any]:
        """What it means for this kind of model, in each example."""
        meant = self.meant_by(output)
        if isinstance(meant, Target):
            return meant.fixed(output)
        return [meant] * len(output_tensor(output))

    def parts(self, output: Any) -> list[Any]:
        """Those of what it means for this kind of model."""
        return parts_of(self.meant_by(output), output)

    def __call__(self, output: Any) -> Tensor:
        """The score of each example, (N,)."""
        return select_score(output, self.meant_by(output))

    def meant_by(self, output: Any, size: Sequence[int] | None = None) -> int | Target:
        """What it is for a model with such an output: a class index, boxes or an area.

        ``size`` is that of the input, (H, W): maps may be smaller, as a fourth of it.
        """
        if self.on_photo and self.at is not None:
            raise TargetError(
                f"target={self!r}: the point is one of a photo, and none is known here; expected a "
                "point of the model's input (`captum_cnn_ext.photos.photo_geometry` tells it), or "
                "compare, explain or audit with pictures"
            )
        if holds_queries(output):
            as_detections(output, f"target={self!r}")
        try:
            maps = None if _is_detector(output) else output_tensor(output)
        except ArgumentError as error:
            note = _RAW if isinstance(output, (tuple, list)) else ""
            raise TargetError(f"target={self!r}: {error}{note}") from error
        if maps is None:
            if self.at is None:
                return Boxes(label=self.label)
            return Boxes(0, label=self.label, at=self.at)
        if size is not None and maps.ndim not in (2, 2 + len(size)):
            as_detections(output, f"target={self!r}")
        if maps.ndim > 2:
            return Segment(self.label, at=self._in_maps(maps, size))
        if self.at is not None:
            raise TargetError(
                f"target={self!r}: the model is a classifier, whose output {tuple(maps.shape)} has "
                "no positions; expected a class without a point"
            )
        return self.label

    def _in_maps(self, maps: Tensor, size: Sequence[int] | None) -> tuple[float, ...] | None:
        """The point in the output's pixels."""
        if self.at is None or size is None or maps.shape[2:] == tuple(size):
            return self.at
        axes = zip(self.at, reversed(maps.shape[2:]), reversed(size), strict=False)
        return tuple(int((at + 0.5) * there / here) for at, there, here in axes)

    def said(self, class_name: Callable[[int], str]) -> str:
        """In words."""
        where = "" if self.at is None else f" at {', '.join(f'{v:g}' for v in self.at)}"
        return f"{class_name(self.label)}{where}{' of the photo' if self.on_photo else ''}"


def target_from_text(text: str) -> int | Target:
    """What a command line says: ``3``, ``box:3``, ``class:3``, ``class:7@120,80``.

    Args:
        text: a class index; a box by its place in what the detector gives; a class of whatever the
            model gives, as a whole or at a pixel x,y of the photo.

    Raises:
        ArgumentError: another form.

    Example::

        >>> from captum_cnn_ext.targets import target_from_text
        >>> target_from_text("285"), target_from_text("box:0"), target_from_text("class:7@120,80")
        (285, Boxes(box 0), AnyClass(class 7 at 120, 80 of the photo))
    """
    box, of_class = _BOX.fullmatch(text.strip()), _CLASS.fullmatch(text.strip())
    if box:
        return Boxes(int(box[1]))
    if not of_class:
        raise ArgumentError(f"target={text!r}: expected {FORMS}")
    label, *point = of_class.groups()
    if point[0] is None and text.strip().isdecimal():
        return int(label)
    if point[0] is None:
        return AnyClass(int(label))
    return AnyClass(int(label), at=(int(point[0]), int(point[1])), on_photo=True)


def _is_detector(output: Any) -> bool:
    try:
        as_detections(output)
    except ArgumentError:
        return False
    return True
