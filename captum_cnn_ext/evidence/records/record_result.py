"""What a pass over a labelled data set found: one row for each image, in files, as one."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import distributed

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.evidence.records.record_job import FIXED, MOST_REMARKS, Array, RecordJob

CHUNK = 4096  # rows joined at once


@dataclass(frozen=True, eq=False)
class ImageRecords:
    """One row for each image that could be used, in the order of the data set; arrays on the disk.

    Args:
        layer: where the maps are from.
        classes: how many classes the model tells apart.
        images: (N,) numbers of the images in the data set.
        labels, predictions: (N,) class indices.
        confidences: (N,) the probability of the predicted class.
        label_probabilities: (N,) the probability of the label.
        probabilities: (N, C), in half precision.
        maps: (N, h, w), gradient x activation of the predicted class summed over channels, divided
            by ``strengths``; in half precision, at most 28 x 28, larger ones averaged down.
        strengths: (N,) the largest absolute value of each map.
        contributions: (N, K) each channel's part of the map, summed over positions and divided by
            the sum of all these without their signs; in half precision.
        columns: (N,) further numbers by name.
        mean_images: (C, channels, 32, 32) the mean network input of each class; NaN without images.
        counts: (C,) images of each class, by their labels.
        skipped: numbers of images that were left out, and why.
        remarks: what else was noticed of single images, the first ones.
        settings: what the pass depended on, with a hash of the weights.
    """

    layer: str
    classes: int
    images: Array
    labels: Array
    predictions: Array
    confidences: Array
    label_probabilities: Array
    probabilities: Array
    maps: Array
    strengths: Array
    contributions: Array
    columns: dict[str, Array]
    mean_images: Array
    counts: Array
    skipped: tuple[tuple[int, str], ...]
    remarks: tuple[tuple[int, str], ...]
    settings: dict[str, Any]

    __repr__ = brief

    def __len__(self) -> int:
        return len(self.images)

    def __str__(self) -> str:
        left = f"; {len(self.skipped)} skipped" if self.skipped else ""
        return (
            f"{len(self):,} images of {self.classes} classes, maps {self.maps.shape[1:]} and "
            f"{self.contributions.shape[1]} channels of {self.layer}{left}"
        )

    @property
    def correct(self) -> Array:
        """(N,) whether the prediction is the label."""
        return np.asarray(self.predictions == self.labels)


def joined(parts: Sequence[RecordJob], folder: Path) -> ImageRecords:
    """Every process's rows as one, in the order of the images."""
    rows = sum(part.rows for part in parts)
    skipped = tuple(sorted(item for part in parts for item in part.skipped))
    first = parts[0]
    first.skipped = list(skipped)
    if not rows:
        raise first.nothing("used")
    if len(parts) > 1:
        if not distributed.get_rank():
            _merge(parts, folder, rows)
        distributed.barrier()
    arrays = {
        name: np.memmap(folder / f"{name}.bin", kind, "r", shape=(rows, *shape))
        for name, (kind, shape) in first.layout.items()
    }
    classes = arrays["probabilities"].shape[1]
    counts = np.array([sum(p.counts.get(c, 0) for p in parts) for c in range(classes)])
    like = next(iter(next(part.sums for part in parts if part.sums).values()))
    means = np.full((classes, *like.shape), np.nan, dtype=np.float32)
    for label in counts.nonzero()[0].tolist():
        total = np.sum([part.sums[label] for part in parts if label in part.sums], axis=0)
        means[label] = total / (FIXED * counts[label])
    known = {field.name for field in dataclasses.fields(ImageRecords)}
    return ImageRecords(
        layer=first.settings["layer"],
        classes=classes,
        **{name: array for name, array in arrays.items() if name in known},
        columns={name: array for name, array in arrays.items() if name not in known},
        mean_images=means,
        counts=counts,
        skipped=skipped,
        remarks=tuple(sorted(r for part in parts for r in part.remarks)[:MOST_REMARKS]),
        settings=first.settings,
    )


def _merge(parts: Sequence[RecordJob], folder: Path, rows: int) -> None:
    """Write the parts' files as one, a few thousand rows at a time."""
    order = np.argsort(np.concatenate([np.fromfile(part.file("images"), "<i8") for part in parts]))
    places = np.empty(rows, dtype=np.int64)
    places[order] = np.arange(rows)
    for name, (kind, shape) in parts[0].layout.items():
        target = np.memmap(folder / f"{name}.bin", kind, "w+", shape=(rows, *shape))
        start = 0
        for part in parts:
            if not part.rows:
                continue
            given = np.memmap(part.file(name), kind, "r", shape=(part.rows, *shape))
            for begin in range(0, part.rows, CHUNK):
                piece = given[begin : begin + CHUNK]
                target[places[start + begin : start + begin + len(piece)]] = piece
            start += part.rows
        target.flush()
