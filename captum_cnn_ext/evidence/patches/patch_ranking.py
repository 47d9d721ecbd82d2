"""The strongest units of each channel so far, in memory that does not grow with the data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NOBODY = 2**62  # the image of a place that is still free: after every real one


def strongest(values: Tensor, images: Tensor, places: Tensor, k: int) -> tuple[Tensor, ...]:
    """The k largest of each row; ties go to the lower image, then to the earlier place.

    ``values`` and ``images`` are (C, M), ``places`` (C, M, 4) starts with row and column.
    """
    order = torch.arange(values.shape[1], device=values.device).expand_as(values)
    for key, descending in (
        (places[..., 1], False),
        (places[..., 0], False),
        (images, False),
        (values, True),
    ):
        ranked = key.gather(1, order).sort(dim=1, descending=descending, stable=True).indices
        order = order.gather(1, ranked)
    order = order[:, :k]
    chosen = places.gather(1, order[..., None].expand(-1, -1, places.shape[2]))
    return values.gather(1, order), images.gather(1, order), chosen


@dataclass
class Ranking:
    """For each of C channels the k strongest units: values, images, places, strongest first.

    A place is (row, column, image height, image width); row and column are -1 for a unit without
    a position. ``sign`` -1 ranks the smallest values first; ``values`` are times the sign.
    """

    k: int
    unit: str
    one_per_image: bool
    values: Tensor
    images: Tensor
    places: Tensor

    @staticmethod
    def empty(channels: int, k: int, unit: str, one_per_image: bool, like: Tensor) -> Ranking:
        """Nothing seen yet; values in the layer's precision, at least float32."""
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        options: dict[str, Any] = {"device": like.device}
        return Ranking(
            k,
            unit,
            one_per_image,
            torch.full((channels, k), -torch.inf, dtype=dtype, **options),
            torch.full((channels, k), NOBODY, dtype=torch.int64, **options),
            torch.full((channels, k, 4), -1, dtype=torch.int64, **options),
        )

    @property
    def sign(self) -> int:
        """-1 where small values are strong."""
        return -1 if self.unit == "min" else 1

    def copy(self) -> Ranking:
        """The same with tensors of its own."""
        tensors = (self.values.clone(), self.images.clone(), self.places.clone())
        return Ranking(self.k, self.unit, self.one_per_image, *tensors)

    def see(self, maps: Tensor, numbers: Sequence[int], extent: tuple[int, int]) -> list[int]:
        """Take part of a batch (N, C, H, W) in; ``numbers`` are its images, ascending.

        Returns:
            the places in the batch of images that gave NaN; they are not taken in.
        """
        flat = maps.flatten(2) if maps.ndim > 2 else maps[..., None]
        flat = -flat if self.sign < 0 else flat
        if self.unit == "mean":
            flat = flat.mean(2, keepdim=True)
        several = not self.one_per_image and flat.shape[2] > 1
        if several:
            ranked = flat.sort(dim=2, descending=True, stable=True)
            best, where = ranked.values[..., : self.k], ranked.indices[..., : self.k]
            where = where.transpose(0, 1).flatten(1)
        else:
            best = flat.amax(2, keepdim=True)
        values = best.transpose(0, 1).flatten(1).to(self.values.dtype)
        # most units are not better; NaN is not below anything, so it gets past this
        better = (values <= self.values[:, -1:]).logical_not_()
        rows, columns = better.any(1).nonzero()[:, 0], better.any(0).nonzero()[:, 0]
        if not len(rows):
            return []
        each = best.shape[2]
        broken = best.isnan().flatten(1).any(1)
        left_out, examples = broken.repeat_interleave(each)[columns], columns // each
        ids = torch.tensor(numbers, device=maps.device)
        values = values[rows][:, columns].masked_fill(left_out, -torch.inf)
        images = ids[examples].masked_fill(left_out, NOBODY)
        width = maps.shape[3] if maps.ndim == 4 and self.unit != "mean" else 0
        places = torch.full((*values.shape, 4), -1, device=maps.device)
        places[..., 2], places[..., 3] = extent
        if several:
            positions = where[rows][:, columns]
            places[..., 0], places[..., 1] = positions // width, positions % width
        new = strongest(
            torch.cat([self.values[rows], values], 1),
            torch.cat([self.images[rows], images.expand(len(rows), -1)], 1),
            torch.cat([self.places[rows], places], 1),
            self.k,
        )
        if width and not several:
            self._locate(flat, rows, ids, width, *new)
        self.values[rows], self.images[rows], self.places[rows] = new
        return broken.nonzero().flatten().tolist()

    @staticmethod
    def _locate(
        flat: Tensor,
        rows: Tensor,
        ids: Tensor,
        width: int,
        values: Tensor,
        images: Tensor,
        places: Tensor,
    ) -> None:
        """Write the positions of new entries; looked up only for these, the first of equal ones."""
        row, column = ((images >= ids[0]) & (images <= ids[-1]) & (places[..., 0] < 0)).nonzero().T
        if not len(row):
            return
        example = torch.searchsorted(ids, images[row, column])
        maps = flat[example, rows[row]]
        hit = maps == values[row, column].to(maps.dtype)[:, None]
        count = torch.arange(maps.shape[1], device=maps.device)
        first = torch.where(hit, count, maps.shape[1]).amin(1)
        places[row, column, 0], places[row, column, 1] = first // width, first % width
