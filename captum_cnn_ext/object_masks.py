"""Where the objects are on photos: pictures of masks, COCO's boxes, Pascal VOC's XML files."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.photos import picture_files

if TYPE_CHECKING:
    from PIL import Image

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the photo."""
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
    source = Path(boxes)
    if source.is_dir():
        return Boxes(_voc(source))
    if not source.is_file():
        raise ArgumentError(f"boxes: there is no file or folder {str(boxes)!r}")
    return Boxes(_coco(source))


def _coco(file: Path) -> dict[str, list[Box]]:
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        found: dict[str, list[Box]] = {}
        for entry in content["annotations"]:
            left, top, width, height = map(float, entry["bbox"])
            box = (left, top, left + width, top + height)
            found.setdefault(names[entry["image_id"]], []).append(box)
        return found
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"boxes {file.name!r}: expected COCO's form, images with id and file_name and "
            f"annotations with image_id and bbox ({type(error).__name__}: {error})"
        ) from error


def _voc(folder: Path) -> dict[str, list[Box]]:
    files = sorted(folder.rglob("*.xml"))
    if not files:
        raise ArgumentError(f"boxes: no XML file in the folder {folder.name!r}")
    found: dict[str, list[Box]] = {}
    for file in files:
        try:
            root = ElementTree.parse(file).getroot()
            boxes = []
            for box in root.iter("bndbox"):
                left, top, right, bottom = (
                    float(box.findtext(side) or "") for side in ("xmin", "ymin", "xmax", "ymax")
                )
                boxes.append((left - 1, top - 1, right, bottom))  # VOC counts from 1, both ends in
        except (ElementTree.ParseError, ValueError) as error:
            raise ArgumentError(
                f"boxes {file.name!r}: expected Pascal VOC's form, bndbox with xmin, ymin, xmax "
                f"and ymax ({error})"
            ) from error
        found[file.relative_to(folder).as_posix()] = boxes
    return found


def _stem(name: str) -> str:
    """A name without its ending."""
    return name.rpartition(".")[0] if "." in Path(name).name else name
