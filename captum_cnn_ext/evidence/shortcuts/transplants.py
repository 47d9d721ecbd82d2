"""Give what images of a class have to images of others, and see what the model says then."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_cnn_ext.evidence.shortcuts.candidates import Candidate, within
from captum_cnn_ext.evidence.shortcuts.permutation import (
    best_half,
    interval,
    permutation_p,
    some_pairs,
)
from captum_cnn_ext.evidence.shortcuts.places import Box, named, sameness_of_padding
from captum_cnn_ext.evidence.shortcuts.same_picture import (
    PART,
    TIGHT,
    compact,
    is_everywhere,
    sameness_anywhere,
    sameness_at,
    sameness_of_texture,
)
from captum_cnn_ext.evidence.shortcuts.samples import Predict, Sample

AT_ONCE = 64  # changed images made at once
FUTILE = 0.25  # flips by the best donors, as chosen, under which the test ends
SCREENED = 16  # pairs of a donor and an image in the first look
DONORS = 12  # of the class, and as many of other classes
LEAST_DONORS = 4
CHOOSING, COUNTED = 6, 18  # images on which donors are chosen, and on which flips are counted
LARGE = {"border", "background"}  # in which a small place may be what counts
MOSTLY = 0.5  # of the flips, from where a part of what is given is most of it

# from what says more to what says less; properties that are not here are before these
ORDER = {"hue": 1, "patch": 2, "border": 3, "picture": 4, "background": 5}


@dataclass(frozen=True, eq=False)
class Split:
    """Which images of a sample serve for what, for one class; numbers in the sample."""

    looked: tuple[Tensor, Tensor]  # donors and images of the first look
    donors: Tensor
    controls: Tensor  # donors of other classes
    choosing: Tensor
    counted: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Trial:
    """What came of a candidate.

    Args:
        candidate: what was given.
        flips: share of images of other classes that turn into the class, by the half of its images
            that gives the most.
        ends: the interval of it.
        all_flips: the same share by all its images.
        null: the share by the better half of as many donors of other classes.
        lost: the share of the class's images that leave it when they get the same of others.
        lost_null: and when they get it of other images of their class.
        p: of the permutation of donors.
        sameness: how different the picture is from donor to donor, as against other images;
            None for properties, which are one number.
        givers: the half of donors, numbers in the sample.
        same_at: where it is the same in all givers: middles (D, 2) of the found parts for
            "picture", quotients (H, W) for a place or a background.
        size: height and width of images.
        outside: share of the given pixels that lie outside of the donors' masks; None without.
        carriers: the donors that give at least half as often as the better half of them does.
        carrier_share: their share of all donors.
        receivers: how many images of other classes each donor gave to.
        shown: an image, the place of its donor in ``givers`` and the class that the model says
            then, for a few of these images.
        part: of a border or a background the one compact place that is the same in all givers, and
            the share of images that turn by it alone, where that is most of ``flips``.
    """

    candidate: Candidate
    flips: float
    ends: tuple[float, float]
    all_flips: float
    null: float
    lost: float
    lost_null: float
    p: float
    sameness: float | None
    givers: Tensor
    same_at: Tensor | None
    size: tuple[int, int]
    outside: float | None
    carriers: frozenset[int]
    carrier_share: float
    receivers: int
    shown: tuple[tuple[int, int, int], ...] = ()
    part: tuple[Box, float] | None = None

    @property
    def kind(self) -> str:
        """That of the candidate; a picture whose parts overlap in all donors is a patch."""
        middles, kind = self.same_at, self.candidate.kind
        if kind != "picture" or middles is None:
            return kind
        still = float((middles - middles.median(0).values).abs().max()) < PART
        return "patch" if still else kind

    def where(self) -> tuple[str, Box | None]:
        """The place in words and its box; that of a patch is cut to what is the same in all."""
        place = self.candidate.place
        if self.part is not None:
            return "" if place is None else str(place), self.part[0]
        if self.kind == "patch" and place is None and self.same_at is not None:
            size = (self.size[0], self.size[1])
            middle = self.same_at.median(0).values.tolist()
            low = [round((at - PART / 2) * side) for at, side in zip(middle, size, strict=True)]
            high = [round((at + PART / 2) * side) for at, side in zip(middle, size, strict=True)]
            box = (low[0], low[1], high[0], high[1])
            return named(box, size), box
        if place is None:
            return "", None
        if place.kind == "patch" and self.same_at is not None:
            same = (self.same_at < TIGHT).nonzero()
            if len(same):
                (top, left), (bottom, right) = same.amin(0).tolist(), same.amax(0).tolist()
                box = (top, left, bottom + 1, right + 1)
                return named(box, (place.mask.shape[0], place.mask.shape[1])), box
        return str(place), place.box

    def boxes(self) -> list[Box]:
        """The pixels that each giver gives, where these are a patch or a picture; else nothing."""
        _, box = self.where()
        if self.kind == "patch" and box is not None:
            return [box] * len(self.givers)
        if self.kind != "picture" or self.same_at is None:
            return []
        sides = [max(1, round(PART * side)) for side in self.size]
        found = []
        for middle in self.same_at.tolist():
            top, left = (
                min(max(0, round(at * side - length / 2)), side - length)
                for at, side, length in zip(middle, self.size, sides, strict=True)
            )
            found.append((top, left, top + sides[0], left + sides[1]))
        return found

    def pixels(self) -> Tensor:
        """Where a patch or a border is (H, W)."""
        if self.candidate.place is not None:
            return self.candidate.place.mask
        mask, (_, box) = (
            torch.zeros(self.size, dtype=torch.bool, device=self.givers.device),
            self.where(),
        )
        if box is not None:
            mask[box[0] : box[2], box[1] : box[3]] = True
        return mask

    def specific(self) -> tuple[int, float]:
        """What sorts first says more: a property before a place, few pixels before many."""
        place, order = self.candidate.place, ORDER.get(self.candidate.kind, 0)
        return order, float(place.mask.sum()) if place is not None else -self.flips


def split(sample: Sample, label: int, seed: int) -> Split | None:
    """The parts for one class, none of which share an image; None where there are too few."""
    generator = torch.Generator().manual_seed(seed)
    own = (sample.labels == label).nonzero()[:, 0]
    others = (sample.labels != label).nonzero()[:, 0]
    own = own[torch.randperm(len(own), generator=generator, device="cpu").to(own.device)]
    others = _by_turns(sample.labels[others].tolist(), others, generator)
    donors = min(DONORS, len(own) // 2)
    needed = donors + CHOOSING + 4
    if donors < LEAST_DONORS or len(others) < needed:
        return None
    counted = min(COUNTED, len(others) - donors - CHOOSING)
    controls, choosing, counts, rest = torch.split(
        others, [donors, CHOOSING, counted, len(others) - donors - CHOOSING - counted]
    )
    looked = own[donors:][:SCREENED]
    receivers = (rest if len(rest) >= SCREENED // 2 else choosing)[:SCREENED]
    pairs = max(len(looked), len(receivers))
    index = torch.arange(min(pairs, SCREENED), device=own.device)
    return Split(
        looked=(looked[index % len(looked)], receivers[index % len(receivers)]),
        donors=own[:donors],
        controls=controls,
        choosing=choosing,
        counted=counts,
    )


def first_look(predict: Predict, parts: Split, candidate: Candidate) -> float:
    """The share of a few images that turn into the class."""
    donors, images = parts.looked
    turned = _answers(predict, candidate, images, donors) == candidate.label
    return float(turned.float().mean())


def run_trial(
    predict: Predict, sample: Sample, parts: Split, candidate: Candidate, seed: int
) -> Trial | None:
    """The whole test of one candidate; None where its best donors flip too little to go on."""
    device = sample.images.device
    donors = torch.cat([parts.donors, parts.controls])
    own = torch.arange(len(donors), device=device) < len(parts.donors)

    def said(images: Tensor, given: Candidate, donors: Tensor) -> Tensor:
        """What the model says of images (R,) with what each donor (D,) gives (D, R)."""
        pairs = torch.cartesian_prod(donors, images)
        return _answers(predict, given, pairs[:, 1], pairs[:, 0]).view(len(donors), len(images))

    first = said(parts.choosing, candidate, donors) == candidate.label
    if float(first[best_half(first, own)].float().mean()) < FUTILE:
        return None
    answers = said(parts.counted, candidate, donors)
    second = answers == candidate.label
    best, best_null = best_half(first, own), best_half(first, ~own)
    givers, rates = donors[best], second[own].float().mean(1)
    carriers = parts.donors[2 * rates >= second[best].float().mean()].tolist()

    def share_leaving_class(given: Tensor) -> float:
        """Of the class's images, when each gets the same of one of ``given``."""
        receivers = givers.repeat_interleave(4)
        index = torch.arange(len(receivers), device=device)
        shift = 1 + index // len(given) if given is givers else 0
        each = given[(index // 4 + index % 4 + shift) % len(given)]
        left = _answers(predict, candidate, receivers, each) != candidate.label
        return float(left.float().mean())

    sameness, same_at = _sameness(sample, parts, candidate, givers)
    flips = float(second[best].float().mean())
    box = compact(same_at < TIGHT) if same_at is not None and candidate.kind in LARGE else None
    part = None
    if box is not None:
        alone = said(parts.counted, within(sample, candidate, box), givers) == candidate.label
        share = float(alone.float().mean())
        part = (box, share) if share >= MOSTLY * flips else None
    return Trial(
        candidate=candidate,
        flips=flips,
        ends=interval(second[best], seed=seed),
        all_flips=float(second[own].float().mean()),
        null=float(second[best_null].float().mean()),
        lost=share_leaving_class(parts.controls),
        lost_null=share_leaving_class(parts.donors[~best[: len(parts.donors)]]),
        p=permutation_p(first, second, own, seed=seed),
        sameness=sameness,
        givers=givers,
        same_at=same_at,
        size=sample.size,
        outside=_outside(sample, candidate, givers),
        carriers=frozenset(carriers),
        carrier_share=len(carriers) / len(parts.donors),
        receivers=second.shape[1],
        shown=tuple(
            (int(parts.counted[image]), giver, int(answers[best][giver, image]))
            for giver, image in some_pairs(second[best])
        ),
        part=part,
    )


def _answers(predict: Predict, candidate: Candidate, images: Tensor, donors: Tensor) -> Tensor:
    """The classes that the model gives images (n,) when they have what their donors have."""
    parts = zip(torch.split(images, AT_ONCE), torch.split(donors, AT_ONCE), strict=True)
    return torch.cat([predict(candidate.give(*part)) for part in parts])


def _sameness(
    sample: Sample, parts: Split, candidate: Candidate, givers: Tensor
) -> tuple[float | None, Tensor | None]:
    donors, controls = sample.images[givers], sample.images[parts.controls]
    others = sample.labels != candidate.label
    if candidate.place is not None:
        value, quotients = sameness_at(donors, controls, candidate.place.mask)
        # of two classes what this one lacks is what the other has, which `verdicts` names
        several = candidate.place.kind == "patch" and len(set(sample.labels.tolist())) > 2
        plain = several and is_everywhere(donors, sample.images[others], quotients < TIGHT)
        return 1.0 if plain else value, quotients
    if candidate.kind == "background" and sample.masks is not None:
        given = (~sample.masks[givers]).float().mean(0) >= 0.5
        return None, sameness_at(donors, controls, given)[1] if given.any() else None
    if candidate.masks is not None:
        return sameness_anywhere(donors, controls, candidate.masks[givers])
    if candidate.kind == "padding":
        return sameness_of_padding(donors, sample.images[others]), None
    if candidate.kind == "texture":
        return sameness_of_texture(donors, sample.images[others]), None
    return None, None


def _outside(sample: Sample, candidate: Candidate, givers: Tensor) -> float | None:
    if sample.masks is None:
        return None
    if candidate.place is not None:
        given = candidate.place.mask.expand(len(givers), -1, -1)
    elif candidate.masks is not None:
        given = candidate.masks[givers, 0]
    else:
        return None
    return float((given & ~sample.masks[givers]).sum() / given.sum())


def _by_turns(labels: list[int], numbers: Tensor, generator: torch.Generator) -> Tensor:
    """The numbers in random order, such that classes take turns."""
    order = torch.randperm(len(labels), generator=generator, device="cpu").tolist()
    seen: dict[int, int] = {}
    turn = []
    for position in order:
        label = labels[position]
        seen[label] = seen.get(label, 0) + 1
        turn.append((seen[label], position))
    turn.sort(key=lambda item: item[0])
    return numbers[torch.tensor([p for _, p in turn], dtype=torch.long, device=numbers.device)]
