"""Groups of images that a model recognises in the same way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._numbers import as_count, as_seed
from captum_cnn_ext.evidence.records.record_result import ImageRecords
from captum_cnn_ext.evidence.shortcuts.places import evidence

Array = npt.NDArray[Any]
FITTED = 300  # images of a class that groups are found on; the others join the nearest
COMPONENTS = 8  # of contributions, and as many of places
LEAST_IMAGES = 20
NULLS = 19
LEAST_SILHOUETTE = 0.25  # below it groups are taken for chance
STARTS, ROUNDS = 6, 20  # of k-means
TOLD_APART = 8  # units that are named


@dataclass(frozen=True)
class Strategy:
    """Images of one predicted class that it is recognised in by the same channels and places.

    Args:
        label: the predicted class.
        number: of the group, the same as in ``Strategies.groups``.
        rows: of the records, those nearest to the middle of the group first.
        accuracy: the share of them that are right.
        centre: where the evidence lies on the mean, from the top and the left, in shares.
        units: channels by which it differs from the class's other images, the most first, with the
            difference of mean contributions in standard deviations.
    """

    label: int
    number: int
    rows: tuple[int, ...]
    accuracy: float
    centre: tuple[float, float]
    units: tuple[tuple[int, float], ...]

    __repr__ = brief

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Strategies:
    """The groups of every class.

    Args:
        groups: (N,) the group of each row, numbered over all classes; -1 where a class has less
            than 20 images.
        found: the groups in that order.
        scores: by class the mean silhouette of its groups; NaN where there is one.
        null: by class the largest silhouette when contributions are permuted.
    """

    groups: Array
    found: tuple[Strategy, ...]
    scores: dict[int, float]
    null: dict[int, float]

    __repr__ = brief

    def of(self, label: int) -> tuple[Strategy, ...]:
        """The groups of one class, the largest first."""
        label = as_count("label", label, 0)
        own = [one for one in self.found if one.label == label]
        return tuple(sorted(own, key=len, reverse=True))


def strategies(records: ImageRecords, *, most: int = 5, seed: int = 0) -> Strategies:
    """Group the images that are predicted as each class by what they are recognised by.

    Features are an image's channel contributions and its shares of evidence in 7 x 7 windows, each
    by their first eight principal components and with the same total variance. Groups are those of
    k-means for 2 to ``most``; of the numbers whose mean silhouette is above that of all 19 nulls
    and 0.25, the one with the largest. Else there is one group. A null has every channel's
    contributions, and every window's shares, permuted over images, so that what goes together by
    chance is known.

    Reference: Rousseeuw, *Silhouettes: a graphical aid to the interpretation and validation of
    cluster analysis*, 1987; Kaufman, Rousseeuw, *Finding groups in data*, 1990 (0.25).

    Cost: no pass of the model.

    Args:
        records: of ``image_records``.
        most: groups of a class, at most.
        seed: of the draws.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.evidence import image_records, strategies
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(),
        ...     torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2)).eval()
        >>> data = [(torch.rand(1, 8, 8), number % 2) for number in range(60)]
        >>> found = strategies(image_records(net, "1", data), most=2)
        >>> sum(len(one) for one in found.found) == int((found.groups >= 0).sum())
        True
    """
    most, seed = as_count("most", most, 2), as_seed("seed", seed)
    groups = np.full(len(records), -1, dtype=np.int64)
    found: list[Strategy] = []
    scores: dict[int, float] = {}
    nulls: dict[int, float] = {}
    predictions = np.asarray(records.predictions)
    for label in np.unique(predictions).tolist():
        rows = np.flatnonzero(predictions == label)
        if len(rows) < LEAST_IMAGES:
            continue
        shares = evidence(torch.from_numpy(np.asarray(records.maps[rows])))
        channels = torch.from_numpy(np.asarray(records.contributions[rows])).float()
        inside, middle, scores[label], nulls[label] = _grouped(channels, shares, most, seed)
        for group in range(int(inside.max()) + 1):
            own = (inside == group).nonzero()[:, 0]
            own = own[middle[own].argsort()]
            groups[rows[own.numpy()]] = len(found)
            found.append(
                Strategy(
                    label,
                    len(found),
                    tuple(rows[own.numpy()].tolist()),
                    float(records.correct[rows[own.numpy()]].mean()),
                    _centre(shares[own]),
                    _units(channels, inside == group),
                )
            )
    return Strategies(groups, tuple(found), scores, nulls)


def _grouped(
    channels: Tensor, shares: Tensor, most: int, seed: int
) -> tuple[Tensor, Tensor, float, float]:
    """Each image's group and its distance from the middle of it; silhouette; that of the nulls."""
    generator = torch.Generator().manual_seed(seed)
    flat = shares.flatten(1)
    chosen = torch.randperm(len(flat), generator=generator, device="cpu")[:FITTED]
    features = _features(channels, flat)
    given = [features[chosen]]
    for _ in range(NULLS):
        parts = [_shuffled(one[chosen], generator) for one in (channels, flat)]
        given.append(_features(*parts))
    together = torch.stack(given)
    best, score, limit, highest = features.mean(0, keepdim=True), math.nan, math.nan, -1.0
    for count in range(2, min(most, len(chosen) // 4) + 1):
        middles = k_means(together, count, generator)
        found = silhouettes(together, torch.cdist(together, middles).argmin(2), count)
        null = float(found[1:].max())
        highest = max(highest, null)
        if float(found[0]) > max(null, LEAST_SILHOUETTE) and not float(found[0]) <= score:
            best, score, limit = middles[0], float(found[0]), null
    near = torch.cdist(features, best).min(1)
    inside = torch.from_numpy(np.unique(near.indices.numpy(), return_inverse=True)[1])
    return inside, near.values, score, highest if len(best) == 1 else limit


def k_means(features: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Middles (B, count, F) of each set of points (B, n, F): the tightest of some starts.

    Reference: Lloyd, *Least squares quantization in PCM*, 1982.
    """
    sets, points, _ = features.shape
    repeated = features.repeat_interleave(STARTS, 0)
    first = torch.rand(sets * STARTS, points, generator=generator, device="cpu").argsort(1)[
        :, :count
    ]
    middles = repeated.gather(1, first[:, :, None].expand(-1, -1, features.shape[2]))
    for _ in range(ROUNDS):
        member = one_hot(torch.cdist(repeated, middles).argmin(2), count).to(features)
        sizes = member.sum(1)[:, :, None]
        middles = torch.where(sizes > 0, member.mT @ repeated / sizes.clamp_min(1), middles)
    spread = torch.cdist(repeated, middles).amin(2).square().sum(1).view(sets, STARTS)
    return middles.view(sets, STARTS, count, -1)[
        torch.arange(sets, device=spread.device), spread.argmin(1)
    ]


def silhouettes(features: Tensor, groups: Tensor, count: int) -> Tensor:
    """The mean silhouette (B,) of each set of points (B, n, F) in groups (B, n)."""
    member = one_hot(groups, count).to(features)
    sizes = member.sum(1, keepdim=True)
    sums = torch.cdist(features, features) @ member
    own = (sums * member).sum(2) / ((member * sizes).sum(2) - 1).clamp_min(1)
    apart = torch.where((member > 0) | (sizes == 0), torch.inf, sums / sizes.clamp_min(1))
    other = apart.amin(2)
    value = (other - own) / torch.maximum(own, other).clamp_min(1e-12)
    alone = ((member * sizes).sum(2) <= 1) | other.isinf()
    return torch.where(alone, 0.0, value).mean(1)


def _features(channels: Tensor, shares: Tensor) -> Tensor:
    parts = []
    for values in (channels, shares):
        apart = values - values.mean(0)
        left, strength, _ = torch.linalg.svd(apart, full_matrices=False)
        scores = (left * strength)[:, :COMPONENTS]
        parts.append(scores / scores.square().sum(1).mean().sqrt().clamp_min(1e-12))
    return torch.cat(parts, 1)


def _shuffled(values: Tensor, generator: torch.Generator) -> Tensor:
    """Every column in an order of its own."""
    return values.gather(0, torch.rand(values.shape, generator=generator, device="cpu").argsort(0))


def _centre(shares: Tensor) -> tuple[float, float]:
    mean = shares.mean(0) / shares.mean(0).sum().clamp_min(1e-12)
    at = (torch.arange(len(mean), device=mean.device) + 1) / (len(mean) + 1)
    return float((mean.sum(1) * at).sum()), float((mean.sum(0) * at).sum())


def _units(channels: Tensor, inside: Tensor) -> tuple[tuple[int, float], ...]:
    if bool(inside.all()):
        return ()
    apart = channels[inside].mean(0) - channels[~inside].mean(0)
    apart = apart / channels.std(0).clamp_min(1e-12)
    first = apart.abs().argsort(descending=True)[:TOLD_APART].tolist()
    return tuple((k, float(apart[k])) for k in first)
