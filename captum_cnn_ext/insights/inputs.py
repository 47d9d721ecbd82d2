"""What the user gave as images, as one batch of network inputs with names."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from PIL import Image
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.input_sizes import input_axes, input_channels
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.photos import PhotoFiles, load_photos, picture_files, read_picture

Photo = Image.Image | str | os.PathLike[str]
Images = Mapping[str, Photo] | Sequence[Photo] | Tensor | str | os.PathLike[str]
Preprocess = Callable[[Image.Image], Tensor]


AXES = {1: "signals (N, C, L)", 3: "volumes or videos (N, C, D, H, W)"}


@dataclass(frozen=True)
class Photos:
    """Network inputs (N, C, H, W), their names, and the pictures they came from with their sizes.

    ``skipped`` says which pictures could not be read.
    """

    inputs: Tensor
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int] | None, ...]
    skipped: str = ""
    pictures: tuple[Image.Image, ...] = ()

    __repr__ = brief

    def __len__(self) -> int:
        return len(self.names)


def read_photos(images: Images, preprocess: Preprocess | None, model: nn.Module) -> Photos:
    """Bring the images to the model's device and floating-point type, as one batch.

    Raises:
        TypeError: not PIL images and not a floating tensor.
        ArgumentError: no image, or inputs whose shapes differ.
    """
    axes, colours = input_axes(model), input_channels(model) == 3
    if axes != 2:
        raise ArgumentError(
            f"model: takes {AXES.get(axes, f'inputs of {axes} axes')}, and this looks at images "
            "(N, C, H, W); the attribution classes take any, and show_signals and show_volumes of "
            "captum_cnn_ext.render draw what they give"
        )
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    if isinstance(images, Tensor):
        return Photos(_batch(images, like), tuple(_numbered(len(images))), (None,) * len(images))
    if isinstance(images, (str, os.PathLike)):
        images = _files(Path(images))
    pictures = _pictures(images)
    assert preprocess is not None
    sizes: list[tuple[int, int] | None] = []
    inputs: list[Tensor] = []
    shown: list[Image.Image] = []
    for name, picture in pictures.items():
        picture = picture.convert("RGB") if colours and picture.mode != "RGB" else picture
        tensor = preprocess(picture)
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"preprocess: expected it to return a tensor (C, H, W), got "
                f"{type(tensor).__name__} for {name!r}"
            )
        tensor = tensor[0] if tensor.ndim == 4 and len(tensor) == 1 else tensor
        if inputs and tensor.shape != inputs[0].shape:
            raise ArgumentError(
                f"preprocess: gives shape {tuple(tensor.shape)} for {name!r} and "
                f"{tuple(inputs[0].shape)} for {next(iter(pictures))!r}; expected one shape for "
                "all images, e.g. by a resize and a crop"
            )
        inputs.append(tensor)
        sizes.append(picture.size)
        shown.append(picture)
    skipped = images.skipped_words() if isinstance(images, PhotoFiles) else ""
    batch = _batch(torch.stack(inputs), like)
    return Photos(batch, tuple(pictures), tuple(sizes), skipped, tuple(shown))


def _files(path: Path) -> PhotoFiles:
    """The pictures of a folder, or one file; those that cannot be read are left out and listed."""
    if path.is_dir() and not picture_files(path) and picture_files(path, recursive=True):
        raise ArgumentError(
            f"images: {str(path)!r} holds its pictures in folders, as a data set does; pass it to "
            "audit_dataset(model, folder), or load_photos(folder) to look at all of these pictures"
        )
    return load_photos(path, on_error="skip")


def _pictures(images: Mapping[str, Photo] | Sequence[Photo]) -> dict[str, Image.Image]:
    if isinstance(images, Mapping):
        given = {str(name): picture for name, picture in images.items()}
    elif isinstance(images, Sequence) and not isinstance(images, (str, bytes)):
        given = dict(zip(_names(images), images, strict=True))
    else:
        raise TypeError(
            f"images: expected a dict of names and PIL images, a list of PIL images or of files, "
            f"a file or folder, or a tensor (N, C, H, W), got {type(images).__name__}"
        )
    pictures = dict[str, Image.Image]()
    for name, picture in given.items():
        picture = read_picture(Path(picture)) if _is_file(picture) else picture
        if not isinstance(picture, Image.Image):
            raise TypeError(
                f"images: expected PIL images or files, got {type(picture).__name__} for {name!r}"
            )
        pictures[name] = picture
    if not pictures:
        raise ArgumentError("images: got none, expected at least one")
    return pictures


def _names(images: Sequence[Any]) -> list[str]:
    """File names where the images have them, each name once, else numbers."""
    files = [image if _is_file(image) else getattr(image, "filename", "") for image in images]
    names = [Path(file or "").stem for file in files]
    unique = len(set(names)) == len(names) and all(names)
    return names if unique else _numbered(len(images))


def _is_file(image: Any) -> TypeGuard[str | os.PathLike[str]]:
    return isinstance(image, (str, os.PathLike))


def _numbered(count: int) -> list[str]:
    return [f"photo {number}" for number in range(1, count + 1)]


def _batch(inputs: Tensor, like: Tensor) -> Tensor:
    if inputs.ndim != 4 or not inputs.is_floating_point():
        how = (
            "" if inputs.ndim != 4 else "; pass files or PIL images, or tensors as the model takes"
        )
        raise ArgumentError(
            f"images: expected preprocessed images (N, C, H, W) of a floating-point type, got "
            f"shape {tuple(inputs.shape)}, {inputs.dtype}{how}"
        )
    if not inputs.numel():
        raise ArgumentError("images: got none, expected at least one")
    return inputs.detach().to(like.device, like.dtype, copy=True)


def normalisation(preprocess: Any) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation that a preprocessing subtracts and divides by, if it says so."""
    for step in (preprocess, *getattr(preprocess, "transforms", ())):
        mean, std = getattr(step, "mean", None), getattr(step, "std", None)
        if mean is not None and std is not None:
            return (
                torch.as_tensor(mean).flatten().tolist(),
                torch.as_tensor(std).flatten().tolist(),
            )
    return None
