"""One shard's stream of a top-patches job: batches in, a ranking and checkpoints out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_cnn_ext._engine.judging.arguments import ArgumentError
from captum_cnn_ext._engine.running.layer_sites import layer_sites
from captum_cnn_ext._engine.running.streaming import home_of, streamed
from captum_cnn_ext._engine.whole_files import write_whole
from captum_cnn_ext.evidence.image_stream import Batch, Images, batches
from captum_cnn_ext.evidence.patch_files import judge_settings, packed, unpacked
from captum_cnn_ext.evidence.patch_ranking import NOBODY, Ranking
from captum_cnn_ext.evidence.patch_result import TopPatches
from captum_cnn_ext.evidence.receptive_field import ReceptiveField, receptive_field


@dataclass
class Job:
    """One shard's stream, and what is kept of it between batches."""

    model: nn.Module
    module: nn.Module
    images: Images
    settings: dict[str, Any]
    shard: tuple[int, int]
    checkpoint: Path | None
    reshape: Callable[[Tensor], Tensor] | None = None
    ranking: Ranking | None = None
    channels: Tensor | None = None
    done: int = 0
    seen: int = 0
    skipped: list[tuple[int, str]] = field(default_factory=list)
    fields: dict[tuple[int, int], ReceptiveField | str] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return home_of(self.model)[0]

    def run(
        self, autocast: torch.dtype | None, workers: int, every: int, show_progress: bool
    ) -> TopPatches:
        """Stream the batches that are not done yet."""
        size, (index, count) = self.settings["batch_size"], self.shard
        total = -(-len(self.images) // size)
        mine = range(index, total, count)
        self._resume()
        (site,) = layer_sites(self.model, self.module, False, self.settings["call"])
        ours = sum(min(size, len(self.images) - number * size) for number in mine)
        before = sum(min(size, len(self.images) - n * size) for n in mine[: self.done])
        bar = tqdm(
            total=ours,
            initial=before,
            unit="image",
            desc=self.settings["layer"],
            disable=not show_progress or index > 0,
        )
        stream = batches(self.images, size, mine[self.done :], workers, self.device.type == "cuda")
        with bar, streamed(self.model, site, autocast) as activations:
            try:
                for batch in stream:
                    self._see(batch, activations)
                    bar.update(sum(len(ids) for ids, _ in batch.groups) + len(batch.failed))
                    if self.checkpoint is not None and self.done % every == 0:
                        self._write()
            finally:
                if self.checkpoint is not None and self.ranking is not None:
                    self._write()
        if self.ranking is None and self.done == len(mine) and not self.skipped and count > 1:
            # more processes than batches: nothing for this one
            return self._result(self._layout())
        if self.ranking is None:
            reasons = "; ".join(f"image {n}: {why}" for n, why in self.skipped[:3])
            raise ArgumentError(f"dataset: no image could be ranked ({reasons})")
        return self._result(self.ranking)

    def _see(self, batch: Batch, activations: Callable[[Tensor], Tensor]) -> None:
        """Rank one batch; of a batch that stops the job nothing is kept."""
        ranking, seen, skipped = self.ranking, self.seen, len(self.skipped)
        before = ranking.copy() if ranking is not None else None
        try:
            self._rank(batch, activations)
            self.done += 1
        except BaseException:
            self.ranking, self.seen = before, seen
            del self.skipped[skipped:]
            raise

    def _rank(self, batch: Batch, activations: Callable[[Tensor], Tensor]) -> None:
        for number, why in batch.failed:
            self._failed(number, why)
        for ids, images in batch.groups:
            maps = activations(images)
            with torch.inference_mode():
                maps = self.reshape(maps) if self.reshape else maps
                self._judge(maps, images)
                maps = maps if self.channels is None else maps[:, self.channels]
                if self.ranking is None:
                    self.ranking = self._empty(maps)
                extent = (images.shape[-2], images.shape[-1])
                bad = self.ranking.see(maps, ids, extent)
            for row in bad:
                self._failed(ids[row], f"layer {self.settings['layer']!r} gives NaN")
            self.seen += len(ids) - len(bad)

    def _empty(self, maps: Tensor) -> Ranking:
        s = self.settings
        return Ranking.empty(maps.shape[1], s["k"], s["unit"], s["one_per_image"], maps)

    def _failed(self, number: int, why: str) -> None:
        if self.settings["on_error"] == "raise":
            name = self.images.name(number)
            raise ArgumentError(
                f"dataset: image {number}{f' ({name})' if name else ''} cannot be used: {why}; "
                "on_error='skip' leaves such images out and lists them"
            )
        self.skipped.append((number, why))

    def _judge(self, maps: Tensor, images: Tensor) -> None:
        """Refuse a layer without channels, once."""
        if self.ranking is not None:
            return
        layer = self.settings["layer"]
        if maps.ndim not in (2, 4) or len(maps) != len(images):
            raise ArgumentError(
                f"layer {layer!r}: gives {tuple(maps.shape)} for {len(images)} images, which has "
                "no channels; expected (N, C, H, W) or (N, C). For tokens and channels-last layers "
                "pass reshape_transform="
            )
        known = self._field((images.shape[-2], images.shape[-1]), images.shape[1])
        if isinstance(known, ReceptiveField) and known.dims == (1, 2) and self.reshape is None:
            raise ArgumentError(
                f"layer {layer!r}: gives {tuple(maps.shape)} with its channels last; pass "
                "reshape_transform=lambda t: t.permute(0, 3, 1, 2)"
            )
        chosen = self.settings["channels"]
        if chosen is not None:
            outside = [c for c in chosen if not 0 <= c < maps.shape[1]]
            if outside or not chosen:
                raise ArgumentError(
                    f"channels: got {outside or 'none'}; layer {layer!r} has {maps.shape[1]} "
                    f"channels, 0 to {maps.shape[1] - 1}"
                )
            self.channels = torch.tensor(chosen, device=maps.device)

    def _layout(self) -> Ranking:
        """An empty ranking of the right width, for a process without a batch."""
        (site,) = layer_sites(self.model, self.module, False, self.settings["call"])
        with streamed(self.model, site) as activations:
            image = next(self.images.image(n) for n in range(len(self.images)))[None]
            maps = activations(image)
        maps = self.reshape(maps) if self.reshape else maps
        self._judge(maps, image)
        return self._empty(maps if self.channels is None else maps[:, self.channels])

    def _field(self, extent: tuple[int, int], channels: int) -> ReceptiveField | str:
        """The layer's field for images of a size, found once, or why it is not known."""
        if extent not in self.fields:
            try:
                self.fields[extent] = receptive_field(
                    self.model, self.module, (1, channels, *extent), call=self.settings["call"]
                )
            except (ValueError, RuntimeError) as error:
                self.fields[extent] = f"field unknown, so boxes are whole images: {error}"
        return self.fields[extent]

    def _resume(self) -> None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        arrays = unpacked(self.checkpoint, "checkpoint")
        try:
            about = json.loads(str(arrays["about"]))
            judge_settings(self.checkpoint, about["settings"], self.settings)
            judge_settings(self.checkpoint, about, {"shard": list(self.shard)})
            tensors = [torch.from_numpy(arrays[n]) for n in ("values", "images", "places")]
            done, seen = int(about["done"]), int(about["seen"])
            skipped = [(int(number), str(why)) for number, why in about["skipped"]]
        except ArgumentError:
            raise
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise ArgumentError(
                f"checkpoint {self.checkpoint.name!r}: no checkpoint of this function"
            ) from error
        self.done, self.seen, self.skipped = done, seen, skipped
        if self.settings["channels"] is not None:
            self.channels = torch.tensor(self.settings["channels"], device=self.device)
        s = self.settings
        self.ranking = Ranking(
            s["k"], s["unit"], s["one_per_image"], *(t.to(self.device) for t in tensors)
        )

    def _write(self) -> None:
        assert self.checkpoint is not None
        assert self.ranking is not None
        about = {
            "settings": self.settings,
            "shard": list(self.shard),
            "done": self.done,
            "seen": self.seen,
            "skipped": [list(item) for item in self.skipped],
        }
        arrays = {
            name: getattr(self.ranking, name).cpu().numpy()
            for name in ("values", "images", "places")
        }
        write_whole(self.checkpoint, packed({**arrays, "about": np.array(json.dumps(about))}))

    def _result(self, ranking: Ranking) -> TopPatches:
        values, images, places = (
            t.cpu().clone() for t in (ranking.values, ranking.images, ranking.places)
        )
        free = images >= NOBODY
        images = images.masked_fill(free, -1)
        values = (values * ranking.sign).masked_fill(free, torch.nan)
        numbers = sorted(n for n in set(images.flatten().tolist()) if n >= 0)
        boxes, outer, words = self._boxes(places, numbers)
        chosen = self.settings["channels"]
        return TopPatches(
            self.settings["layer"],
            ranking.unit,
            ranking.k,
            torch.arange(len(values)) if chosen is None else torch.tensor(chosen),
            values,
            images,
            places[..., :2].contiguous(),
            places[..., 2:].contiguous(),
            boxes,
            outer,
            self.seen,
            tuple(sorted(self.skipped)),
            {n: name for n in numbers if (name := self.images.name(n))},
            words,
            self.settings,
            self.shard,
        )

    def _boxes(self, places: Tensor, numbers: Sequence[int]) -> tuple[Tensor, Tensor, str]:
        """What each unit sees, cut at the border and not; the whole image where not known."""
        flat = places.reshape(-1, 4).tolist()
        channels = self.images.image(numbers[0]).shape[0] if numbers else 0
        inside, beyond, used = [], [], []
        for row, column, height, width in flat:
            whole = [[0, max(height, 0)], [0, max(width, 0)]]
            if height < 0 or row < 0:
                inside.append(whole)
                beyond.append(whole)
                continue
            known = self._field((height, width), channels)
            used.append(known)
            if isinstance(known, str) or max(known.positions) <= max(row, column):
                inside.append(whole)
                beyond.append(whole)
                continue
            inside.append([list(span) for span in known.box(row, column)])
            measured = known.how == "measured"
            beyond.append([list(s) for s in known.box(row, column, clip=measured)])
        words = next((str(f) for f in used), "whole maps have no field")
        shape = (*places.shape[:2], 2, 2)
        return torch.tensor(inside).reshape(shape), torch.tensor(beyond).reshape(shape), words
