"""What a top-patches job found: values, images, positions, boxes; saved, joined, checked, cut."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.whole_files import write_together
from captum_cnn_ext._numbers import as_count, as_indices, as_number
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence.patches.patch_ranking import NOBODY, strongest
from captum_cnn_ext.evidence.patches.patch_recheck import Recheck, rechecked
from captum_cnn_ext.evidence.streams.image_stream import Preprocess, images_of
from captum_cnn_ext.evidence.streams.job_files import (
    VERSION,
    as_json,
    cut,
    npz_path,
    packed,
    unpacked,
)

_SHOWN = 12  # channels, in a notebook
_ARRAYS = ("channels", "values", "images", "positions", "extents", "boxes", "outer")


@dataclass(frozen=True, eq=False)
class TopPatches:
    """The k strongest units of each of C channels of a layer over a data set, strongest first.

    Args:
        layer, unit, k: what was asked.
        channels: (C,).
        values: (C, k) activations; NaN where fewer than k images were seen.
        images: (C, k) numbers of the images in the data set; -1 where there is none.
        positions: (C, k, 2) row and column in the layer's map; -1 where units have none.
        extents: (C, k, 2) height and width of the network input.
        boxes: (C, k, 2, 2) [[top, bottom], [left, right]] of the pixels that the unit sees.
        outer: the same without the cut at the image's border.
        seen: how many images were ranked.
        skipped: numbers of images that were left out, and why.
        names: files of the images above, by number, where the data set has files.
        field: the units' receptive field in words.
        settings: what the job depended on, with a hash of the weights.
        shard: which part of the batches, (index, count); (0, 1) is all of them.
    """

    layer: str
    unit: str
    k: int
    channels: Tensor
    values: Tensor
    images: Tensor
    positions: Tensor
    extents: Tensor
    boxes: Tensor
    outer: Tensor
    seen: int
    skipped: tuple[tuple[int, str], ...] = ()
    names: dict[int, str] = dataclasses.field(default_factory=dict)
    field: str = ""
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    shard: tuple[int, int] = (0, 1)

    __repr__ = brief

    def __str__(self) -> str:
        return (
            f"top {self.k} of {len(self.channels)} channels of {self.layer} over {self.seen:,} "
            f"images ({self.unit} of each map"
            f"{f'; {len(self.skipped)} images skipped' if self.skipped else ''}); {self.field}"
        )

    def _repr_markdown_(self) -> str:
        """In words, and each channel's strongest value; `patches` cuts the pictures out."""
        rows = zip(self.channels[:_SHOWN].tolist(), self.values[:_SHOWN, 0].tolist(), strict=True)
        lines = [f"| {channel} | {value:.4g} |" for channel, value in rows]
        return "\n".join([str(self), "", "| channel | strongest |", "| ---: | ---: |", *lines])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``path`` (``.npz``, the arrays) and a ``.json`` beside it (all else).

        The same result gives the same bytes.

        Raises:
            ArgumentError: another ending.
        """
        target = npz_path(path)
        arrays = {name: getattr(self, name).cpu().numpy() for name in _ARRAYS}
        about = {
            "version": VERSION,
            "layer": self.layer,
            "unit": self.unit,
            "k": self.k,
            "seen": self.seen,
            "skipped": [list(item) for item in self.skipped],
            "names": {str(number): name for number, name in self.names.items()},
            "field": self.field,
            "settings": self.settings,
            "shard": list(self.shard),
        }
        write_together({target: packed(arrays), target.with_suffix(".json"): as_json(about)})
        return target

    @staticmethod
    def load(
        path: str | os.PathLike[str],
        model: nn.Module | None = None,
        dataset: Any = None,
        preprocess: Preprocess | None = None,
    ) -> TopPatches:
        """Read what `save` wrote; with a model and the data set, re-check the stored values.

        Where the model now gives other values a warning says how many and by how much.

        Raises:
            ArgumentError: a file that is damaged or not of this kind.
            FileNotFoundError: there is none.
        """
        target = npz_path(path)
        arrays = unpacked(target, "top patches")
        beside = target.with_suffix(".json")
        if not beside.exists():
            raise FileNotFoundError(f"top patches: there is no file {beside.name!r} beside it")
        try:
            about = json.loads(beside.read_text(encoding="utf-8"))
            if about["version"] != VERSION:
                raise ValueError(f"version {about['version']}")
            tensors: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in _ARRAYS}
            found = TopPatches(
                layer=about["layer"],
                unit=about["unit"],
                k=about["k"],
                seen=about["seen"],
                skipped=tuple((number, reason) for number, reason in about["skipped"]),
                names={int(number): name for number, name in about["names"].items()},
                field=about["field"],
                settings=about["settings"],
                shard=(about["shard"][0], about["shard"][1]),
                **tensors,
            )
        except (AttributeError, LookupError, ArithmeticError, RecursionError, TypeError,
                ValueError) as error:  # fmt: skip
            raise ArgumentError(
                f"top patches {target.name!r}: not a pair of files that save() wrote "
                f"({type(error).__name__}: {error})"
            ) from error
        if model is not None:
            check = found.recheck(model, dataset, preprocess)
            if not check.same:
                warnings.warn(f"top patches {target.name!r}: {check}", stacklevel=2)
        return found

    @staticmethod
    def merged(parts: Iterable[TopPatches]) -> TopPatches:
        """Join the results of disjoint shards into what one process would have found.

        Raises:
            ArgumentError: no parts, parts of different jobs, or a shard twice.
        """
        several = sorted(parts, key=lambda part: part.shard)
        if not several:
            raise ArgumentError("parts: expected at least one result")
        first = several[0]
        if any(part.settings != first.settings for part in several):
            raise ArgumentError("parts: they come from different models, data sets or settings")
        shards = [part.shard for part in several]
        count = shards[0][1]
        if len(set(shards)) < len(shards) or {shard[1] for shard in shards} != {count}:
            raise ArgumentError(f"parts: expected different shards of one division, got {shards}")
        joined = {
            name: torch.cat([getattr(part, name) for part in several], 1) for name in _ARRAYS[1:]
        }
        rank = joined["values"] * (-1 if first.unit == "min" else 1)
        rank = rank.masked_fill(joined["images"] < 0, -torch.inf)
        order = torch.arange(rank.shape[1], device=rank.device).expand_as(rank)
        images = joined["images"].masked_fill(joined["images"] < 0, NOBODY)
        places = torch.cat([joined["positions"], order[..., None], order[..., None]], 2)
        _, _, chosen = strongest(rank, images, places, first.k)
        taken: dict[str, Any] = {}
        for name, tensor in joined.items():
            index = chosen[..., 2].reshape(*chosen.shape[:2], *[1] * (tensor.ndim - 2))
            taken[name] = tensor.gather(1, index.expand(-1, -1, *tensor.shape[2:]))
        left = set(taken["images"].flatten().tolist())
        names = {number: name for part in several for number, name in part.names.items()}
        return dataclasses.replace(
            first,
            **taken,
            seen=sum(part.seen for part in several),
            skipped=tuple(sorted(item for part in several for item in part.skipped)),
            names={number: names[number] for number in sorted(left) if number in names},
            shard=(0, 1) if len(shards) == count else first.shard,
        )

    def row(self, channel: int) -> int:
        """The row of a channel in the arrays.

        Raises:
            ArgumentError: it was not ranked.
        """
        channel = as_count("channel", channel, 0)
        found = (self.channels == channel).nonzero().flatten().tolist()
        if not found:
            raise ArgumentError(f"channel={channel}: not among the {len(self.channels)} ranked")
        return int(found[0])

    def inputs(
        self, dataset: Any, channel: int, preprocess: Preprocess | None = None
    ) -> list[Tensor]:
        """The images (C, H, W) that excite a channel most, read from the data set now."""
        images, row = images_of(dataset, preprocess), self.row(channel)
        return [images.image(n) for n in self.images[row].tolist() if n >= 0]

    def patches(
        self,
        dataset: Any,
        channels: int | Sequence[int] | Tensor | None = None,
        preprocess: Preprocess | None = None,
        *,
        pad: float | None = None,
    ) -> list[list[Tensor]]:
        """For each channel its patches (C, h, w), cut out of the data set's images now.

        Args:
            dataset, preprocess: as they were ranked.
            channels: which; None is all.
            pad: what stands where a patch goes over its image's border, so that all patches of
                a layer have one size; None cuts them at the border.
        """
        wanted = self.channels.tolist()
        if channels is not None:
            wanted = [as_count("channels", c, 0) for c in as_indices("channels", channels)]
        pad = None if pad is None else as_number("pad", pad)
        boxes = self.boxes if pad is None else self.outer
        return [
            [
                cut(image, box, pad)
                for image, box in zip(
                    self.inputs(dataset, channel, preprocess),
                    boxes[self.row(channel)].tolist(),
                    strict=False,
                )
            ]
            for channel in wanted
        ]

    def recheck(
        self,
        model: nn.Module,
        dataset: Any,
        preprocess: Preprocess | None = None,
        *,
        most: int = 64,
        reshape_transform: Any = None,
    ) -> Recheck:
        """Compare stored values with what the model gives now for (up to ``most``) their images.

        Cost: a forward pass up to the layer for each image. What differs by less than the square
        root of the precision, relative to the largest value, is rounding.
        """
        images = images_of(dataset, preprocess)
        return rechecked(self, model, images.image, as_count("most", most), reshape_transform)
