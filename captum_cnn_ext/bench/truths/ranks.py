"""What a table of scores says for sure: intervals over seeds and images, ranks, settled orders."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.bench.results import Results
from captum_cnn_ext.errors import ArgumentError, nearest, needing
from captum_cnn_ext.metrics import Interval

RESAMPLES = 1000
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """The scores of one task: methods x seeds x images, and means of resampled seeds and images.

    The same seeds and images are drawn for all methods, so that differences are paired.
    """

    methods: tuple[str, ...]
    values: Numbers = field(repr=False)
    drawn: Numbers = field(repr=False)

    __repr__ = brief

    def interval(self, method: str) -> Interval:
        """The mean with its 95 % interval over seeds and images."""
        return _interval(self.values[self._place(method)], self._of(method))

    def difference(self, one: str, two: str) -> Interval:
        """By how much one method is above another, image by image."""
        values = [self.values[self._place(name)] for name in (one, two)]
        return _interval(values[0] - values[1], self._of(one) - self._of(two))

    def ranks(self) -> dict[str, float]:
        """1 is best; equal means share a rank."""
        from scipy.stats import rankdata

        means = np.round(self.values.mean((1, 2)), 6)
        return dict(zip(self.methods, rankdata(-means).tolist(), strict=True))

    def _of(self, method: str) -> Numbers:
        found: Numbers = self.drawn[self._place(method)]
        return found

    def _place(self, method: str) -> int:
        if method not in self.methods:
            raise ArgumentError(
                f"method={method!r}: no score on all of this task{nearest(method, self.methods)}"
            )
        return self.methods.index(method)


def _interval(values: Numbers, drawn: Numbers) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def columns(results: Results, score: str | None = None) -> dict[str, Column]:
    """The scores of each task that every seed has, of the methods that worked on all of it.

    ``score`` is a name of the task's scores; None is the first of each trial.
    """
    tasks: dict[str, list[str]] = {}
    for item in dict.fromkeys(i for cells in results.cells.values() for i in cells):
        tasks.setdefault(item.rsplit("/", 1)[0], []).append(item)
    found = {}
    for task, items in tasks.items():
        rows = {}
        for method, cells in results.cells.items():
            if all("scores" in cells.get(item, {}) for item in items):
                rows[method] = [_values(cells[item]["scores"], score) for item in items]
        if rows:
            values = np.array(list(rows.values()), dtype=float)
            found[task] = Column(tuple(rows), values, _resampled(values))
    return found


def _values(scores: Mapping[str, Mapping[str, list[float]]], score: str | None) -> list[float]:
    return [v for trial in scores.values() for v in trial[score or next(iter(trial))]]


def _resampled(values: Numbers) -> Numbers:
    """(methods, RESAMPLES): seeds are drawn, then images of each drawn seed."""
    _, seeds, images = values.shape
    random = np.random.default_rng(0)
    means = np.empty((len(values), RESAMPLES))
    for number in range(RESAMPLES):
        chosen = random.integers(seeds, size=(seeds, 1))
        of_each = random.integers(images, size=(seeds, images))
        means[:, number] = values[:, chosen, of_each].mean((1, 2))
    return means


@dataclass(frozen=True)
class Ranking:
    """Mean ranks over tasks, and how far apart two must be to be told apart.

    Args:
        ranks: of each method that worked on all tasks, 1 is best.
        critical: Nemenyi's critical difference of mean ranks at 5 %.
        p: Friedman's test that all methods are alike.
    """

    ranks: dict[str, float]
    critical: float
    p: float

    __repr__ = brief


def ranking(found: Mapping[str, Column], without: Sequence[str] = ()) -> Ranking:
    r"""Ranks over tasks as Demsar compares classifiers over data sets.

    .. math:: CD = q_{0.05} \sqrt{k (k + 1) / (6 N)}

    for k methods and N tasks; q is the studentized range over the square root of 2.

    Reference: Demsar, *Statistical Comparisons of Classifiers over Multiple Data Sets*, 2006.

    Raises:
        ImportError: scipy is missing.
    """
    with needing("critical differences need scipy", "families"):
        from scipy.stats import friedmanchisquare, rankdata, studentized_range
    everywhere = [
        method
        for method in next(iter(found.values())).methods
        if method not in without and all(method in column.methods for column in found.values())
    ]
    means = np.array(
        [
            [round(float(c.values[c.methods.index(m)].mean()), 6) for m in everywhere]
            for c in found.values()
        ]
    )
    ranks = np.array([rankdata(-row) for row in means])
    tasks, count = ranks.shape
    p = critical = math.nan
    if tasks > 1 and count > 2:
        p = float(friedmanchisquare(*means.T).pvalue)
        q = float(studentized_range.ppf(0.95, count, np.inf)) / 2**0.5
        critical = q * (count * (count + 1) / (6 * tasks)) ** 0.5
    return Ranking(dict(zip(everywhere, ranks.mean(0).tolist(), strict=True)), critical, p)


def beaten(column: Column, method: str, among: Sequence[str]) -> list[str]:
    """The methods that this one is above of, by the interval of the paired difference."""
    others = [m for m in among if m != method and m in column.methods]
    return [m for m in others if column.difference(method, m).low > 0]
