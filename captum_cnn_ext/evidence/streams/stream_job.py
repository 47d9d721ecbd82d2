"""One shard's stream over a data set: batches in, a bounded state out, exact resume."""

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from captum_cnn_ext._engine.fingerprints import fingerprint
from captum_cnn_ext._engine.judging.arguments import layer_name
from captum_cnn_ext._engine.progress import tqdm
from captum_cnn_ext._engine.running.batching import images_at_once
from captum_cnn_ext._engine.running.streaming import home_of
from captum_cnn_ext._engine.whole_files import write_whole
from captum_cnn_ext._numbers import as_count, as_indices
from captum_cnn_ext.errors import ArgumentError, choose
from captum_cnn_ext.evidence.streams.image_stream import Batch, Images, batches
from captum_cnn_ext.evidence.streams.job_files import Arrays, judge_settings, packed, unpacked

ON_ERROR = ("raise", "skip")
Run = Callable[[Tensor], Any]


def job_settings(
    model: nn.Module,
    module: nn.Module,
    images: Images,
    batch_size: int,
    autocast: torch.dtype | None,
    on_error: str,
    call: int | None,
    **own: Any,
) -> dict[str, Any]:
    """What a job's result depends on, and its checkpoint with it; ``own`` of its kind alone."""
    on_error = choose("on_error", on_error, ON_ERROR)
    return {
        "model": fingerprint(model.state_dict()),
        "layer": layer_name(model, module),
        **own,
        "images": len(images),
        "batch_size": as_count("batch_size", batch_size),
        "autocast": str(autocast).removeprefix("torch.") if autocast else None,
        "on_error": on_error,
        "call": call,
    }


