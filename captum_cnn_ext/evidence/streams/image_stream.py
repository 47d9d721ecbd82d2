"""Images of a data set in numbered batches; an image that cannot be read loses no other."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.photos import picture_files, read_picture

Preprocess = Callable[[Any], Tensor]


class ImageFiles(Dataset[Any]):
    """The picture files of a folder and of the folders in it, sorted by path, read when needed."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.files = picture_files(self.folder, recursive=True)
        self.names = [file.relative_to(self.folder).as_posix() for file in self.files]
        if not self.files:
            raise ArgumentError(f"dataset: no picture file in the folder {self.folder.name!r}")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        return read_picture(self.files[index])


@dataclass(frozen=True)
class Batch:
    """One numbered batch: groups of images of one size with their ids, and what failed.

    ``beside`` is what came with each image besides, by its id.
    """

    number: int
    groups: Sequence[tuple[list[int], Tensor]]
    failed: Sequence[tuple[int, str]]
    beside: Mapping[int, Any] = field(default_factory=dict)

    def pin_memory(self) -> Batch:
        """What the loader calls so that copies to an accelerator need not wait."""
        groups = [
            (ids, images.pin_memory() if images.device.type == "cpu" else images)
            for ids, images in self.groups
        ]
        return Batch(self.number, groups, self.failed, self.beside)


Sample = tuple[int, "Tensor | str", Any]


class Images(Dataset[Any]):
    """A user's data set as tensors (C, H, W) by number; a sample that fails gives its error."""

    def __init__(self, dataset: Any, preprocess: Preprocess | None) -> None:
        self.dataset = dataset
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        try:
            sample = self.dataset[index]
            image = self.prepared(sample)
            return index, image, self.beside(index, sample, image)
        except Exception as error:  # a broken file can raise anything; each is reported
            text = " ".join(str(error).split())
            return index, f"{type(error).__name__}: {text}" if text else type(error).__name__, None

    def image(self, index: int) -> Tensor:
        """The network input (C, H, W) of one sample; raises what reading it raises."""
        return self.prepared(self.dataset[index])

    def beside(self, index: int, sample: Any, image: Tensor) -> Any:
        """What else of a sample is needed; raises where it cannot be used."""
        return None

    def prepared(self, sample: Any) -> Tensor:
        """A sample's image as the network takes it."""
        image = sample[0] if isinstance(sample, (tuple, list)) else sample
        image = self.preprocess(image) if self.preprocess is not None else image
        if not isinstance(image, Tensor) or image.ndim != 3:
            got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            hint = "" if self.preprocess else "; pass preprocess= to make one of it"
            raise TypeError(f"expected a tensor (C, H, W) as image, got {got}{hint}")
        return image

    def name(self, index: int) -> str:
        """The file of an image, where the data set has files."""
        names = getattr(self.dataset, "names", None)
        one_each = isinstance(names, Sequence) and len(names) == len(self.dataset)
        return str(names[index]) if names is not None and one_each else ""


class _Numbered:
    """A batch sampler: batch after batch of consecutive numbers, those of one shard."""

    def __init__(self, length: int, size: int, numbers: range) -> None:
        self.length, self.size, self.numbers = length, size, numbers

    def __iter__(self) -> Iterator[list[int]]:
        for number in self.numbers:
            yield list(range(number * self.size, min((number + 1) * self.size, self.length)))

    def __len__(self) -> int:
        return len(self.numbers)


def _grouped(samples: Sequence[Sample]) -> Batch:
    failed = [(index, image) for index, image, _ in samples if isinstance(image, str)]
    beside = {index: other for index, _, other in samples if other is not None}
    sizes: dict[Any, list[tuple[int, Tensor]]] = {}
    for index, image, _ in samples:
        if isinstance(image, Tensor):
            sizes.setdefault((image.shape, image.dtype), []).append((index, image))
    groups = [
        ([index for index, _ in group], default_collate([image for _, image in group]))
        for group in sizes.values()
    ]
    return Batch(-1, groups, failed, beside)


def images_of(dataset: Any, preprocess: Preprocess | None) -> Images:
    """A map-style data set, a loader's one, or a folder, by number.

    Raises:
        ArgumentError: it is empty, or has no numbers.
    """
    if isinstance(dataset, (str, os.PathLike)):
        if not Path(dataset).is_dir():
            raise ArgumentError(f"dataset: {Path(dataset).name!r} is no folder")
        dataset = ImageFiles(dataset)
        if preprocess is None:
            raise ArgumentError(
                "preprocess=None: pictures of a folder need a function from a PIL image to a "
                "tensor (C, H, W), such as load_model(...).preprocess"
            )
    dataset = dataset.dataset if isinstance(dataset, DataLoader) else dataset
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        raise ArgumentError(
            f"dataset: {type(dataset).__name__} has no numbered samples, by which images are told "
            "apart; expected a map-style Dataset, a DataLoader of one, a list or a folder"
        )
    if not len(dataset):
        raise ArgumentError("dataset: it is empty; expected at least one image")
    return Images(dataset, preprocess)


def batches(
    images: Images, size: int, numbers: range, workers: int, pin_memory: bool
) -> Iterator[Batch]:
    """The batches of these numbers, one after another, prefetched where there are workers."""
    loader = DataLoader(
        images,
        batch_sampler=_Numbered(len(images), size, numbers),
        num_workers=workers,
        collate_fn=_grouped,
        pin_memory=pin_memory,
        # the loader draws a seed where tensors are made; not from the user's numbers
        generator=torch.Generator(torch.get_default_device()),
    )
    for number, batch in zip(numbers, loader, strict=True):
        yield dataclasses.replace(batch, number=number)
