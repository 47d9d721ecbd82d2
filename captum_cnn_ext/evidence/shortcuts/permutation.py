"""How sure a share of flipped images is: permutation of donors, intervals, Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from captum_cnn_ext._intervals import wilson_ends


def best_half(flips: Tensor, chosen: Tensor) -> Tensor:
    """Which half (..., D) of the ``chosen`` donors flips the most of the images (D, R)."""
    shares = flips.float().mean(1)
    order = torch.linspace(0, 1e-6, len(shares), device=flips.device)  # ties: the earlier ones
    ranked = torch.where(chosen, shares - order, -torch.inf)
    count = chosen.sum(-1, keepdim=True)
    return ranked.argsort(-1, descending=True).argsort(-1) < (count + 1) // 2


def some_pairs(flips: Tensor, count: int = 4) -> list[tuple[int, int]]:
    """A few pairs of a donor and an image of (D, R), those that flip first; images differ.

    Donors take turns, among those that flip the image.
    """
    turned = flips.any(0)
    images = sorted(range(flips.shape[1]), key=lambda image: not bool(turned[image]))[:count]
    found = []
    for turn, image in enumerate(images):
        able = (flips[:, image] | ~turned[image]).nonzero()[:, 0].tolist()
        found.append((able[turn % len(able)], image))
    return found


def difference(first: Tensor, second: Tensor, own: Tensor) -> Tensor:
    """How much more of the second images own donors flip than the others do; the best half of each.

    The half is chosen by ``first`` (D, A), and counted on ``second`` (D, B), which are flips of
    other images, so that choosing does not raise the count. ``own`` (..., D) marks the donors.
    """
    shares = second.float().mean(1)

    def mean(chosen: Tensor) -> Tensor:
        half = best_half(first, chosen)
        return (half * shares).sum(-1) / half.sum(-1)

    return mean(own) - mean(~own)


def permutation_p(
    first: Tensor, second: Tensor, own: Tensor, *, permutations: int = 2000, seed: int = 0
) -> float:
    """The share of random re-labellings of donors whose ``difference`` is at least as large.

    Reference: Phipson, Smyth, *Permutation p-values should never be zero*, 2010, arXiv:1603.05766:
    the labelling that was found counts as one of them.
    """
    generator = torch.Generator().manual_seed(seed)
    order = (
        torch.rand(permutations, len(own), generator=generator, device="cpu")
        .argsort(1)
        .to(own.device)
    )
    observed = difference(first, second, own)
    drawn = difference(first, second, own[order])
    return (int((drawn >= observed - 1e-9).sum()) + 1) / (permutations + 1)


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for the number of them, so that any false one is as rare as is said.

    Reference: Holm, *A simple sequentially rejective multiple test procedure*, 1979.
    """
    corrected, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected


def interval(
    flips: Tensor, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Ends of the percentile bootstrap interval of the mean of (D, R); donors and images are drawn.

    Widened to the Wilson interval of as many images, which is not a point where all agree.
    """
    donors, images = flips.shape
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(donors, (resamples, donors), generator=generator, device="cpu").to(
        flips.device
    )
    columns = torch.randint(images, (resamples, images), generator=generator, device="cpu").to(
        flips.device
    )
    means = flips.float()[rows[:, :, None], columns[:, None, :]].mean((1, 2))
    tail = (1 - confidence) / 2
    ends = torch.quantile(means, torch.tensor([tail, 1 - tail]).to(means)).tolist()
    low, high = wilson_ends(float(flips.float().mean()), images)
    return min(ends[0], low), max(ends[1], high)
