"""Some correctly classified images of each class, as network inputs, with their maps and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.running.batching import images_at_once, in_chunks
from captum_cnn_ext._engine.running.forward import run_forward
from captum_cnn_ext._engine.running.streaming import home_of, refuse_training
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence.records.record_job import LabelledImages, probabilities
from captum_cnn_ext.evidence.records.record_result import ImageRecords
from captum_cnn_ext.evidence.streams.image_stream import Preprocess, images_of

Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Sample:
    """Correctly classified images of one size.

    Args:
        images: (n, C, H, W), where the model is.
        rows: (n,) their rows in the records.
        labels: (n,).
        maps: (n, h, w), of the records.
        masks: (n, H, W), True on the object; None where an image has none.
    """

    images: Tensor
    rows: Tensor
    labels: Tensor
    maps: Tensor
    masks: Tensor | None

    @property
    def size(self) -> tuple[int, int]:
        return (self.images.shape[2], self.images.shape[3])

    @cached_property
    def range(self) -> tuple[Tensor, Tensor]:
        """The smallest and the largest value (C, 1, 1) of each channel."""
        low, high = self.images.amin((0, 2, 3)), self.images.amax((0, 2, 3))
        return low[:, None, None], high[:, None, None]

    def bounded(self, images: Tensor) -> Tensor:
        """Images cut to the range of values that each channel of the sample has."""
        return images.clamp(*self.range)


def sample_of(
    model: nn.Module,
    dataset: Any,
    records: ImageRecords,
    classes: Sequence[int],
    each: int,
    preprocess: Preprocess | None,
    seed: int,
) -> Sample:
    """At most ``each`` images of every class, drawn by ``seed``, of the commonest size."""
    source = LabelledImages(images_of(dataset, preprocess).dataset, preprocess)
    if len(records) and int(records.images.max()) >= len(source):
        raise ArgumentError(
            f"dataset: it has {len(source)} images, but the records speak of number "
            f"{int(records.images.max())}; pass the data set that they were made of"
        )
    generator = np.random.default_rng(seed % 2**64)
    found: list[tuple[Tensor, int, Tensor | None]] = []
    for label in classes:
        rows = np.flatnonzero(records.correct & (records.labels == label))
        for row in generator.permutation(rows)[:each].tolist():
            _, image, beside = source[int(records.images[row])]
            if isinstance(image, Tensor):
                found.append((image, row, beside[1]))
    sizes = [image.shape for image, _, _ in found]
    if not sizes:
        raise ArgumentError("dataset: none of its images is classified correctly")
    usual = max(set(sizes), key=sizes.count)
    found = [item for item in found if item[0].shape == usual]
    device, dtype = home_of(model)
    kept = torch.tensor([row for _, row, _ in found], device="cpu")
    masks = [mask for _, _, mask in found]
    return Sample(
        torch.stack([image for image, _, _ in found]).to(device, dtype),
        kept,
        torch.from_numpy(records.labels[kept.numpy()].astype(np.int64)).to(device),
        torch.from_numpy(records.maps[kept.numpy()].astype(np.float32)).to(device),
        None if None in masks or not masks else torch.stack(masks).to(device),  # type: ignore[arg-type]
    )


def classes_of(outputs: Tensor, records: ImageRecords) -> Tensor:
    """The classes (N,) that a model's outputs name, as in the records."""
    return probabilities(outputs, records.settings.get("sigmoid", True)).argmax(1)


def predictor(model: nn.Module, records: ImageRecords, rows: int) -> Predict:
    """From images to the classes that the model gives them, ``rows`` at once."""
    refuse_training(model)

    def predict(images: Tensor) -> Tensor:
        def run(part: slice) -> Tensor:
            with torch.no_grad():
                output = run_forward(model, (images[part].clone(),))
                assert isinstance(output, Tensor)
                return classes_of(output, records)

        at_once = min(rows, images_at_once(images, images.device))
        return torch.cat(in_chunks(run, len(images), at_once))

    return predict
