"""Where maps lie: share in the border, concentration, position; and on the object, with masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext.evidence import ImageRecords
from captum_cnn_ext.metrics import (
    as_maps,
    energy_in_box,
    pointing_game,
    relevance_rank_accuracy,
)

Floats = npt.NDArray[np.float32]
BORDER = 1 / 8  # of the image's width and height on each side
CHUNK = 2048


def border_cover(height: int, width: int) -> Floats:
    """(h, w) how much of each position of a map lies in the border, from 0 to 1."""

    def inside(count: int) -> npt.NDArray[np.float64]:
        edges = np.arange(count + 1) / count
        low, high = np.maximum(edges[:-1], BORDER), np.minimum(edges[1:], 1 - BORDER)
        return np.asarray(np.maximum(high - low, 0) * count)

    return np.asarray(1 - np.outer(inside(height), inside(width)), dtype=np.float32)


def positive(maps: npt.NDArray[np.generic]) -> Floats:
    """The positive part of maps (n, h, w), each of sum 1; 0 where nothing is positive."""
    found = np.maximum(np.asarray(maps, dtype=np.float32), 0)
    total = found.sum((1, 2), keepdims=True)
    return np.asarray(np.divide(found, total, out=np.zeros_like(found), where=total > 0))


def map_statistics(records: ImageRecords) -> dict[str, Floats]:
    """For each image: evidence in the border, concentration, and its centre.

    ``border_share`` is the positive evidence in the outer eighth of the image on each side;
    ``half_area`` the smallest share of the image that holds half of it; ``center_x`` and
    ``center_y`` its centre from 0 (left, top) to 1. NaN where nothing is positive.
    """
    height, width = records.maps.shape[1:]
    cover = border_cover(height, width)
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    parts: list[dict[str, Floats]] = []
    for start in range(0, len(records), CHUNK):
        share = positive(records.maps[start : start + CHUNK])
        some = np.where(share.sum((1, 2)) > 0, 1, np.nan).astype(np.float32)
        parts.append(
            {
                "border_share": (share * cover).sum((1, 2)) * some,
                "half_area": _half_area(share) * some,
                "center_x": (share.sum(1) @ x).astype(np.float32) * some,
                "center_y": (share.sum(2) @ y).astype(np.float32) * some,
            }
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _half_area(share: Floats) -> Floats:
    """The smallest part of the positions, with a fraction of the last, that holds half."""
    ranked = -np.sort(-share.reshape(len(share), -1), axis=1)
    sums = ranked.cumsum(1)
    last = (sums < 0.5).sum(1).clip(max=ranked.shape[1] - 1)
    rows = np.arange(len(share))
    before = sums[rows, last] - ranked[rows, last]
    part = (0.5 - before) / np.maximum(ranked[rows, last], 1e-12)
    return np.asarray((last + part) / ranked.shape[1], dtype=np.float32)


def mean_map(records: ImageRecords, rows: npt.NDArray[np.generic]) -> tuple[Floats, Floats]:
    """The mean positive map of some images, each of sum 1, and its standard deviation (h, w)."""
    total = np.zeros(records.maps.shape[1:], dtype=np.float64)
    squares = np.zeros_like(total)
    for start in range(0, len(rows), CHUNK):
        share = positive(records.maps[rows[start : start + CHUNK]]).astype(np.float64)
        total += share.sum(0)
        squares += (share**2).sum(0)
    mean = total / max(len(rows), 1)
    spread = np.sqrt(np.maximum(squares / max(len(rows), 1) - mean**2, 0))
    return mean.astype(np.float32), spread.astype(np.float32)


OBJECT_COLUMNS = ("object_share", "energy_inside", "pointing_game", "rank_accuracy")


def object_columns(
    images: Tensor, maps: Tensor, masks: Sequence[Tensor | None]
) -> dict[str, Tensor]:
    """How maps (n, 1, h, w) lie on the masks (H, W); NaN for images without one.

    ``object_share`` of the image is what an even map would have inside. ``energy_inside`` is the
    share of positive evidence on the object (relevance mass accuracy), ``pointing_game`` whether
    the strongest pixel lies on it, with 15 pixels of tolerance at 224, ``rank_accuracy`` how many
    of as many strongest pixels as the object has lie on it.

    Reference: Arras, Osman, Samek, *CLEVR-XAI: A benchmark dataset for the ground truth evaluation
    of neural network explanations*, 2022, arXiv:2003.07258 (mass and rank accuracy).
    """
    found = {
        name: torch.full((len(images),), torch.nan, device=images.device) for name in OBJECT_COLUMNS
    }
    rows = [i for i, mask in enumerate(masks) if mask is not None and bool(mask.any())]
    if not rows:
        return found
    chosen = torch.tensor(rows, device=images.device)
    inside = torch.stack([mask for mask in masks if mask is not None and bool(mask.any())])
    inputs = images[chosen].float()
    full = as_maps(maps[chosen], inputs)[:, None]
    reach = 15 / 224 * max(inputs.shape[-2:])
    found["object_share"][chosen] = inside.float().mean((1, 2))
    found["energy_inside"][chosen] = energy_in_box(full, inside, inputs)
    found["pointing_game"][chosen] = pointing_game(full, inside, inputs, tolerance=reach)
    found["rank_accuracy"][chosen] = relevance_rank_accuracy(full, inside, inputs)
    return found


def distance(a: Floats, b: Floats) -> float:
    """How far two maps of sum 1 are apart: the share of the evidence that would have to move."""
    grid = tuple(min(sides) for sides in zip(a.shape, b.shape, strict=True))
    first, second = (_on_grid(one, grid) for one in (a, b))
    return float(np.abs(first - second).sum() / 2)


def _on_grid(one: Floats, grid: tuple[int, ...]) -> Floats:
    if one.shape == grid:
        return one
    found = F.adaptive_avg_pool2d(torch.from_numpy(one)[None], (grid[0], grid[1]))[0].numpy()
    total = found.sum()
    return np.asarray(found / total if total > 0 else found, dtype=np.float32)


def border_area() -> float:
    """What an even map has in the border."""
    return 1 - (1 - 2 * BORDER) ** 2
