"""How good predictions are: shares with intervals, calibration, confusions, a permutation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.metrics import Interval, bootstrap, share_difference, wilson

Array = npt.NDArray[np.generic]
BINS = 15  # as Guo et al. 2017
DRAWS = 400


@dataclass(frozen=True)
class ClassScore:
    """One class: how many of its images are found, and how many of those named so are of it."""

    index: int
    images: int
    found: int
    named: int
    recall: Interval
    precision: Interval

    __repr__ = brief


def class_scores(labels: Array, predictions: Array, classes: int) -> list[ClassScore]:
    """Of every class that has images or is predicted."""
    images = np.bincount(labels, minlength=classes)
    named = np.bincount(predictions, minlength=classes)
    found = np.bincount(labels[labels == predictions], minlength=classes)
    return [
        ClassScore(c, int(n), int(f), int(p), wilson(int(f), int(n)), wilson(int(f), int(p)))
        for c, (n, f, p) in enumerate(zip(images, found, named, strict=True))
        if n or p
    ]


def confusions(labels: Array, predictions: Array) -> list[tuple[int, int, int]]:
    """(label, prediction, how many images) where these differ, the most frequent first."""
    wrong = labels != predictions
    pairs, counts = np.unique(
        np.stack([labels[wrong], predictions[wrong]], 1), axis=0, return_counts=True
    )
    found = [(int(a), int(b), int(n)) for (a, b), n in zip(pairs, counts, strict=True)]
    return sorted(found, key=lambda pair: (-pair[2], pair[0], pair[1]))


@dataclass(frozen=True)
class Calibration:
    """How far confidences are from the shares that are right.

    Args:
        error: the expected calibration error (ECE) with its bootstrap interval.
        by_chance: the error that 95 of 100 perfectly calibrated models of these confidences stay
            under.
        gap: mean confidence minus accuracy; above 0 is overconfident.
        bins: for each bin with images (mean confidence, share right, how many).
    """

    error: Interval
    by_chance: float
    gap: float
    bins: tuple[tuple[float, float, int], ...]

    __repr__ = brief


def calibration(confidences: Array, correct: Array, seed: int = 0) -> Calibration:
    """ECE over 15 bins of equal width: sum over bins of n_b / N |accuracy_b - confidence_b|.

    Reference: Guo, Pleiss, Sun, Weinberger, *On Calibration of Modern Neural Networks*, 2017,
    arXiv:1706.04599.
    """
    confidence = np.asarray(confidences, dtype=np.float64)
    right = np.asarray(correct, dtype=np.float64)
    count = len(confidence)
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    random = np.random.default_rng(seed)

    def error(rows: Array | slice, answers: npt.NDArray[np.float64]) -> float:
        difference = np.bincount(place[rows], answers - confidence[rows], BINS)
        return float(np.abs(difference).sum() / count)

    drawn = []
    for _ in range(DRAWS):
        rows = random.integers(count, size=count)
        drawn.append(error(rows, right[rows]))
    ideal = [
        error(slice(None), (random.random(count) < confidence).astype(np.float64))
        for _ in range(DRAWS)
    ]
    sizes = np.bincount(place, minlength=BINS)
    sums = np.bincount(place, confidence, BINS), np.bincount(place, right, BINS)
    bins = tuple(
        (float(sums[0][b] / n), float(sums[1][b] / n), int(n)) for b, n in enumerate(sizes) if n
    )
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Calibration(
        Interval(error(slice(None), right), float(low), float(high)),
        float(np.quantile(ideal, 0.95)),
        float(confidence.mean() - right.mean()),
        bins,
    )


@dataclass(frozen=True)
class OtherOrder:
    """A permutation of the classes under which the predictions fit the labels.

    ``label_of[c]`` is the label that images predicted as c have; ``accuracy`` is that under it,
    on images other than those that it was found on.
    """

    label_of: tuple[int, ...]
    accuracy: Interval

    __repr__ = brief


def other_order(labels: Array, predictions: Array, classes: int) -> OtherOrder | None:
    """A permutation found on every second image that fits the others far better than the labels.

    None where the best one is not above half, or not twice as good as the labels' own order.
    """
    first = np.arange(len(labels)) % 2 == 0
    table = np.zeros((classes, classes))
    np.add.at(table, (predictions[first], labels[first]), 1)
    chosen = _assigned(table)
    hits = int((chosen[predictions[~first]] == labels[~first]).sum())
    count = int((~first).sum())
    accuracy, own = wilson(hits, count), wilson(int((labels == predictions).sum()), len(labels))
    if not count or accuracy.low < 0.5 or accuracy.low < 2 * own.high:
        return None
    return OtherOrder(tuple(int(c) for c in chosen), accuracy)


def _assigned(table: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """A column for each row, each once: the largest entry that is left, one after another.

    Where a permutation fits at all its entries are the largest of their rows and columns, so
    nothing better need be searched.
    """
    left = table.copy()
    chosen = np.full(len(table), -1, dtype=np.int64)
    for _ in range(len(table)):
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        if left[row, column] <= 0:
            break
        chosen[row] = column
        left[row], left[:, column] = -1, -1
    free = np.setdiff1d(np.arange(len(table)), chosen)
    chosen[chosen < 0] = free
    return chosen


def less_often(
    parts: Sequence[tuple[int, int]], tests: int
) -> list[tuple[int, Interval, Interval]]:
    """Which parts, each (right, images), are right less often than the others together.

    The place of each with its share and the difference, beyond chance in so many ``tests``.
    """
    right, images = (sum(numbers) for numbers in zip(*parts, strict=True))
    found = []
    for place, (hits, count) in enumerate(parts):
        others = right - hits, images - count
        difference = share_difference(hits, count, *others, confidence=1 - 0.05 / tests)
        if difference.high < 0:
            found.append((place, wilson(hits, count), difference))
    return found


def paired_difference(new: Array, old: Array, confidence: float = 0.95, seed: int = 0) -> Interval:
    """The mean of ``new - old`` of the same images, with its bootstrap interval."""
    values = np.asarray(new, dtype=np.float64) - np.asarray(old, dtype=np.float64)
    return bootstrap(torch.from_numpy(values), confidence=confidence, resamples=1000, seed=seed)
