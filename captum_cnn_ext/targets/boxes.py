"""What a detector found: one box, a class, the boxes over a place."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.detections import (
    LOWER_THRESHOLD,
    Detections,
    as_detections,
    box_iou,
)
from captum_cnn_ext._numbers import as_number, as_numbers, whole
from captum_cnn_ext.errors import ArgumentError, TargetError, choose
from captum_cnn_ext.targets.base import Target, one_point
from captum_cnn_ext.targets.raw_boxes import RawBoxes

Box = tuple[float, float, float, float]
REDUCTIONS = ("sum", "mean", "max")


@dataclass(frozen=True, eq=False, repr=False)
class Boxes(Target):
    r"""Why did the detector find this object here? The score of one box, or of several.

    .. math:: y = s_i, \quad \text{or} \quad y = \sum_{i:\ c_i = c,\ \mathrm{IoU}(b_i, b) \ge t} s_i

    ``Boxes(0)`` is the first detection, ``Boxes(0, label=7)`` the first of class 7 and
    ``Boxes(label=7)`` the sum over all of class 7. The scores keep their gradient, which reaches
    the features through the head and the classes of the box; that these boxes were proposed and
    not suppressed has none.

    Where changed images are scored (occlusion, Score-CAM, paths, replays, metrics) an index means
    the box that the detector gave it for the unchanged image. In another output that is the
    strongest detection of its class whose overlap with it is at least ``iou``; where there is none
    the object has vanished and the score is 0.

    The output is torchvision's form: a list with a dictionary for each image, which has ``boxes``
    (K, 4) as left, top, right, bottom in pixels, ``labels`` (K,) and ``scores`` (K,); or one
    dictionary of tensors (N, K, ...). ``read`` brings another form to this. torchvision's detectors
    take a batch (N, C, H, W) as it is; one that insists on a list is
    ``lambda x: detector(list(x))``, whose layers can be named as before.

    Reference: the match by overlap and class is that of Petsiuk, Jain, Manjunatha, Morariu, Mehra,
    Ordonez, Saenko, *Black-box Explanation of Object Detectors via Saliency Maps*, 2021,
    arXiv:2006.03204.

    Args:
        index: which of the detections that the other arguments leave, in the detector's order
            (torchvision: by score); None is all of them.
        label: only of this class.
        at: only boxes that hold this point (x, y) of the image that the model gets.
        overlapping: only boxes whose overlap with this one, (left, top, right, bottom), is at
            least ``iou``. With it the strongest come first, and none gives 0.
        iou: intersection over union from which two boxes are of one object, 0 to 1.
        reduction: "sum", "mean" or "max" of the scores of several; of none it is 0.
        read: from the model's output to the form above, such as :class:`RawBoxes`.

    Raises:
        TargetError: (when used) there is no detection of that index.
        ArgumentError: neither an index nor anything that chooses; or the output has another form.

    Example::

        >>> import torch
        >>> from torchvision.models.detection import ssdlite320_mobilenet_v3_large
        >>> from captum_cnn_ext import attr, targets
        >>> _ = torch.manual_seed(0)
        >>> detector = ssdlite320_mobilenet_v3_large(weights_backbone=None, num_classes=3).eval()
        >>> cam = attr.LayerHiResCam(detector, "backbone.features.0")
        >>> cam.attribute(torch.rand(2, 3, 64, 64), target=targets.Boxes(0)).shape
        torch.Size([2, 1, 20, 20])
    """

    index: int | None = None
    label: int | None = field(default=None, kw_only=True)
    at: tuple[float, ...] | None = field(default=None, kw_only=True)
    overlapping: Box | None = field(default=None, kw_only=True)
    iou: float = field(default=0.5, kw_only=True)
    reduction: str = field(default="sum", kw_only=True)
    read: Callable[[Any], Any] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("index", "label"):
            value = getattr(self, name)
            if value is not None and (whole(value) is None or (name == "index" and value < 0)):
                raise ArgumentError(f"{name}={value!r}: expected an integer of at least 0")
        as_number("iou", self.iou, above=0, maximum=1)
        choose("reduction", self.reduction, REDUCTIONS)
        if self.at is not None and len(one_point("at", self.at)) != 2:
            raise ArgumentError(f"at={self.at!r}: expected a point (x, y)")
        if self.overlapping is not None:
            box = tuple(as_numbers("overlapping", self.overlapping))
            if len(box) != 4 or box[2] <= box[0] or box[3] <= box[1]:
                raise ArgumentError(
                    f"overlapping={self.overlapping!r}: expected (left, top, right, bottom)"
                )
            object.__setattr__(self, "overlapping", box)
        if self.index is None and self.label is None and self.at is self.overlapping is None:
            raise ArgumentError(
                "Boxes(): expected an index, as Boxes(0), or label=, at= or overlapping="
            )

    @property
    def is_fixed(self) -> bool:
        """Whether it means the same object in every output."""
        return self.index is None or self.overlapping is not None

    def fixed(self, output: Any) -> list[Any]:
        """The box that the index means in this output, for each example, as a place and a class."""
        examples = self._detections(output)
        if self.is_fixed:
            return [self] * len(examples)
        return [self._as_place(found, n) for n, found in enumerate(examples)]

    def parts(self, output: Any) -> list[Any]:
        """Each of its boxes, in the output for one example."""
        if self.index is not None:
            return [self]
        return [replace(self, index=n) for n in range(len(self.numbers(output)[0]))]

    def numbers(self, output: Any) -> list[Tensor]:
        """Which detections of each example are meant, (K,): their places in the output."""
        return [self._chosen(found, n) for n, found in enumerate(self._detections(output))]

    def boxes(self, output: Any) -> list[Tensor]:
        """The boxes that are meant in each example of an output, (K, 4), for pictures."""
        pairs = zip(self._detections(output), self.numbers(output), strict=True)
        return [found.boxes[numbers].detach() for found, numbers in pairs]

    def __call__(self, output: Any) -> Tensor:
        """The score of each example, (N,)."""
        return torch.stack(
            [self._score(found, n) for n, found in enumerate(self._detections(output))]
        )

    def said(self, class_name: Callable[[int], str]) -> str:
        """In words."""
        of = "" if self.label is None else f" of {class_name(self.label)}"
        if self.index is None:
            what = f"boxes{of}" if of else "all boxes"
        else:
            what = ("the box" if self.overlapping is not None else f"box {self.index}") + of
        where = "" if self.at is None else f" at {', '.join(f'{v:g}' for v in self.at)}"
        if self.overlapping is not None:
            where += f" over {', '.join(f'{v:.0f}' for v in self.overlapping)}"
        return what + where

    def _detections(self, output: Any) -> list[Detections]:
        return as_detections(output if self.read is None else self.read(output))

    def _score(self, found: Detections, n: int) -> Tensor:
        scores = found.scores[self._chosen(found, n)]
        if not len(scores):
            return found.scores.sum() * 0  # with a gradient, which is 0
        if self.reduction == "max":
            return scores.amax()
        return scores.mean() if self.reduction == "mean" else scores.sum()

    def _chosen(self, found: Detections, n: int) -> Tensor:
        """The numbers of the detections that are meant."""
        fits = torch.ones_like(found.labels, dtype=torch.bool)
        boxes = found.boxes.detach()
        if self.label is not None:
            fits &= found.labels == self.label
        if self.at is not None:
            point = boxes.new_tensor(self.at)
            fits &= ((boxes[:, :2] <= point) & (point <= boxes[:, 2:])).all(1)
        if self.overlapping is not None:
            fits &= box_iou(boxes, boxes.new_tensor([self.overlapping]))[:, 0] >= self.iou
        numbers = fits.nonzero().flatten()
        if self.overlapping is not None:
            order = found.scores.detach()[numbers].argsort(descending=True, stable=True)
            numbers = numbers[order]
        if self.index is None:
            return numbers
        if self.index >= len(numbers) and self.overlapping is None:
            raise self._missing(found, len(numbers), n)
        return numbers[self.index : self.index + 1]

    def _missing(self, found: Detections, count: int, n: int) -> TargetError:
        """Why there is no such box, and what to do."""
        hidden = LOWER_THRESHOLD
        if isinstance(self.read, RawBoxes):
            hidden = f"RawBoxes hides what scores below score_above={self.read.score_above:g}"
        what = f"finds {count} such object(s) in image {n}; expected an index from 0 to {count - 1}"
        if not len(found):
            what = f"finds nothing in image {n}"
        elif not count:
            labels = sorted(set(found.labels.tolist()))
            what = (
                f"finds no such object in image {n}, but {len(found)} others, of classes {labels}"
            )
        return TargetError(f"target={self!r}: the detector {what}. To see weaker ones: {hidden}")

    def _as_place(self, found: Detections, n: int) -> "Boxes":
        (number,) = self._chosen(found, n).tolist()
        left, top, right, bottom = found.boxes[number].tolist()
        place, label = (left, top, right, bottom), int(found.labels[number])
        return replace(self, index=0, label=label, at=None, overlapping=place)
