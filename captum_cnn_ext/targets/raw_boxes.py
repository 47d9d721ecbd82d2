"""From the raw head of a YOLO-like detector to detections."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.detections import box_iou
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.warn_user import warn_user
from captum_cnn_ext._numbers import as_count, as_number
from captum_cnn_ext.errors import ArgumentError, choose


@dataclass(frozen=True, repr=False)
class RawBoxes:
    """What a YOLO-like head gives, as detections: ``Boxes(0, read=RawBoxes())``.

    Such a network gives one tensor with a row of numbers for each anchor or grid cell: the box, and
    a score for each class, in YOLOv5 and v7 with an objectness before them that multiplies these.
    Which anchors are kept is decided as in detectors, by a threshold and by suppressing weaker
    boxes of the same class; the scores keep their gradient. Boxes are not clipped to the image.

    YOLOv10's and YOLO26's end-to-end heads give chosen boxes, (N, 300, 6) with score and class in
    the last two numbers, and cut their gradients: take Occlusion or D-RISE. They need a function,
    ``read=lambda y: {"boxes": y[0][..., :4], "scores": y[0][..., 4], "labels": y[0][..., 5]}``.

    Args:
        columns: the dimension with the numbers of an anchor: 1 for (N, 4 + classes, anchors), as
            YOLOv8 to v11 give, or 2 for (N, anchors, 5 + classes), as YOLOv5 and v7.
        objectness: whether the fifth number is one.
        form: "center" (x, y, width, height) or "corners" (left, top, right, bottom), in pixels.
        score_above: weaker anchors are left out.
        iou: overlap from which the weaker of two boxes of a class is left out.
        most: so many detections at most.
        logits: whether the scores need a sigmoid still.

    Raises:
        ArgumentError: (when used) the output is no such tensor.

    Example::

        >>> import torch
        >>> from captum_cnn_ext import targets
        >>> read = targets.RawBoxes(columns=1)
        >>> head = torch.tensor([[8.0, 8, 4, 4, 0.9, 0.1], [9, 8, 4, 4, 0.8, 0.1]]).T[None]
        >>> read(head)[0]["boxes"]
        tensor([[ 6.,  6., 10., 10.]])
        >>> targets.Boxes(0, read=read)(head)
        tensor([0.9000])
    """

    columns: int = 1
    objectness: bool = False
    form: str = "center"
    score_above: float = 0.25
    iou: float = 0.45
    most: int = 300
    logits: bool = False

    __repr__ = brief

    def __post_init__(self) -> None:
        choose("form", self.form, ("center", "corners"))
        as_number("score_above", self.score_above, 0, maximum=1)
        as_number("iou", self.iou, above=0, maximum=1)
        as_count("most", self.most)
        if self.columns not in (1, 2):
            raise ArgumentError(f"columns={self.columns!r}: expected 1 or 2")

    def __call__(self, output: Any) -> list[dict[str, Tensor]]:
        """A dictionary of boxes, labels and scores for each example, the strongest first."""
        while isinstance(output, (tuple, list)) and output:
            output = output[0]  # what training needs besides comes after it
        first = 5 if self.objectness else 4
        if (
            not isinstance(output, Tensor)
            or output.ndim != 3
            or output.shape[self.columns] <= first
        ):
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ArgumentError(
                f"RawBoxes: expected a tensor with three dimensions and more than {first} numbers "
                f"in dimension {self.columns}, got {got}"
            )
        numbers, anchors = output.shape[self.columns], output.shape[3 - self.columns]
        if numbers > 10 * anchors and anchors > first:
            warn_user(
                f"RawBoxes: columns={self.columns} reads {tuple(output.shape)} as {anchors} "
                f"anchors of {numbers} numbers; the other way round: columns={3 - self.columns}"
            )
        rows = output.transpose(1, 2) if self.columns == 1 else output
        return [self._example(each, first) for each in rows]

    def _example(self, rows: Tensor, first: int) -> dict[str, Tensor]:
        values = rows[:, first - self.objectness :]
        values = values.sigmoid() if self.logits else values
        every = values[:, 1:] * values[:, :1] if self.objectness else values
        scores, labels = every.max(1)
        boxes = rows[:, :4]
        if self.form == "center":
            middle, half = boxes[:, :2], boxes[:, 2:] / 2
            boxes = torch.cat([middle - half, middle + half], 1)
        kept = (scores.detach() > self.score_above).nonzero().flatten()
        kept = kept[scores.detach()[kept].argsort(descending=True, stable=True)]
        kept = kept[self._unsuppressed(boxes.detach()[kept], labels[kept])][: self.most]
        return {"boxes": boxes[kept], "labels": labels[kept], "scores": scores[kept]}

    def _unsuppressed(self, boxes: Tensor, labels: Tensor) -> list[int]:
        """Greedily, which of the boxes, the strongest first, no kept one of its class overlaps."""
        over = (box_iou(boxes, boxes) > self.iou) & (labels[:, None] == labels)
        over, kept = over.cpu(), list[int]()
        for number in range(len(boxes)):
            if not bool(over[number, kept].any()):
                kept.append(number)
        return kept
