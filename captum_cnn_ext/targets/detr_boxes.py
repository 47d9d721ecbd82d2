"""From the queries of a DETR-like detector to detections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._numbers import as_number, as_numbers
from captum_cnn_ext.errors import ArgumentError


@dataclass(frozen=True, repr=False)
class DetrBoxes:
    """What a DETR-like detector gives, as detections: ``Boxes(0, read=DetrBoxes((480, 640)))``.

    Such a network gives a mapping or an object with ``logits`` (N, queries, classes), called
    ``pred_logits`` in the authors' code, and ``pred_boxes`` (N, queries, 4) as (x, y, width,
    height) of the centre, in shares of the image. Nothing is suppressed; the scores keep their
    gradient, and :class:`captum_cnn_ext.attr.DRise` gets all class probabilities.

    Reference: Carion, Massa, Synnaeve, Usunier, Kirillov, Zagoruyko, *End-to-End Object Detection
    with Transformers*, 2020, arXiv:2005.12872.

    Args:
        size: (height, width) of the image that the model gets, in pixels.
        no_object: whether the last class means that there is none, so that the scores are a
            softmax (DETR, YOLOS); False is a sigmoid for each class (Conditional and Deformable
            DETR, RT-DETR).
        score_above: weaker queries are left out.

    Raises:
        ArgumentError: (when used) the output is no such mapping.

    Example::

        >>> import torch
        >>> from captum_cnn_ext import targets
        >>> logits = torch.tensor([[[4.0, 0, 0], [0, 0, 9]]])  # a query of class 0, and nothing
        >>> output = {"logits": logits, "pred_boxes": torch.tensor([[[0.5, 0.5, 0.2, 0.4]] * 2])}
        >>> found = targets.Boxes(0, read=targets.DetrBoxes((100, 200)))
        >>> found(output), found.boxes(output)[0]
        (tensor([0.9647]), tensor([[ 80.0000,  30.0000, 120.0000,  70.0000]]))
    """

    size: Sequence[float]
    no_object: bool = True
    score_above: float = 0.5

    __repr__ = brief

    def __post_init__(self) -> None:
        size = tuple(as_numbers("size", self.size))
        if len(size) != 2 or min(size) <= 0:
            raise ArgumentError(f"size={self.size!r}: expected (height, width) in pixels")
        object.__setattr__(self, "size", size)
        as_number("score_above", self.score_above, 0, maximum=1)

    def __call__(self, output: Any) -> list[dict[str, Tensor]]:
        """A dictionary of boxes, labels, scores and probabilities for each example."""
        logits, boxes = (_part(output, *names) for names in (_LOGITS, _BOXES))
        if logits is None or boxes is None or logits.ndim != 3 or boxes.shape[2:] != (4,):
            got = [None if part is None else tuple(part.shape) for part in (logits, boxes)]
            raise ArgumentError(
                "DetrBoxes: expected logits (N, queries, classes) and pred_boxes (N, queries, 4), "
                f"got {got[0]} and {got[1]} in {type(output).__name__}"
            )
        found = logits.softmax(2)[..., :-1] if self.no_object else logits.sigmoid()
        middle, half = boxes[..., :2], boxes[..., 2:] / 2
        height, width = self.size
        corners = torch.cat([middle - half, middle + half], 2)
        corners = corners * corners.new_tensor([width, height, width, height])
        return [self._example(*each) for each in zip(found, corners, strict=True)]

    def _example(self, probabilities: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        scores, labels = probabilities.max(1)
        kept = (scores.detach() > self.score_above).nonzero().flatten()
        kept = kept[scores.detach()[kept].argsort(descending=True, stable=True)]
        return {
            "boxes": boxes[kept],
            "labels": labels[kept],
            "scores": scores[kept],
            "probabilities": probabilities[kept],
        }


_LOGITS, _BOXES = ("logits", "pred_logits"), ("pred_boxes",)


def _part(output: Any, *names: str) -> Tensor | None:
    for name in names:
        found = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(found, Tensor):
            return found
    return None
