"""Places in an image: windows, frames, edges and bars; where classes look; what is always there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate

CELLS = 8  # an image is divided into 8 x 8 cells; a window is 2 x 2 of them
STEPS = CELLS - 1  # windows along an axis
# of bars at the edges, which show the shape that a picture had
PLAIN = 0.03  # of an image's range of values: how far pixels of a bar are apart
THINNEST = 1 / 32  # of the side: a plainer edge than this is no bar
UNEVEN = 2  # pixels by which bars of a picture in the middle may differ
OFTEN = 0.25  # share of images with bars from where it is worth a look
FLOOR = 0.01  # of the side

Box = tuple[int, int, int, int]
"""Top, left, bottom, right; the last two are the first row and column that are out of it."""


@dataclass(frozen=True, eq=False)
class Place:
    """Some pixels of every image.

    Args:
        kind: "patch" or "border".
        mask: (H, W), True on the pixels.
        box: the rows and columns (top, left, bottom, right) that hold them all.
    """

    kind: str
    mask: Tensor
    box: Box

    def __str__(self) -> str:
        if self.kind == "border":
            inner = (~self.mask).nonzero()
            height, width = self.mask.shape
            if not len(inner):
                return "the whole image"
            (top, left), (bottom, right) = inner.amin(0).tolist(), inner.amax(0).tolist()
            sides = {
                "top": top,
                "bottom": height - 1 - bottom,
                "left": left,
                "right": width - 1 - right,
            }
            wide = max(sides.values())
            edges = [side for side, size in sides.items() if size]
            pixels = f"({wide} pixel{'s' * (wide > 1)} wide)"
            return (
                f"the border {pixels}"
                if len(edges) == 4
                else f"the {' and '.join(edges)} edge {pixels}"
            )
        return named(self.box, tuple(self.mask.shape))  # type: ignore[arg-type]


def named(box: Sequence[int], size: tuple[int, int]) -> str:
    """A box in words, with its pixels: ``the top left corner (rows 0-7, columns 0-7)``."""
    top, left, bottom, right = box
    down, across = (top + bottom) / 2 / size[0], (left + right) / 2 / size[1]
    row = "top" if down < 1 / 3 else "bottom" if down > 2 / 3 else ""
    column = "left" if across < 1 / 3 else "right" if across > 2 / 3 else ""
    words = f"{row} {column}".strip()
    place = f"the {words} {'corner' if row and column else 'side'}" if words else "the middle"
    return f"{place} (rows {top}-{bottom - 1}, columns {left}-{right - 1})"


def window(row: int, column: int, size: tuple[int, int], device: torch.device) -> Place:
    """Window (row, column) of the 7 x 7, a quarter of the image high and wide."""
    (top, bottom), (left, right) = (
        (round(k * side / CELLS), round((k + 2) * side / CELLS))
        for k, side in zip((row, column), size, strict=True)
    )
    mask = torch.zeros(size, dtype=torch.bool, device=device)
    mask[top:bottom, left:right] = True
    return Place("patch", mask, (top, left, bottom, right))


def frames(size: tuple[int, int], device: torch.device) -> list[Place]:
    """A thin and a wide frame, and wide edges of either pair of sides."""
    height, width = size
    found = []
    for share in (16, 8):
        down, across = max(1, round(height / share)), max(1, round(width / share))
        for y, x in ((down, across),) if share == 16 else ((down, across), (down, 0), (0, across)):
            mask = torch.ones(size, dtype=torch.bool, device=device)
            mask[y : height - y, x : width - x] = False
            found.append(Place("border", mask, (0, 0, height, width)))
    return found


def evidence(maps: Tensor) -> Tensor:
    """The share of positive evidence in each of the 7 x 7 windows (N, 7, 7), of maps (N, h, w)."""
    positive = maps.float().clamp_min(0)[:, None]
    cells = interpolate(positive, (4 * CELLS, 4 * CELLS), mode="bilinear")
    cells = adaptive_avg_pool2d(cells, CELLS)
    cells = cells / cells.sum((2, 3), keepdim=True).clamp_min(1e-12)
    return 4 * avg_pool2d(cells, 2, 1)[:, 0]


def constancy(images: Tensor, others: Tensor, share: float = 0.25) -> Tensor:
    """How much alike each window's pixels are in images of a class, against other images (7, 7).

    The distance below which a quarter of the pairs of images lie, over the same distance between
    the class's images and others. 0 is a window that is the same picture in many images of the
    class only; 1 is a window in which they are as different from each other as from others.
    """
    within = _pairs(images, images)
    upper = torch.ones(within.shape[:2], dtype=torch.bool, device=images.device).triu(1)
    inside = within[upper].quantile(share, 0)
    return inside / _pairs(images, others).flatten(0, 1).quantile(share, 0).clamp_min(1e-6)


def best(scores: Tensor, count: int) -> list[tuple[int, int]]:
    """The windows of the highest scores (7, 7), none beside another that was taken."""
    left, found = scores.clone().float(), []
    for _ in range(count):
        if not bool((left > -torch.inf).any()):
            break
        row, column = divmod(int(left.argmax()), left.shape[1])
        found.append((row, column))
        left[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = -torch.inf
    return found


def pasted(images: Tensor, donors: Tensor, mask: Tensor) -> Tensor:
    """Images (N, C, H, W) with donors' pixels where ``mask`` (H, W) or (N, 1, H, W) is True."""
    return torch.where(mask, donors, images)


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


def _pairs(images: Tensor, others: Tensor) -> Tensor:
    """Mean squared differences (N, M, 7, 7) of windows of every pair."""
    found = []
    for image in images:
        squared = (others - image).square().mean(1, keepdim=True)
        found.append(avg_pool2d(adaptive_avg_pool2d(squared, CELLS), 2, 1)[:, 0])
    return torch.stack(found)


def _plain(images: Tensor, axis: int) -> Tensor:
    """How many rows (axis 2) or columns (3) from the first one on have its one colour (N,)."""
    lines = images.movedim(axis, 1).flatten(3)  # (N, lines, C, pixels of a line)
    scale = (lines.amax((1, 3)) - lines.amin((1, 3))).amax(1).clamp_min(1e-8)
    middle = lines[:, :1].mean(3, keepdim=True)
    far = (lines - middle).abs().amax((2, 3))
    return (far <= PLAIN * scale[:, None]).long().cumprod(1).sum(1)
