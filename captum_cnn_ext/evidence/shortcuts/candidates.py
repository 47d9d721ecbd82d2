"""What a class may be recognised by: properties, places and pictures that are to be tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from captum_cnn_ext.evidence.shortcuts.places import (
    CELLS,
    STEPS,
    Box,
    Place,
    best,
    constancy,
    evidence,
    frames,
    often,
    padding,
    pasted,
    window,
)
from captum_cnn_ext.evidence.shortcuts.properties import PROPERTIES, texture_of
from captum_cnn_ext.evidence.shortcuts.samples import Sample

Give = Callable[[Tensor, Tensor], Tensor]
"""From numbers of images and of donors in the sample, both (n,), to images (n, C, H, W)."""

LOOKED_AT = 4  # windows of a class by where it looks
OF_COLOURS = {"colour", "saturation", "hue"}
CONSTANT = 3  # by what is always there, and by both together


@dataclass(frozen=True, eq=False)
class Candidate:
    """One thing that images of a class may give to others.

    Args:
        label: the class.
        kind: a name of ``PROPERTIES``, "texture", "padding", "background", "border", "patch" (at
            its place) or "picture" (a patch that may be anywhere).
        give: the transplant.
        place: where, for "patch" and "border".
        masks: (n, 1, H, W), the pixels that each donor of the sample gives, for "picture".
    """

    label: int
    kind: str
    give: Give
    place: Place | None = None
    masks: Tensor | None = None


def candidates(sample: Sample, label: int, groups: Tensor | None = None) -> list[Candidate]:
    """All that is tested of a class.

    Windows are those in which the class has more of its evidence than others have, in which a
    group of its images (``groups`` (n,), -1 for none) has most of its evidence, in which its
    pixels are more alike than theirs, and in which it has evidence and is alike.
    """
    own, others = sample.labels == label, sample.labels != label
    channels = sample.images.shape[1]
    without = set() if channels == 3 else {"hue"} if channels > 1 else OF_COLOURS
    found = [
        Candidate(label, kind, _property(sample, transplant))
        for kind, transplant in PROPERTIES.items()
        if kind not in without
    ]
    if often(sample.images[own]) or often(sample.images[others]):
        found.append(Candidate(label, "padding", _property(sample, padding)))
    texture = texture_of(sample.images[others])
    found.append(Candidate(label, "texture", _property(sample, texture)))
    if sample.masks is not None:
        found.append(Candidate(label, "background", _background(sample)))
    shares = evidence(sample.maps)
    windows = best(shares[own].mean(0) - shares[others].mean(0), LOOKED_AT)
    for group in sorted(set(groups[own].tolist())) if groups is not None else ():
        if group >= 0:
            windows += best(shares[own & (groups == group)].mean(0), 1)
    few = sample.images[own][:24], sample.images[others][:: max(1, int(others.sum()) // 24)][:24]
    alike = constancy(*few)
    windows += best(-alike, CONSTANT)
    windows += best(shares[own].mean(0) * (1 - alike.clamp_max(1)), CONSTANT)
    device = sample.images.device
    places = [window(*at, sample.size, device) for at in dict.fromkeys(windows)]
    for place in (*places, *frames(sample.size, device)):
        found.append(Candidate(label, place.kind, _place(sample, place), place))
    masks = peaks(shares, sample.size)
    found.append(Candidate(label, "picture", _picture(sample, masks), None, masks))
    return found


def within(sample: Sample, candidate: Candidate, box: Box) -> Candidate:
    """The same candidate, of which only the pixels in a box are given."""
    top, left, bottom, right = box
    inside = torch.zeros(sample.size, dtype=torch.bool, device=sample.images.device)
    inside[top:bottom, left:right] = True

    def give(images: Tensor, donors: Tensor) -> Tensor:
        return pasted(sample.images[images], candidate.give(images, donors), inside)

    return replace(candidate, give=give)


def peaks(shares: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (n, 1, H, W) of three cells' height and width about each image's strongest window."""
    rows, columns = shares.flatten(1).argmax(1) // STEPS, shares.flatten(1).argmax(1) % STEPS
    parts = []
    for at, side in ((rows, size[0]), (columns, size[1])):
        centre = (at + 1) / CELLS
        position = (torch.arange(side, device=shares.device) + 0.5) / side
        low = (centre - 1.5 / CELLS).clamp(0, 1 - 3 / CELLS)[:, None]
        parts.append((position >= low) & (position < low + 3 / CELLS))
    return (parts[0][:, :, None] & parts[1][:, None, :])[:, None]


def _property(sample: Sample, transplant: Callable[[Tensor, Tensor], Tensor]) -> Give:
    def give(images: Tensor, donors: Tensor) -> Tensor:
        return sample.bounded(transplant(sample.images[images], sample.images[donors]))

    return give


def _place(sample: Sample, place: Place) -> Give:
    return lambda images, donors: pasted(sample.images[images], sample.images[donors], place.mask)


def _picture(sample: Sample, masks: Tensor) -> Give:
    return lambda images, donors: pasted(
        sample.images[images], sample.images[donors], masks[donors]
    )


def _background(sample: Sample) -> Give:
    def give(images: Tensor, donors: Tensor) -> Tensor:
        assert sample.masks is not None
        neither = ~(sample.masks[images] | sample.masks[donors])
        return pasted(sample.images[images], sample.images[donors], neither[:, None])

    return give
