"""A mean and how sure it is."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._intervals import wilson_ends
from captum_cnn_ext._numbers import as_count, as_number, as_seed
from captum_cnn_ext.errors import ArgumentError


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its interval."""

    mean: float
    low: float
    high: float

    __repr__ = brief

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(
    values: Any,
    *,
    groups: Any = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean of per-image values with its percentile bootstrap interval.

    For "is method a better than b", pass the differences image by image: an interval that does
    not hold 0 says so. Images that were made from one photo are not independent; name the photo
    of each in ``groups``, and whole photos are drawn. One group says nothing of others: the ends
    are then nan. Under about ten groups the interval is too narrow.

    Cost: no pass of the model.

    Reference: Efron, *Bootstrap Methods: Another Look at the Jackknife*, 1979.

    Args:
        values: (N,) one number for each image.
        groups: N hashable names; images of one name are drawn together.
        confidence: the share of resampled means inside the interval.
        resamples: how many means are drawn.
        seed: of the draws.

    Raises:
        ArgumentError: no values, or as many groups as do not fit.

    Example::

        >>> from captum_cnn_ext.metrics import bootstrap
        >>> print(bootstrap([1.0, 1.0, 1.0]))
        1.000 [1.000, 1.000]
    """
    given = torch.as_tensor(values, dtype=torch.float64).detach().cpu().reshape(-1)
    names = list(range(len(given))) if groups is None else list(groups)
    if not len(given) or len(names) != len(given):
        raise ArgumentError(f"values: expected one number or more, got {len(given)} for {names!r}")
    confidence = as_number("confidence", confidence, above=0, below=1)
    resamples, seed = as_count("resamples", resamples), as_seed("seed", seed)
    places = {name: i for i, name in enumerate(dict.fromkeys(names))}
    index = torch.tensor([places[name] for name in names], device="cpu")
    sums = given.new_zeros(len(places)).index_add_(0, index, given)
    sizes = torch.bincount(index).double()
    if len(places) == 1 and len(given) > 1:
        return Interval(float(given.mean()), math.nan, math.nan)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(places), (resamples, len(places)), generator=generator, device="cpu")
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    tail = (1 - confidence) / 2
    low, high = torch.quantile(means, means.new_tensor([tail, 1 - tail])).tolist()
    return Interval(float(given.mean()), low, high)


def wilson(hits: int, count: int, *, confidence: float = 0.95) -> Interval:
    """A share of ``count`` with Wilson's interval, which holds at 0 and 1 and for few images too.

    Cost: no pass of the model.

    Reference: Wilson, *Probable Inference, the Law of Succession, and Statistical Inference*,
    1927.

    Args:
        hits: how many of them count, from 0 to ``count``.
        count: how many there are; of none the share is nan and its interval [0, 1].
        confidence: how often such intervals hold the true share.

    Raises:
        ArgumentError: more hits than ``count``, or numbers out of range.

    Example::

        >>> from captum_cnn_ext.metrics import wilson
        >>> print(wilson(8, 10))
        0.800 [0.490, 0.943]
    """
    hits, count = as_count("hits", hits, 0), as_count("count", count, 0)
    if hits > count:
        raise ArgumentError(f"hits={hits}: expected at most count={count}")
    confidence = as_number("confidence", confidence, above=0, below=1)
    if not count:
        return Interval(math.nan, 0.0, 1.0)
    share = hits / count
    return Interval(share, *wilson_ends(share, count, confidence))


def share_difference(
    hits: int, count: int, other_hits: int, other_count: int, *, confidence: float = 0.95
) -> Interval:
    """The difference of two shares of different images, with Newcombe's interval.

    Cost: no pass of the model.

    Reference: Newcombe, *Interval Estimation for the Difference Between Independent Proportions:
    Comparison of Eleven Methods*, 1998 (method 10, from two Wilson intervals).

    Args:
        hits, count: of the first share.
        other_hits, other_count: of the share that is subtracted.
        confidence: how often such intervals hold the true difference.

    Raises:
        ArgumentError: as `wilson`.

    Example::

        >>> from captum_cnn_ext.metrics import share_difference
        >>> print(share_difference(56, 70, 48, 80))
        0.200 [0.052, 0.334]
    """
    other_hits = as_count("other_hits", other_hits, 0)
    other_count = as_count("other_count", other_count, 0)
    if other_hits > other_count:
        raise ArgumentError(f"other_hits={other_hits}: expected at most other_count={other_count}")
    a = wilson(hits, count, confidence=confidence)
    b = wilson(other_hits, other_count, confidence=confidence)
    if math.isnan(a.mean) or math.isnan(b.mean):
        return Interval(math.nan, -1.0, 1.0)
    below = math.hypot(a.mean - a.low, b.high - b.mean)
    above = math.hypot(a.high - a.mean, b.mean - b.low)
    difference = a.mean - b.mean
    return Interval(difference, difference - below, difference + above)
