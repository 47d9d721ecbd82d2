"""Bars at the edges of images, which show the shape that a picture had; images between others'."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

PLAIN = 0.03  # of an image's range of values: how far pixels of a bar are apart
THINNEST = 1 / 32  # of the side: a plainer edge than this is no bar
UNEVEN = 2  # pixels by which bars of a picture in the middle may differ
OFTEN = 0.25  # share of images with bars from where it is worth a look
FLOOR = 0.01  # of the side


def bars(images: Tensor) -> Tensor:
    """Rows and columns (N, 4) of bars of the images (N, C, H, W): top, bottom, left, right.

    A bar is rows, or columns, of one colour at both of two opposite edges, as many at either; 0
    where there is none, in an image of one colour, and where all four edges have one, which is a
    frame and no shape of a picture.
    """
    found = []
    for axis in (2, 3):
        side = images.shape[axis]
        ends = [_plain(images, axis), _plain(images.flip(axis), axis)]
        low = torch.minimum(*ends)
        same = (ends[0] - ends[1]).abs() <= UNEVEN
        thick = (low >= max(2, THINNEST * side)) & (ends[0] + ends[1] < side)
        found += [torch.where(same & thick, end, 0) for end in ends]
    across = torch.stack(found, 1)
    framed = (across[:, 0] > 0) & (across[:, 2] > 0)
    return across.masked_fill(framed[:, None], 0)


def often(images: Tensor) -> bool:
    """Whether as many of the images have bars as make a test worth its while."""
    return bool(len(images)) and float(bars(images).any(1).float().mean()) >= OFTEN


def padding(images: Tensor, donors: Tensor) -> Tensor:
    """Images between the bars of their donors, squeezed or stretched to lie there.

    An image whose bars are its donor's already stays as it is.
    """
    height, width = images.shape[2:]
    given = images.clone()
    pairs = zip(bars(images).tolist(), bars(donors).tolist(), strict=True)
    for n, (own, wanted) in enumerate(pairs):
        if own == wanted:
            continue
        (top, bottom, left, right), (up, down, before, after) = own, wanted
        inner = images[n : n + 1, :, top : height - bottom, left : width - right]
        size = (height - up - down, width - before - after)
        fitted = interpolate(inner, size, mode="bilinear", align_corners=False, antialias=True)
        given[n] = donors[n]
        given[n, :, up : height - down, before : width - after] = fitted[0]
    return given


def sameness_of_padding(donors: Tensor, others: Tensor) -> float:
    """How different donors' bars are from each other, over how different from those of others.

    Medians over pairs of the sum of differences of the four bars; 0 is the same in all donors.
    """
    own, rest = bars(donors).float(), bars(others).float()
    floor = FLOOR * min(donors.shape[2:])
    first, second = torch.triu_indices(len(own), len(own), 1).to(own.device)
    within = (own[first] - own[second]).abs().sum(1).median()
    between = (own[:, None] - rest).abs().sum(2).median()
    return float((within + floor) / (between + floor))


def _plain(images: Tensor, axis: int) -> Tensor:
    """How many rows (axis 2) or columns (3) from the first one on have its one colour (N,)."""
    lines = images.movedim(axis, 1).flatten(3)  # (N, lines, C, pixels of a line)
    scale = (lines.amax((1, 3)) - lines.amin((1, 3))).amax(1).clamp_min(1e-8)
    middle = lines[:, :1].mean(3, keepdim=True)
    far = (lines - middle).abs().amax((2, 3))
    return (far <= PLAIN * scale[:, None]).long().cumprod(1).sum(1)
