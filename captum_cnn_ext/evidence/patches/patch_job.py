"""One shard's stream of a top-patches job: a ranking of what was seen."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from captum_cnn_ext._engine.running.layer_sites import Site, layer_sites
from captum_cnn_ext._engine.running.streaming import streamed
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence.fields.receptive_field import ReceptiveField, receptive_field
from captum_cnn_ext.evidence.patches.patch_ranking import NOBODY, Ranking
from captum_cnn_ext.evidence.patches.patch_result import TopPatches
from captum_cnn_ext.evidence.streams.image_stream import Batch
from captum_cnn_ext.evidence.streams.job_files import Arrays
from captum_cnn_ext.evidence.streams.stream_job import Run, StreamJob, tensors_of


@dataclass
class PatchJob(StreamJob):
    """One shard's stream, and the ranking of what it saw."""

    reshape: Callable[[Tensor], Tensor] | None = None
    ranking: Ranking | None = None
    channels: Tensor | None = None
    fields: dict[tuple[int, int], ReceptiveField | str] = field(default_factory=dict)

    def run(
        self, autocast: torch.dtype | None, workers: int, every: int, show_progress: bool
    ) -> TopPatches:
        """Stream the batches that are not done yet."""
        self.stream(autocast, workers, every, show_progress, self.settings["layer"])
        if self.ranking is None and self.done == len(self.mine) and not self.skipped:
            # more processes than batches: nothing for this one
            return self._result(self._layout())
        if self.ranking is None:
            raise self.nothing("ranked")
        return self._result(self.ranking)

    @property
    def site(self) -> Site:
        return layer_sites(self.model, self.module, False, self.settings["call"])[0]

    def running(self, autocast: torch.dtype | None) -> AbstractContextManager[Run]:
        return streamed(self.model, self.site, autocast)

    def take(self, batch: Batch, run: Run) -> int:
        taken = 0
        for ids, images in batch.groups:
            maps = run(images)
            with torch.inference_mode():
                maps = self.reshape(maps) if self.reshape else maps
                self._judge(maps, images)
                maps = maps if self.channels is None else maps[:, self.channels]
                if self.ranking is None:
                    self.ranking = self._empty(maps)
                extent = (images.shape[-2], images.shape[-1])
                bad = self.ranking.see(maps, ids, extent)
            for row in bad:
                self.fail(ids[row], f"layer {self.settings['layer']!r} gives NaN")
            taken += len(ids) - len(bad)
        return taken

    def snapshot(self) -> Callable[[], None]:
        before = self.ranking.copy() if self.ranking is not None else None

        def undo() -> None:
            self.ranking = before

        return undo

    def state(self) -> Arrays | None:
        if self.ranking is None:
            return None
        names = ("values", "images", "places")
        return {name: getattr(self.ranking, name).cpu().numpy() for name in names}

    def restore(self, arrays: Arrays) -> None:
        tensors = tensors_of(arrays, "values", "images", "places")
        if self.settings["channels"] is not None:
            self.channels = torch.tensor(self.settings["channels"], device=self.device)
        s = self.settings
        self.ranking = Ranking(
            s["k"], s["unit"], s["one_per_image"], *(t.to(self.device) for t in tensors)
        )

    def _empty(self, maps: Tensor) -> Ranking:
        s = self.settings
        return Ranking.empty(maps.shape[1], s["k"], s["unit"], s["one_per_image"], maps)

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
        with streamed(self.model, self.site) as activations:
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
            torch.tensor(range(len(values)) if chosen is None else chosen, device="cpu"),
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
            seen = height >= 0 and row >= 0
            known = self._field((height, width), channels) if seen else ""
            used += [known] if seen else []
            if isinstance(known, str) or max(known.positions) <= max(row, column):
                inside.append(whole)
                beyond.append(whole)
                continue
            inside.append([list(span) for span in known.box(row, column)])
            measured = known.how == "measured"
            beyond.append([list(s) for s in known.box(row, column, clip=measured)])
        words = next((str(f) for f in used), "whole maps have no field")
        shape = (*places.shape[:2], 2, 2)
        boxes = torch.tensor([inside, beyond], device="cpu").reshape(2, *shape)
        return boxes[0], boxes[1], words
