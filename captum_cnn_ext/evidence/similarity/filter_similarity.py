"""Filters that are turned or mirrored copies of one another, with what chance alone would give."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._numbers import as_count, as_number, as_seed
from captum_cnn_ext.errors import ArgumentError, needing
from captum_cnn_ext.evidence.similarity.turned_kernels import Turn, turns_of

LEAST_SCORE = 0.8  # below it two filters do not look alike, however unlikely their match is
_FEW_CHANNELS = 4

_FAMILIES_SHOWN = 12  # in a notebook


@dataclass(frozen=True)
class Family:
    """Filters that match one another: member i is about ``turns[i]`` of the first one."""

    members: tuple[int, ...]
    turns: tuple[Turn, ...]
    scores: tuple[float, ...]

    __repr__ = brief

    def __str__(self) -> str:
        pairs = zip(self.members, self.turns, strict=True)
        return ", ".join(f"{member} at {turn}" for member, turn in pairs)


@dataclass(frozen=True, eq=False)
class FilterSimilarity:
    """How far a layer's O filters are transformed copies of one another.

    Args:
        scores: (O, O) best correlation over the group; 1 on the diagonal.
        which: (O, O) index into ``turns``: filter a is most like ``turns[which[a, b]]`` of b.
        turns: the group's transforms, the identity first.
        turned: (O,) each filter's best match with another one that is turned or mirrored.
        duplicate: (O,) the same with unturned ones: a control.
        shuffled: (O,) ``turned`` for filters whose pixels were shuffled: what chance gives.
        threshold: two filters of a family match at least so well.
        chance: 95 % of shuffled layers have no pair that matches better.
        families: of two or more members, the largest first.
        explained: share of filters that are copies of another one in their family.
        explained_unturned: the same with unturned copies alone.
        explained_shuffled: the same for shuffled filters.
    """

    scores: Tensor
    which: Tensor
    turns: tuple[Turn, ...]
    turned: Tensor
    duplicate: Tensor
    shuffled: Tensor
    threshold: float
    chance: float
    families: tuple[Family, ...]
    explained: float
    explained_unturned: float
    explained_shuffled: float

    __repr__ = brief

    def __str__(self) -> str:
        def mean(values: Tensor) -> str:
            return f"{float(values.mean()):.2f}" if len(values) else "none"

        return (
            f"{len(self.scores)} filters, {len(self.families)} "
            f"{'family' if len(self.families) == 1 else 'families'} at {self.threshold:.2f} "
            f"or better; best turned partner {mean(self.turned)} on average, of shuffled filters "
            f"{mean(self.shuffled)}, best unturned partner {mean(self.duplicate)}; copies: "
            f"{self.explained:.0%} of the filters, unturned ones alone "
            f"{self.explained_unturned:.0%}, shuffled {self.explained_shuffled:.0%}"
        )

    def _repr_markdown_(self) -> str:
        """The numbers, and the members of the largest families."""
        return "\n".join([str(self), "", *(f"- {one}" for one in self.families[:_FAMILIES_SHOWN])])


def filter_similarity(
    conv: nn.Module | Tensor,
    group: str = "rotations",
    angles: int = 8,
    *,
    threshold: float | None = None,
    shuffles: int = 19,
    seed: int = 0,
) -> FilterSimilarity:
    r"""Which filters of a convolution are rotated (or mirrored) copies of one another.

    .. math:: s_{ab} = \max_{g} \operatorname{corr}(w_a,\; g\, w_b)

    over the group's transforms g, with Pearson's correlation over all weights of a filter. Small
    kernels look rotated by chance, so the scores come with their controls: the same for filters
    whose pixels are shuffled, and the best unturned partner. Families join filters of which any
    two match at ``threshold`` (complete linkage).

    Multiples of 90 degrees are exact; other angles are interpolated bilinearly about the kernel's
    centre, with 0 outside. For a layer on the maps of another one, whose input channels would have
    to turn too, a warning points to `activation_similarity`.

    Reference: Olah et al., *Naturally Occurring Equivariance in Neural Networks*, Distill 2020.

    Cost: no pass through a model; (1 + shuffles) matrix products of the filters per transform.

    Args:
        conv: a 2-D convolution, or its weight (out, in, size, size).
        group: "rotations", "rotations+flips", or "none" (plain copies).
        angles: how many rotations, evenly spaced; 4 is exact.
        threshold: smallest score within a family; None takes 0.8, or ``chance`` where that is
            higher.
        shuffles: shuffled layers that chance is judged by; 19 give 95 %.
        seed: for the shuffling.

    Raises:
        ArgumentError: no square kernels of two dimensions, or arguments that do not fit.
        ImportError: SciPy is not installed.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.evidence import filter_similarity
        >>> one = torch.randn(1, 3, 7, 7, generator=torch.Generator().manual_seed(0))
        >>> found = filter_similarity(torch.cat([one, one.rot90(1, (2, 3))]), angles=4)
        >>> print(*found.families)
        0 at 0°, 1 at 90°
    """
    weight = _kernels(conv)
    turns = turns_of(group, angles)
    shuffles, seed = as_count("shuffles", shuffles), as_seed("seed", seed)
    threshold = None if threshold is None else as_number("threshold", threshold, -1, 1)
    if isinstance(conv, nn.Conv2d) and weight.shape[1] > _FEW_CHANNELS:
        warnings.warn(
            f"filter_similarity: these filters see {weight.shape[1]} channels, which would have "
            "to be exchanged when a pattern turns; activation_similarity(model, layer, images) "
            "compares what they respond to instead",
            stacklevel=2,
        )
    scores, which, turned, duplicate = _matched(weight, turns)
    generator = torch.Generator().manual_seed(seed)
    chances, shuffled = [], weight.new_zeros(len(weight))
    first: Tensor | None = None
    for _ in range(shuffles):
        other = shuffle_pixels(weight, generator)
        matched, _, partner, unturned = _matched(other, turns)
        chances.append(float(torch.maximum(partner, unturned).max()))
        shuffled += partner / shuffles
        first = matched if first is None else first
    chances.sort()
    chance = chances[min(len(chances) - 1, int(0.95 * len(chances)))]
    limit = max(LEAST_SCORE, chance) if threshold is None else threshold
    if not 0 < limit <= 1:
        raise ArgumentError(f"threshold={threshold!r}: expected more than 0, at most 1")
    assert first is not None
    plain, _, _, _ = _matched(weight, turns[:1])
    groups = clusters(scores, limit)
    families = [_family(members, scores, which, turns) for members in groups if len(members) > 1]
    return FilterSimilarity(
        scores,
        which,
        tuple(turns),
        turned,
        duplicate,
        shuffled,
        limit,
        chance,
        tuple(sorted(families, key=lambda family: (-len(family.members), family.members))),
        1 - len(groups) / len(weight),
        1 - len(clusters(plain, limit)) / len(weight),
        1 - len(clusters(first, limit)) / len(weight),
    )


def shuffle_pixels(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Each filter with its pixels in another order, the same for all its channels."""
    count, channels, height, width = weight.shape
    order = (
        torch.rand(count, height * width, generator=generator, device="cpu")
        .argsort(1)
        .to(weight.device)
    )
    index = order[:, None].expand(-1, channels, -1)
    return weight.flatten(2).gather(2, index).reshape(weight.shape)


