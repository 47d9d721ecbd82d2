"""One shard's stream of image records: rows appended to files, and sums that no order changes."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from captum_cnn_ext._engine.judging.probabilities import as_probabilities, check_class_scores
from captum_cnn_ext._engine.running.layer_sites import layer_sites
from captum_cnn_ext._engine.running.streaming import streamed_gradients
from captum_cnn_ext._engine.to_device import as_tensor
from captum_cnn_ext._numbers import whole
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence.streams.image_stream import Batch, Images
from captum_cnn_ext.evidence.streams.job_files import Arrays
from captum_cnn_ext.evidence.streams.stream_job import Run, StreamJob

LARGEST_GRID = 28  # positions of a stored map along each axis; larger maps are averaged down
THUMBNAIL = 32  # pixels of the mean image along each axis
FIXED = 2**16  # steps of 1 in sums of pixels, which are whole numbers: no order changes them
MOST_REMARKS = 20
NO_CLASS = "names no class"

Array = npt.NDArray[Any]
Columns = Callable[[Tensor, Tensor, Sequence["Tensor | None"]], Mapping[str, Tensor]]
Layout = dict[str, tuple[str, tuple[int, ...]]]
"""By name the type and the shape of one image's entry."""


class LabelledImages(Images):
    """Samples (image, label), or (image, label, mask); beside an image (label, mask, remark)."""

    def beside(self, index: int, sample: Any, image: Tensor) -> tuple[int, Tensor | None, str]:
        if not isinstance(sample, (tuple, list)) or len(sample) < 2:
            raise TypeError("expected a sample (image, label)")
        label = whole(sample[1])
        if label is None or label < 0:
            raise TypeError(f"expected a class index as label, got {sample[1]!r}")
        mask = sample[2] if len(sample) > 2 else None
        if isinstance(mask, str):  # why there is none
            return label, None, mask
        if mask is None:
            return label, None, ""
        try:
            return label, self.mask(mask, image), ""
        except Exception as error:  # a broken mask loses no image
            return label, None, f"mask: {' '.join(str(error).split())}"

    def mask(self, given: Any, image: Tensor) -> Tensor:
        """(H, W), True on the object, prepared as its image was."""
        from PIL import Image

        if isinstance(given, Image.Image):
            if self.preprocess is None:
                given = np.asarray(given.convert("L"))
            else:
                plain = given.convert("L").point(lambda value: 255 * (value > 0)).convert("RGB")
                sides = [Image.new("RGB", given.size, color) for color in ("black", "white")]
                low, high, found = (self.preprocess(one)[0] for one in (*sides, plain))
                given = found > (low + high) / 2
        mask = as_tensor(given) != 0
        mask = mask[0] if mask.ndim == 3 and len(mask) == 1 else mask
        if mask.shape != image.shape[-2:]:
            size = " x ".join(map(str, image.shape[-2:]))
            raise ValueError(f"has shape {tuple(mask.shape)}, its image {size} (height, width)")
        return mask


