"""COCO's ways to write a mask: polygons, run lengths, run lengths packed into a text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_cnn_ext.errors import ArgumentError

_MOST_PIXELS = 2**28  # of a mask: a file cannot ask for more memory than this


def polygon_mask(polygons: Any, size: tuple[int, int]) -> Tensor:
    """(H, W), True where a pixel's centre lies in one of the polygons [x, y, x, y, ...].

    Raises:
        ArgumentError: they are no polygons.
    """
    mask = np.zeros(_judged(size), dtype=bool)
    try:
        given = [np.asarray(polygon, dtype=float).reshape(-1, 2) for polygon in polygons]
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"segmentation: expected lists [x, y, x, y, ...] of numbers ({error})"
        ) from error
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    for polygon in given:
        inside = np.zeros(size, dtype=bool)
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            crossed = (y0 <= rows) != (y1 <= rows)
            at = x0 + (rows[crossed] - y0) * (x1 - x0) / (y1 - y0 or 1)
            inside[crossed] ^= columns >= at[:, None]  # odd numbers of edges to the left: inside
        mask |= inside
    return torch.from_numpy(mask)


def run_length_mask(segmentation: Mapping[str, Any]) -> Tensor:
    """(H, W) from {"size": [H, W], "counts": runs of 0 and 1 in turn, column by column}.

    Raises:
        ArgumentError: they do not fill the size.
    """
    size, counts = segmentation.get("size"), segmentation.get("counts") or ()
    try:
        height, width = _judged(size)
        runs = _unpacked(counts) if isinstance(counts, (str, bytes)) else list(map(int, counts))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"segmentation: no run lengths ({error})") from error
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ArgumentError(
            f"segmentation: its run lengths do not fill a mask of {height} x {width} pixels"
        )
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return torch.from_numpy(np.ascontiguousarray(flat.reshape(width, height).T))


def encoded(mask: Any) -> dict[str, Any]:
    """The run lengths of a mask (H, W)."""
    values = torch.as_tensor(mask).detach().cpu().numpy().astype(bool)
    flat = values.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": list(values.shape), "counts": [0, *runs] if flat.size and flat[0] else runs}


def _unpacked(text: str | bytes) -> list[int]:
    """COCO's text: numbers of 5 bits a character, low first; from the fourth on differences."""
    runs: list[int] = []
    value = shift = 0
    for character in text.encode() if isinstance(text, str) else text:
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def _judged(size: Any) -> tuple[int, int]:
    sizes: Sequence[Any] = size if isinstance(size, (list, tuple)) else ()
    if len(sizes) != 2 or min(map(int, sizes)) < 1 or int(sizes[0]) * int(sizes[1]) > _MOST_PIXELS:
        raise ArgumentError(f"segmentation: size {size!r}; expected the photo's (height, width)")
    return int(sizes[0]), int(sizes[1])
