"""Where the objects are on photos: pictures of masks, COCO's boxes, Pascal VOC's XML files."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.photos.annotations import Box, read_annotations
from captum_cnn_ext.photos.pictures import picture_files

if TYPE_CHECKING:
    from PIL import Image

RATIO = 0.02  # how far a mask's shape may be from its photo's to be taken for the same, resized


class ObjectMasks(ABC):
    """Abstract: by a photo's name, where its objects are."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether something is known of this photo."""

    @abstractmethod
    def mask(self, name: str, size: tuple[int, int]) -> Image.Image | str | None:
        """Not 0 on the object, of the photo's (width, height); None without, or why not."""


class MaskPictures(ObjectMasks):
    """A folder of pictures that are named as the photos, whatever their ending."""

    def __init__(self, folder: Path) -> None:
        found = picture_files(folder, recursive=True)
        if not found:
            raise ArgumentError(f"masks: no picture file in the folder {folder.name!r}")
        self.files = {_stem(file.relative_to(folder).as_posix()): file for file in found}

    def has(self, name: str) -> bool:
        return _stem(name) in self.files

    def mask(self, name: str, size: tuple[int, int]) -> Image.Image | str | None:
        from PIL import Image, ImageOps

        file = self.files.get(_stem(name))
        if file is None:
            return None
        try:
            with Image.open(file) as opened:
                # of a palette image the numbers of objects, which conversion would turn to grey
                pixels = np.asarray(ImageOps.exif_transpose(opened))
            shown = pixels[..., :3].max(-1) if pixels.ndim == 3 else pixels
            plain = Image.fromarray(np.where(shown > 0, 255, 0).astype(np.uint8))
        except Exception as error:  # a broken file can raise anything; each is reported
            return f"mask {file.name}: cannot be read ({type(error).__name__})"
        if plain.size == size:
            return plain
        width, height = plain.size
        if abs(width * size[1] / (height * size[0]) - 1) > RATIO:
            return (
                f"mask {file.name}: is {width} x {height} pixels, its photo {size[0]} x {size[1]}, "
                "which is another shape"
            )
        return plain.resize(size, Image.Resampling.NEAREST)


class Boxes(ObjectMasks):
    """Boxes in pixels by the photos' names."""

    def __init__(self, boxes: Mapping[str, Sequence[Box]]) -> None:
        self.boxes = {_stem(name): list(found) for name, found in boxes.items()}

    def _of(self, name: str) -> list[Box] | None:
        # annotations often know a file's name without its folders
        return self.boxes.get(_stem(name), self.boxes.get(_stem(Path(name).name)))

    def has(self, name: str) -> bool:
        return bool(self._of(name))

    def mask(self, name: str, size: tuple[int, int]) -> Image.Image | str | None:
        from PIL import Image, ImageDraw

        boxes = self._of(name)
        if not boxes:
            return None
        mask = Image.new("L", size)
        draw = ImageDraw.Draw(mask)
        for left, top, right, bottom in boxes:
            if right > left and bottom > top:
                draw.rectangle((left, top, right - 1, bottom - 1), fill=255)
        return mask


def object_masks(
    masks: str | os.PathLike[str] | None, boxes: str | os.PathLike[str] | None
) -> ObjectMasks | None:
    """Masks of a folder, or boxes of a COCO JSON file or a folder of VOC's XML files.

    Raises:
        ArgumentError: both are given, or there is nothing of that kind.
    """
    if masks is not None and boxes is not None:
        raise ArgumentError("masks and boxes: expected one of them")
    if masks is not None:
        if not Path(masks).is_dir():
            raise ArgumentError(f"masks: there is no folder {str(masks)!r}")
        return MaskPictures(Path(masks))
    if boxes is None:
        return None
    found = read_annotations(boxes, parameter="boxes")
    return Boxes({name: [one.box for one in objects] for name, objects in found.items()})


def _stem(name: str) -> str:
    """A name without its ending."""
    return name.rpartition(".")[0] if "." in Path(name).name else name