@dataclass
class RecordJob(StreamJob):
    """One shard's stream, the files that it appends to, and what it sums up.

    ``layout`` is of the files, ``sums`` are of the images by class, in steps of 1 / FIXED.
    """

    folder: Path
    layout: Layout
    columns: Columns | None = None
    reshape: Callable[[Tensor], Tensor] | None = None
    rows: int = 0
    sums: dict[int, Array] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    remarks: tuple[tuple[int, str], ...] = ()

    def running(self, autocast: torch.dtype | None) -> AbstractContextManager[Run]:
        (site,) = layer_sites(self.model, self.module, False, self.settings["call"])
        score = partial(top_scores, sigmoid=self.settings["sigmoid"])
        return streamed_gradients(self.model, site, score, autocast)

    def take(self, batch: Batch, run: Run) -> int:
        found: list[dict[str, Array]] = []
        pixels: list[tuple[int, Array]] = []
        for ids, images in batch.groups:
            beside = [batch.beside[n] for n in ids]
            outputs, activation, gradient = run(images)
            with torch.inference_mode():
                good = self._good(ids, beside, outputs)
                if not good:
                    continue
                chosen = torch.tensor(good, device=images.device)
                where = chosen.to(outputs.device)
                rows = self.entries(
                    images[chosen],
                    outputs[where],
                    activation[where],
                    gradient[where],
                    [beside[i] for i in good],
                )
                rows["images"] = np.array([ids[i] for i in good])
                found.append(rows)
                small = adaptive_avg_pool2d(images[chosen].double(), THUMBNAIL) * FIXED
                values = small.round().to("cpu", torch.int64).numpy()
                pixels += [(beside[i][0], values[row]) for row, i in enumerate(good)]
        remarks = [(n, why) for n, (_, _, why) in sorted(batch.beside.items()) if why]
        self._append(found, pixels, remarks)
        return sum(len(rows["images"]) for rows in found)

    def _good(self, ids: list[int], beside: Sequence[Any], outputs: Tensor) -> list[int]:
        """Which images of a batch can be used; the others are left out with a reason."""
        finite = outputs.isfinite().all(1).tolist()
        good, classes = [], max(outputs.shape[1], 2)
        for row, number in enumerate(ids):
            label = beside[row][0]
            if not finite[row]:
                self.fail(number, "the model's outputs are not finite")
            elif label >= classes:
                self.fail(number, f"label {label} {NO_CLASS}; the model has {classes}")
            else:
                good.append(row)
        return good

    def entries(
        self,
        images: Tensor,
        outputs: Tensor,
        activation: Tensor,
        gradient: Tensor,
        beside: Sequence[tuple[int, Tensor | None, str]],
    ) -> dict[str, Array]:
        """The rows of some images: what is said of each, and its map."""
        maps, shares = contributions(activation, gradient, self.reshape, self.settings["layer"])
        labels = torch.tensor([label for label, _, _ in beside], device="cpu")
        shares_of = probabilities(outputs, self.settings["sigmoid"]).cpu()
        predictions = shares_of.argmax(1)
        height, width = self.layout["maps"][1]
        small = adaptive_avg_pool2d(maps, (height, width))
        strength = small.abs().amax((1, 2))
        given: dict[str, Tensor] = {
            "labels": labels,
            "predictions": predictions,
            "confidences": shares_of.gather(1, predictions[:, None])[:, 0],
            "label_probabilities": shares_of.gather(1, labels[:, None])[:, 0],
            "probabilities": shares_of,
            "maps": small / strength.clamp_min(1e-30)[:, None, None],
            "strengths": strength,
            "contributions": shares,
        }
        if self.columns is not None:
            masks = [mask for _, mask, _ in beside]
            given |= self.columns(images, maps[:, None].cpu(), masks)
        return {
            name: given[name].cpu().numpy().astype(kind, copy=False)
            for name, (kind, _) in self.layout.items()
            if name != "images"
        }

    def _append(
        self,
        found: Sequence[dict[str, Array]],
        pixels: Sequence[tuple[int, Array]],
        remarks: Sequence[tuple[int, str]],
    ) -> None:
        """Add a batch's rows, in the order of the images, and its sums."""
        if found:
            order = np.argsort(np.concatenate([rows["images"] for rows in found]))
            for name, (kind, _) in self.layout.items():
                together = np.concatenate([rows[name] for rows in found])[order]
                with open(self.file(name), "r+b") as file:
                    file.seek(0, os.SEEK_END)
                    file.write(np.ascontiguousarray(together, dtype=kind).data)
            # new dictionaries, so that a snapshot of the old ones stays what it was
            sums, counts = dict(self.sums), dict(self.counts)
            for label, values in pixels:
                sums[label] = sums[label] + values if label in sums else values
                counts[label] = counts.get(label, 0) + 1
            self.sums, self.counts = sums, counts
            self.rows += len(order)
        self.remarks = (*self.remarks, *remarks)[:MOST_REMARKS]

    def file(self, name: str) -> Path:
        """Where the rows of this shard are."""
        return part_file(self.folder, name, self.shard)

    def begin(self) -> None:
        """Empty files; those of a checkpoint are cut to its rows instead when it is read."""
        if self.checkpoint is None or not self.checkpoint.exists():
            for name in self.layout:
                self.file(name).write_bytes(b"")

    def snapshot(self) -> Callable[[], None]:
        before = (self.rows, self.sums, self.counts, self.remarks)

        def undo() -> None:
            self.rows, self.sums, self.counts, self.remarks = before

        return undo

    def _cut(self) -> None:
        for name, (kind, shape) in self.layout.items():
            length = self.rows * np.dtype(kind).itemsize * int(np.prod(shape, dtype=int))
            if self.file(name).stat().st_size < length:
                raise ValueError(f"{self.file(name).name} is too short")
            os.truncate(self.file(name), length)

    def state(self) -> Arrays:
        for name in self.layout:
            with open(self.file(name), "r+b") as file:
                os.fsync(file.fileno())
        labels = sorted(self.sums)
        more = {"rows": self.rows, "layout": self.layout, "remarks": self.remarks}
        return {
            "more": np.array(json.dumps(more)),
            "classes": np.array(labels, dtype=np.int64),
            "sums": np.stack([self.sums[c] for c in labels]) if labels else np.zeros(0),
            "counts": np.array([self.counts[c] for c in labels], dtype=np.int64),
        }

    def restore(self, arrays: Arrays) -> None:
        more = json.loads(str(arrays["more"]))
        if more["layout"] != json.loads(json.dumps(self.layout)):
            raise ValueError("the records have another form")
        labels = [int(c) for c in arrays["classes"]]
        self.sums = dict(zip(labels, arrays["sums"], strict=True))
        self.counts = dict(zip(labels, map(int, arrays["counts"]), strict=True))
        self.remarks = tuple((int(n), str(why)) for n, why in more["remarks"])
        self.rows = int(more["rows"])
        if not all(self.file(name).is_file() for name in self.layout):
            raise ValueError("a file of records is missing")
        self._cut()