@dataclass
class StreamJob(ABC):
    """Abstract: one shard's stream, and what is kept of it between batches.

    A batch counts when all of it was taken; of one that stops the job nothing is kept. Settings
    have ``batch_size``, ``on_error`` and all else that the result depends on.
    """

    model: nn.Module
    module: nn.Module
    images: Images
    settings: dict[str, Any]
    shard: tuple[int, int]
    checkpoint: Path | None
    done: int = field(default=0, kw_only=True)
    seen: int = field(default=0, kw_only=True)
    skipped: list[tuple[int, str]] = field(default_factory=list, kw_only=True)

    @property
    def device(self) -> torch.device:
        return home_of(self.model)[0]

    @property
    def mine(self) -> range:
        """The numbers of this shard's batches."""
        index, count = self.shard
        return range(index, -(-len(self.images) // self.settings["batch_size"]), count)

    @abstractmethod
    def running(self, autocast: torch.dtype | None) -> AbstractContextManager[Run]:
        """What runs the model on a batch, for the length of the stream."""

    @abstractmethod
    def take(self, batch: Batch, run: Run) -> int:
        """Take one batch in; how many of its images count."""

    @abstractmethod
    def snapshot(self) -> Callable[[], None]:
        """What puts this job's own state back as it is now."""

    @abstractmethod
    def state(self) -> Arrays | None:
        """This job's own state for a checkpoint; None while there is none."""

    @abstractmethod
    def restore(self, arrays: Arrays) -> None:
        """Take a checkpoint's state over; KeyError, TypeError and ValueError refuse it."""

    def stream(
        self, autocast: torch.dtype | None, workers: int, every: int, show_progress: bool, what: str
    ) -> None:
        """Take the batches that were not taken yet."""
        self._resume()
        size, mine = self.settings["batch_size"], self.mine
        counts = [min(size, len(self.images) - number * size) for number in mine]
        bar = tqdm(
            total=sum(counts),
            initial=sum(counts[: self.done]),
            unit="image",
            desc=what,
            disable=not show_progress or self.shard[0] > 0,
        )
        stream = batches(self.images, size, mine[self.done :], workers, self.device.type == "cuda")
        with bar, self.running(autocast) as run:
            try:
                for batch in stream:
                    self._see(batch, run)
                    bar.update(sum(len(ids) for ids, _ in batch.groups) + len(batch.failed))
                    if self.done % every == 0:
                        self._write()
            finally:
                self._write()

    def _see(self, batch: Batch, run: Run) -> None:
        undo, seen, skipped = self.snapshot(), self.seen, len(self.skipped)
        try:
            for number, why in batch.failed:
                self.fail(number, why)
            self.seen += self.take(self._in_parts(batch), run)
            self.done += 1
        except BaseException:
            undo()
            self.seen = seen
            del self.skipped[skipped:]
            raise

    def _in_parts(self, batch: Batch) -> Batch:
        """The same batch in groups of as many images as the model is run on at once."""
        groups = []
        for ids, images in batch.groups:
            rows = images_at_once(images, self.device)
            parts = zip(range(0, len(ids), rows), torch.split(images, rows), strict=True)
            groups += [(ids[start : start + rows], part) for start, part in parts]
        return dataclasses.replace(batch, groups=groups)

    def fail(self, number: int, why: str) -> None:
        """Leave an image out, or stop, as was asked."""
        if self.settings["on_error"] == "raise":
            name = self.images.name(number)
            raise ArgumentError(
                f"dataset: image {number}{f' ({name})' if name else ''} cannot be used: {why}; "
                "on_error='skip' leaves such images out and lists them"
            )
        self.skipped.append((number, why))

    def nothing(self, verb: str) -> ArgumentError:
        """The error for a data set of which no image counts."""
        reasons = "; ".join(f"image {n}: {why}" for n, why in self.skipped[:3])
        return ArgumentError(f"dataset: no image could be {verb} ({reasons})")

    def _resume(self) -> None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        arrays = unpacked(self.checkpoint, "checkpoint")
        try:
            about = json.loads(str(arrays["about"]))
            judge_settings(self.checkpoint, about["settings"], self.settings)
            judge_settings(self.checkpoint, about, {"shard": list(self.shard)})
            done, seen = int(about["done"]), int(about["seen"])
            skipped = [(int(number), str(why)) for number, why in about["skipped"]]
            self.restore(arrays)
        except ArgumentError:
            raise
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise ArgumentError(
                f"checkpoint {self.checkpoint.name!r}: no checkpoint of this function"
            ) from error
        self.done, self.seen, self.skipped = done, seen, skipped

    def _write(self) -> None:
        arrays = None if self.checkpoint is None else self.state()
        if self.checkpoint is None or arrays is None:
            return
        about = {
            "settings": self.settings,
            "shard": list(self.shard),
            "done": self.done,
            "seen": self.seen,
            "skipped": [list(item) for item in self.skipped],
        }
        write_whole(self.checkpoint, packed({**arrays, "about": np.array(json.dumps(about))}))


def processes(shard: tuple[int, int] | None) -> tuple[tuple[int, int], bool]:
    """This process's shard, and whether it is one of a group that ``torchrun`` started.

    Raises:
        ArgumentError: ``shard`` is no (index, count).
    """
    if shard is not None:
        found = as_indices("shard", shard)
        if len(found) != 2 or not 0 <= found[0] < found[1]:
            raise ArgumentError(f"shard={shard!r}: expected (index, count) with 0 <= index < count")
        return (found[0], found[1]), False
    if distributed.is_available() and distributed.is_initialized():
        return (distributed.get_rank(), distributed.get_world_size()), True
    return (0, 1), False


def gathered(part: Any, failure: Exception | None, what: str) -> list[Any]:
    """Every process's part, in every process; one process's failure is everybody's."""
    results: list[Any] = [None] * distributed.get_world_size()
    said = f"{type(failure).__name__}: {failure}" if failure is not None else ""
    distributed.all_gather_object(results, (part, said))
    if failure is not None:
        raise failure
    broken = [f"process {rank}: {text}" for rank, (_, text) in enumerate(results) if text]
    if broken:
        raise RuntimeError(f"{what} failed in another process ({'; '.join(broken)})")
    return [part for part, _ in results]


def part_path(path: Path, shard: Sequence[int]) -> Path:
    """Each of several shards has a file of its own: ``job.npz``, ``job.part-0-of-2.npz``."""
    return path if shard[1] == 1 else path.with_suffix(f".part-{shard[0]}-of-{shard[1]}.npz")


def tensors_of(arrays: Mapping[str, Any], *names: str) -> list[Tensor]:
    """Arrays of a checkpoint as tensors."""
    return [torch.from_numpy(arrays[name]) for name in names]
