"""Do the boxes that a map gives lie where the objects' boxes are?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_cnn_ext._engine.connected_components import connected_components, skimage
from captum_cnn_ext._engine.judging.detections import box_iou as _iou
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.to_device import as_tensor
from captum_cnn_ext._numbers import as_count, as_number, as_numbers
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.metrics.maps import as_image, as_maps, unit_range


def box_iou(first: Any, second: Any) -> Tensor:
    r"""How much boxes overlap: the area they share over the area they cover, (A, B) from 0 to 1.

    Cost: no pass of the model.

    Args:
        first: A boxes (left, top, right, bottom), the last two excluded: a tensor (A, 4), a list,
            or objects with a ``box``, such as the regions of a map or what COCO files hold; one of
            these for a single box.
        second: B boxes.

    Raises:
        ArgumentError: these are no boxes.

    Example::

        >>> from captum_cnn_ext.metrics import box_iou
        >>> box_iou((0, 0, 2, 2), [(0, 0, 2, 2), (1, 0, 3, 2), (5, 5, 6, 6)]).tolist()
        [[1.0, 0.3333333333333333, 0.0]]
    """
    one = as_boxes("first", first)
    return _iou(one, as_boxes("second", second).to(one.device))


def box_hit(found: Sequence[Any], boxes: Sequence[Any], *, overlap: float = 0.5) -> Tensor:
    """1 where the first box found in an image overlaps one of its objects' boxes enough, (N,).

    The mean over images is the localization accuracy of the ImageNet challenge, for the known
    class.

    Cost: no pass of the model.

    Reference: Russakovsky, Deng, Su, Krause, Satheesh and others, *ImageNet Large Scale Visual
    Recognition Challenge*, 2015, arXiv:1409.0575.

    Args:
        found: for each of N images what was found, the strongest first, such as the lists of
            :func:`captum_cnn_ext.evidence.regions`; none is a miss.
        boxes: for each image the boxes of its objects.
        overlap: intersection over union from which a box hits.

    Raises:
        ArgumentError: other numbers of images, or no boxes.

    Example::

        >>> from captum_cnn_ext.metrics import box_hit
        >>> box_hit([[(0, 0, 4, 4)], []], [[(0, 0, 4, 5)], [(1, 1, 2, 2)]]).tolist()
        [1.0, 0.0]
    """
    least = as_number("overlap", overlap, above=0, maximum=1)
    if len(found) != len(boxes):
        raise ArgumentError(f"boxes: expected those of {len(found)} images, got {len(boxes)}")
    hits = []
    for one, truth in zip(found, boxes, strict=True):
        first, objects = as_boxes("found", one)[:1].cpu(), as_boxes("boxes", truth).cpu()
        hits.append(bool((_iou(first, objects) >= least).any()))
    return torch.tensor(hits, dtype=torch.float32)


@dataclass(frozen=True)
class BoxAccuracy:
    """How often a map's box hits, for every threshold of the map.

    Args:
        score: the best accuracy over thresholds, averaged over overlaps: MaxBoxAcc.
        threshold: where the accuracy, averaged over overlaps, is best.
        thresholds: (T,) from 0 to 1.
        accuracies: (overlaps, T).
        overlaps: the intersections over union from which a box hits.
    """

    score: float
    threshold: float
    thresholds: Tensor
    accuracies: Tensor
    overlaps: tuple[float, ...]

    __repr__ = brief


def max_box_acc(
    attributions: Any,
    boxes: Sequence[Any],
    inputs: Any,
    *,
    overlaps: float | Sequence[float] = 0.5,
    every_part: bool = False,
    thresholds: int = 100,
) -> BoxAccuracy:
    r"""MaxBoxAcc: how often a map's box hits the object, at the threshold that suits best.

    .. math::
        \mathrm{MaxBoxAcc} = \max_\tau \frac{1}{N} \sum_n
        1[\mathrm{IoU}(\mathrm{box}(m_n \ge \tau), B_n) \ge \delta]

    Each map is scaled to [0, 1]; box is that of the largest connected part above the threshold. No
    threshold has to be chosen, so methods whose values lie differently are compared fairly; it is
    the best one for all images together. MaxBoxAccV2 is ``overlaps=(0.3, 0.5, 0.7)`` with
    ``every_part=True``: the best box of every part, and the mean over overlaps.

    Cost: no pass of the model; T searches for connected parts in each map.

    Reference: Choe, Oh, Lee, Chun, Akata, Shim, *Evaluating Weakly Supervised Object Localization
    Methods Right*, 2020, arXiv:2001.07437; V2: Choe, Oh, Chun, Lee, Akata, Shim, *Evaluation for
    Weakly Supervised Object Localization: Protocol, Metrics, and Datasets*, 2020, arXiv:2007.04178.

    Args:
        attributions: of any method, see :func:`as_maps`.
        boxes: for each of N images the boxes of its objects, in pixels of the input; a tensor
            (N, 4) where each has one.
        inputs: the images (N, C, H, W).
        overlaps: delta, one or several.
        every_part: whether the best box of all connected parts counts, instead of the largest's.
        thresholds: T, evenly from 0 on.

    Raises:
        ArgumentError: shapes that do not fit.
        ImportError: scikit-image is not installed.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import max_box_acc
        >>> x = torch.zeros(1, 3, 10, 10)
        >>> heat = torch.zeros(1, 1, 10, 10)
        >>> heat[0, 0, 2:6, 3:9], heat[0, 0, 0, 0] = 1, 0.5
        >>> found = max_box_acc(heat, [[(3, 2, 9, 6)]], x)
        >>> found.score, round(found.threshold, 2)
        (1.0, 0.01)
    """
    maps = unit_range(as_maps(attributions, as_image(inputs))).cpu().numpy()
    deltas = as_numbers("overlaps", overlaps, above=0, maximum=1)
    levels = torch.arange(as_count("thresholds", thresholds)) / thresholds
    truths = [as_boxes("boxes", one).cpu() for one in boxes]
    if len(truths) != len(maps) or not all(len(one) for one in truths):
        raise ArgumentError(
            f"boxes: expected at least one for each of {len(maps)} images, got "
            f"{[len(one) for one in truths]}"
        )
    best = torch.stack(
        [
            torch.tensor([_overlap(heat >= float(t), truth, every_part) for t in levels])
            for heat, truth in zip(maps, truths, strict=True)
        ]
    )
    rates = torch.stack([(best >= delta).double().mean(0) for delta in deltas])
    return BoxAccuracy(
        float(rates.amax(1).mean()),
        float(levels[rates.mean(0).argmax()]),
        levels,
        rates,
        deltas,
    )


def _overlap(mask: np.ndarray[Any, Any], truth: Tensor, every_part: bool) -> float:
    """The best overlap of the mask's box, or of every part's, with one of the true boxes."""
    parts = skimage("measure").regionprops(connected_components(mask))
    if not parts:
        return 0.0
    parts = parts if every_part else [max(parts, key=lambda part: part.area)]
    found = [(left, top, right, bottom) for top, left, bottom, right in (p.bbox for p in parts)]
    return float(_iou(truth.new_tensor(found), truth).max())


def as_boxes(parameter: str, given: Any) -> Tensor:
    """(K, 4) from boxes, or from objects that have one.

    Raises:
        ArgumentError: these are no boxes.
    """
    if hasattr(given, "box"):
        given = [given.box]
    elif isinstance(given, Sequence) and given and all(hasattr(one, "box") for one in given):
        given = [one.box for one in given]
    try:
        found = as_tensor(given, torch.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{parameter}: {_EXPECTED}, got {given!r}") from error
    found = found.reshape(-1, 4) if not found.numel() or found.shape == (4,) else found
    if found.ndim != 2 or found.shape[1] != 4:
        raise ArgumentError(f"{parameter}: {_EXPECTED}, got shape {tuple(found.shape)}")
    return found


_EXPECTED = "expected boxes (left, top, right, bottom), or objects with a box"