def part_file(folder: Path, name: str, shard: Sequence[int]) -> Path:
    """The file of one kind of entry: ``maps.bin``, ``maps.part-0-of-2.bin``."""
    part = "" if shard[1] == 1 else f".part-{shard[0]}-of-{shard[1]}"
    return folder / f"{name}{part}.bin"


def top_scores(outputs: Tensor, sigmoid: bool = True) -> Tensor:
    """Each image's score for what is predicted: its largest; of one output its distance from even.

    ``sigmoid`` says whether one output is a logit; else it is a probability.
    """
    check_class_scores(outputs)
    if outputs.shape[1] == 1:
        return (outputs[:, 0] if sigmoid else outputs[:, 0] - 0.5).abs()
    return outputs.amax(1)


def probabilities(outputs: Tensor, sigmoid: bool) -> Tensor:
    """Outputs (N, C) as probabilities; of one output those of the classes 0 and 1.

    ``sigmoid`` says whether the model gives logits, and no probabilities.
    """
    found = as_probabilities(outputs.float(), given=not sigmoid)
    return torch.cat([1 - found, found], 1) if found.shape[1] == 1 else found


def contributions(
    activation: Tensor, gradient: Tensor, reshape: Callable[[Tensor], Tensor] | None, layer: str
) -> tuple[Tensor, Tensor]:
    """Maps (N, h, w), the sum of gradient x activation over channels, and channels' shares (N, K).

    A share is a channel's part of the map summed over positions, divided by the sum of all these
    without their signs.
    """
    if reshape is not None:
        activation, gradient = reshape(activation), reshape(gradient)
    if activation.ndim != 4:
        raise ArgumentError(
            f"layer {layer!r}: gives {tuple(activation.shape)}, expected maps (N, C, H, W); for "
            "tokens and channels-last layers pass reshape_transform="
        )
    product = activation.float() * gradient.float()
    each = product.flatten(2).sum(2)
    return product.sum(1), each / each.abs().sum(1, keepdim=True).clamp_min(1e-30)