def _kernels(conv: nn.Module | Tensor) -> Tensor:
    weight: Any = conv if isinstance(conv, Tensor) else getattr(conv, "weight", None)
    if isinstance(conv, nn.ConvTranspose2d):
        raise ArgumentError("conv: a transposed convolution has no filters of its input")
    if not isinstance(weight, Tensor) or weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
        got = tuple(weight.shape) if isinstance(weight, Tensor) else type(conv).__name__
        raise ArgumentError(
            f"conv: expected a 2-D convolution or its weight (out, in, size, size) with square "
            f"kernels, got {got}"
        )
    if len(weight) < 2 or weight.shape[2] < 2:
        raise ArgumentError(
            f"conv: got weight {tuple(weight.shape)}; expected at least two filters of 2 x 2 "
            "pixels or more, because a single pixel cannot be turned"
        )
    kernels: Tensor = weight.detach()
    return kernels if kernels.dtype == torch.float64 else kernels.float()


def _unit(kernels: Tensor) -> Tensor:
    """Flat, without its mean, of length 1; a constant filter is all 0."""
    flat = kernels.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    length = flat.norm(dim=1, keepdim=True)
    tiny = torch.finfo(flat.dtype).eps * kernels.flatten(1).norm(dim=1, keepdim=True)
    return torch.where(length > tiny, flat / length.clamp_min(1e-30), 0)


def _matched(weight: Tensor, turns: Sequence[Turn]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Best scores and their transforms (O, O); each filter's best turned and unturned partner.

    A pair is compared both ways, since interpolation blurs the one that is turned.
    """
    unit, place = _unit(weight), {turn: i for i, turn in enumerate(turns)}
    one_way = [unit @ _unit(turn(weight)).T for turn in turns]
    best = torch.full_like(one_way[0], -torch.inf)
    which = torch.zeros_like(best, dtype=torch.int64)
    turned = torch.full_like(best[0], -torch.inf)
    duplicate = turned.clone()
    own = torch.eye(len(weight), dtype=torch.bool, device=weight.device)
    margin = 1e-6  # of equal matches the first transform is named
    for i, turn in enumerate(turns):
        both = torch.maximum(one_way[i], one_way[place[turn.inverse]].T)
        better = both > best + margin
        best, which = torch.where(better, both, best), which.masked_fill(better, i)
        partner = both.masked_fill(own, -torch.inf).amax(1)
        if i == 0:
            duplicate = partner
        else:
            turned = torch.maximum(turned, partner)
    best = best.masked_fill(own, 1.0).clamp(-1, 1)
    which = which.masked_fill(own, 0)
    turned = turned if len(turns) > 1 else duplicate
    return best, which, turned.clamp(-1, 1), duplicate.clamp(-1, 1)


def clusters(scores: Tensor, threshold: float) -> list[list[int]]:
    """Groups in which any two match at the threshold, by complete linkage; singles included."""
    with needing("families of filters need SciPy, which is not installed", "families"):
        from scipy.cluster.hierarchy import fcluster, linkage
        from scipy.spatial.distance import squareform
    distance = (1 - scores.double()).clamp_min(0).cpu().numpy()
    distance = (distance + distance.T) / 2
    tree = linkage(squareform(distance, checks=False), "complete")
    labels = fcluster(tree, 1 - threshold + 1e-6, "distance").tolist()
    found: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        found.setdefault(label, []).append(index)
    return list(found.values())


def _family(members: list[int], scores: Tensor, which: Tensor, turns: Sequence[Turn]) -> Family:
    """The first member is the one that is most like all the others."""
    among = scores[members][:, members].sum(1)
    best = float(among.max())
    lead = next(m for m, s in zip(members, among.tolist(), strict=True) if s > best - 1e-4)
    order = [lead, *(m for m in members if m != lead)]
    return Family(
        tuple(order),
        tuple(turns[int(which[m, lead])] for m in order),
        tuple(float(scores[m, lead]) for m in order),
    )
