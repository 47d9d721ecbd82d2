"""What a detector found: boxes, classes and scores of each example."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.to_device import as_tensor
from captum_cnn_ext.errors import ArgumentError

_EXPECTED = (
    "expected a detector's output in torchvision's form, a list with a dictionary for each "
    "example: boxes (K, 4) as left, top, right, bottom in pixels, labels (K,) and scores (K,)"
)

LOWER_THRESHOLD = (
    "a detector hides what it scores below a threshold: of torchvision's Faster, Mask and Keypoint "
    "R-CNN that is model.roi_heads.score_thresh, of RetinaNet, FCOS and SSD model.score_thresh"
)


@dataclass(frozen=True)
class Detections:
    """K objects of one example.

    Args:
        boxes: (K, 4) left, top, right, bottom, in the input's pixels.
        labels: (K,) classes.
        scores: (K,).
        probabilities: (K, classes), where the detector gives them.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    probabilities: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)


def as_detections(output: Any, parameter: str = "forward_func") -> list[Detections]:
    """A detector's output, in torchvision's form or ultralytics' results, example by example.

    Raises:
        ArgumentError: it has another form.
    """
    if isinstance(output, Mapping):
        output = _by_example(output)
    if isinstance(output, Sequence):
        output = [_of_results(each) for each in output]
    if not isinstance(output, list) or not all(isinstance(each, Mapping) for each in output):
        raise ArgumentError(f"{parameter}: {_EXPECTED}; got {_of_another_form(output)}")
    return [_detections(each, parameter) for each in output]


def _of_results(each: Any) -> Any:
    """One of ultralytics' ``Results`` as a dictionary; anything else as it is."""
    boxes: Any = getattr(each, "boxes", None)
    if not all(hasattr(boxes, name) for name in ("xyxy", "cls", "conf")):
        return each
    return {"boxes": boxes.xyxy, "labels": boxes.cls.long(), "scores": boxes.conf}


def _of_another_form(output: Any) -> str:
    """What was given instead, and what reads it."""
    while isinstance(output, (tuple, list)) and output:
        output = output[0]  # raw heads give what training needs after it
    if holds_queries(output):
        return (
            f"{type(output).__name__} with pred_boxes, as DETR's: Boxes(..., "
            "read=captum_cnn_ext.targets.DetrBoxes((height, width))) reads it"
        )
    if isinstance(output, Tensor) and output.ndim == 3:
        columns = 1 if output.shape[1] < output.shape[2] else 2
        return (
            f"a tensor {tuple(output.shape)}, as the raw heads of YOLO-like detectors give: "
            f"Boxes(..., read=captum_cnn_ext.targets.RawBoxes(columns={columns})) reads it"
        )
    got = f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    return f"{got}. Wrap this detector in a function that gives them, or pass one as read="


def holds_queries(output: Any) -> bool:
    """Whether an output is that of a DETR-like detector."""
    return "pred_boxes" in output if isinstance(output, Mapping) else hasattr(output, "pred_boxes")


def _by_example(output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One dictionary for all examples, boxes (N, K, 4), or for one example, as one for each."""
    boxes = output.get("boxes")
    if not isinstance(boxes, Tensor) or boxes.ndim != 3:
        return [output]
    alike = {k: v for k, v in output.items() if isinstance(v, Tensor) and v.ndim > 1}
    return [{k: v[n] for k, v in alike.items()} for n in range(len(boxes))]


def _detections(found: Mapping[str, Any], parameter: str) -> Detections:
    missing = [name for name in ("boxes", "labels", "scores") if name not in found]
    if missing and holds_queries(found):
        raise ArgumentError(f"{parameter}: {_EXPECTED}; got {_of_another_form(found)}")
    if missing:
        raise ArgumentError(
            f"{parameter}: {_EXPECTED}; got one without {', '.join(missing)}, with "
            f"{', '.join(map(repr, found))}"
        )
    boxes, labels, scores = (as_tensor(found[n]) for n in ("boxes", "labels", "scores"))
    given = found.get("probabilities")
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len({len(boxes), *map(len, (labels, scores))}) > 1:
        shapes = ", ".join(str(tuple(t.shape)) for t in (boxes, labels, scores))
        raise ArgumentError(f"{parameter}: {_EXPECTED}; got {shapes}")
    return Detections(boxes, labels, scores, given)


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes (A, 4) and (B, 4), (A, B); 0 where both are empty."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    return torch.where(union > 0, shared / union, 0)


def similarities(wanted: Detections, found: Sequence[Detections]) -> Tensor:
    r"""How much each of N examples shows of each of T objects, (N, T) from 0 to 1.

    .. math:: \max_j \mathrm{IoU}(b_t, b_j)\, \cos(P_t, P_j)\, s_j

    over the example's detections j. Without probabilities P the cosine is 1 for the same class and
    0 for another. 0 where nothing is found.
    """
    boxes = torch.cat([each.boxes for each in found])
    scores = torch.cat([each.scores for each in found])
    if wanted.probabilities is not None and all(d.probabilities is not None for d in found):
        rows = [d.probabilities for d in found if d.probabilities is not None]
        alike = torch.nn.functional.cosine_similarity(
            wanted.probabilities[:, None], torch.cat(rows)[None], dim=2
        )
    else:
        labels = torch.cat([each.labels for each in found])
        alike = (wanted.labels[:, None] == labels[None]).to(scores.dtype)
    each = box_iou(wanted.boxes.to(boxes.dtype), boxes) * alike * scores
    parts = torch.split(each, [len(example) for example in found], dim=1)
    nothing = each.new_zeros(len(each), 1)
    return torch.stack([torch.cat([part, nothing], 1).amax(1) for part in parts])
