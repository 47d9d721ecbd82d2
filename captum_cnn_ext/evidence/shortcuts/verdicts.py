"""What trials say: a verdict on each, and one finding for what is one fact."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn.functional import max_pool2d

from captum_cnn_ext.evidence.shortcuts.candidates import OF_COLOURS, Candidate
from captum_cnn_ext.evidence.shortcuts.places import bars
from captum_cnn_ext.evidence.shortcuts.samples import Sample
from captum_cnn_ext.evidence.shortcuts.suspects import (
    LEAST_ABOVE_NULL,
    LEAST_FLIPS,
    LEAST_FLIPS_OF_PROPERTY,
    Suspect,
)
from captum_cnn_ext.evidence.shortcuts.transplants import Trial

# Set on networks and artefacts of development, see benchmarks/results/shortcut_truth.md
LEVEL = 0.05
SAME = {"patch": 0.2, "border": 0.2, "picture": 0.15, "texture": 0.3, "padding": 0.2}
OUTSIDE = 0.9  # of the given pixels, from where they are no part of the object
CLOSE = 0.1  # flips that are as many, when the most telling of several suspects is chosen
SAME_IMAGES = 0.6  # of the images that carry either of two things carry both: one finding
CLEARLY = 0.5  # of the other class's, at most, has a class that lacks something
COMPLEMENT = 0.25  # how far shares of two classes may be apart that are the same fact
MARKS = {"patch", "border", "picture", "padding", "texture"}  # there or not; others more or less
PLACED = {"patch", "border", "picture", "background"}


@dataclass(frozen=True, eq=False)
class Judged:
    """A suspect, and the trial that says so."""

    suspect: Suspect
    trial: Trial


def verdict(trial: Trial, p_corrected: float) -> str:
    """ "shortcut", "strategy", "not decided", or "" where nothing speaks for it."""
    kind = trial.candidate.kind
    least = LEAST_FLIPS if trial.candidate.place is not None else LEAST_FLIPS_OF_PROPERTY
    least = LEAST_FLIPS if kind == "picture" else least
    if p_corrected > LEVEL:
        return ""
    if trial.flips < least or trial.flips - trial.null < LEAST_ABOVE_NULL:
        return "not decided"
    beyond = trial.outside is not None and trial.outside >= OUTSIDE
    return "shortcut" if beyond or _is_the_same(trial) else "strategy"


def lacks(sample: Sample, candidate: Candidate) -> bool:
    """Whether, of two classes, it is clearly the other one that has something at this place.

    Something has edges in the mean image of its class, where what differs from image to image is
    even, and stands out of what is left of these: the same of the difference of half the images and
    the others. Bars are counted.
    """
    own = sample.labels == candidate.label
    if candidate.kind == "padding":
        mine, theirs = (float(bars(sample.images[r]).any(1).float().mean()) for r in (own, ~own))
        return mine < CLEARLY * theirs
    if candidate.place is None:
        return False
    mask = max_pool2d(candidate.place.mask[None].float(), 3, 1, 1)[0]
    (mine, _), (theirs, by_chance) = (_edges(sample.images[rows], mask) for rows in (own, ~own))
    return mine < CLEARLY * theirs and by_chance < theirs


def _edges(images: Tensor, mask: Tensor) -> tuple[float, float]:
    """How much the edges of the mean image exceed those by chance, and the latter."""
    if len(images) < 2:
        return 0.0, 0.0
    one, two = images[::2].mean(0), images[1::2].mean(0)

    def edges(image: Tensor) -> float:
        steps = image.diff(dim=1).abs().sum(0)[:, :-1] + image.diff(dim=2).abs().sum(0)[:-1]
        return float((steps * mask[:-1, :-1]).sum())

    by_chance = edges((one - two) / 2)
    return max(edges((one + two) / 2) - by_chance, 0.0), by_chance


def with_holders(
    sample: Sample, chosen: Sequence[Candidate], usable: Collection[int]
) -> list[Candidate]:
    """Of two classes, beside what one lacks, also what the other one has there is to be tested.

    Only classes that are ``usable`` are asked for and have enough images to give something.
    """
    labels = sorted(set(sample.labels.tolist()))
    found = list(chosen)
    for one in chosen if len(labels) == 2 else ():
        other = labels[labels[0] == one.label]
        if other in usable and lacks(sample, one):
            held = replace(one, label=other)
            if not any(
                (two.label, two.kind) == (other, one.kind) and _touch(two, one) for two in found
            ):
                found.append(held)
    return found


def one_finding_each(found: Sequence[Judged], sample: Sample) -> list[Suspect]:
    """Shortcuts first; of a class's the most telling first, with the others that are the same fact.

    Of two classes what one of them has comes before what the other lacks.
    """
    labels, lacking = sorted(set(sample.labels.tolist())), list[Judged]()
    if len(labels) == 2:
        found = [_with_holder(one, labels, sample) for one in found]
        there = [
            one
            for one in found
            if one.suspect.held_by is None and one.suspect.verdict == "shortcut"
        ]
        lacking = [
            one
            for one in found
            if one.suspect.held_by is not None and any(_same_thing(two, one) for two in there)
        ]
        found = [one for one in found if one not in lacking]
    ordered, remaining = list[Suspect](), sorted(found, key=_rank)
    while remaining:
        first = remaining[0].suspect
        close = [
            item
            for item in remaining
            if (item.suspect.label, item.suspect.verdict) == (first.label, first.verdict)
            and item.suspect.flips > first.flips - CLOSE
        ]
        best = min(close, key=_telling)
        rest = [item for item in remaining if item is not best and not _same_thing(best, item)]
        also = [item for item in rest if _same_images(best, item)]
        if len(labels) == 2:
            also += [item for item in rest if any(_other_side(one, item) for one in (best, *also))]
        also += [item for item in lacking if _same_thing(best, item)]
        ordered.append(replace(best.suspect, also=tuple(one.suspect for one in also)))
        remaining = [item for item in rest if item not in also]
    return ordered


def _with_holder(one: Judged, labels: list[int], sample: Sample) -> Judged:
    """Of two classes: named with the other one, where it is that one which has the thing."""
    other = labels[labels[0] == one.suspect.label]
    if one.suspect.verdict == "strategy" or not lacks(sample, one.trial.candidate):
        return one
    return Judged(replace(one.suspect, held_by=other), one.trial)


def _rank(item: Judged) -> tuple[int, float]:
    order = ("shortcut", "not decided", "strategy").index(item.suspect.verdict)
    return order, -item.suspect.flips


def _telling(item: Judged) -> tuple[bool, bool, int, float]:
    """What the other class has there says more than a property; the same picture than a place."""
    return item.suspect.held_by is None, not _is_the_same(item.trial), *item.trial.specific()


def _is_the_same(trial: Trial) -> bool:
    """Whether all donors give the same; properties are one number."""
    return trial.sameness is None or trial.sameness <= SAME[trial.candidate.kind]


def _same_thing(one: Judged, two: Judged) -> bool:
    """Whether two are about the same pixels, or one lacks what the other class has there."""
    lacking = one.suspect.label == two.suspect.held_by or two.suspect.label == one.suspect.held_by
    if one.suspect.label != two.suspect.label and not lacking:
        return False
    kinds = {one.suspect.kind, two.suspect.kind}
    if kinds in ({"colour", "hue"}, {"padding", "border"}, {"padding"}):
        return True
    if not kinds <= PLACED:
        return False
    if kinds & {"picture", "background"}:
        return not lacking
    return bool((one.trial.pixels() & two.trial.pixels()).any())


def _same_images(one: Judged, two: Judged) -> bool:
    """Whether the same images carry both; what lies at another place is another thing."""
    kinds = {one.suspect.kind, two.suspect.kind}
    apart = kinds <= PLACED or "strategy" in (one.suspect.verdict, two.suspect.verdict)
    if one.suspect.label != two.suspect.label or apart:
        return False
    first, second = one.trial.carriers, two.trial.carriers
    return len(first & second) >= SAME_IMAGES * len(first | second)


def _other_side(told: Judged, item: Judged) -> bool:
    """Whether of two classes ``item`` is what was ``told`` from the side of the other class.

    One is known by less of it, or as not having the other's mark: then giving it to as many images
    as have the mark turns them.
    """
    one, two = told.suspect, item.suspect
    if one.label == two.label or two.kind in MARKS or "strategy" in (one.verdict, two.verdict):
        return False
    if one.kind == two.kind or {one.kind, two.kind} <= OF_COLOURS:
        return True
    return one.kind in MARKS and abs(told.trial.carrier_share - two.flips) <= COMPLEMENT


def _touch(one: Candidate, two: Candidate) -> bool:
    if one.place is None or two.place is None:
        return one.place is two.place
    return bool((one.place.mask & two.place.mask).any())
