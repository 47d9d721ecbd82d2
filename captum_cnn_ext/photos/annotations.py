"""Objects on photos, read from and written to COCO's JSON and Pascal VOC's XML."""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from xml.etree import ElementTree
from xml.parsers import expat

import torch
from torch import Tensor

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.whole_files import write_together, write_whole
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.photos.coco_masks import encoded, polygon_mask, run_length_mask

__all__ = ["AnnotatedObject", "read_annotations", "write_coco", "write_voc"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the photo, the last two excluded."""
Where = str | os.PathLike[str]


class Boxed(Protocol):
    """What can be written: it has a box; a ``mask`` (H, W) and a ``label`` where there are some."""

    @property
    def box(self) -> Box: ...


@dataclass(frozen=True)
class AnnotatedObject:
    """One object on a photo.

    Args:
        box: left, top, right, bottom in pixels of the photo; right and bottom are excluded.
        label: the name of its class.
        score: of a detector, where there is one.
        segmentation: as COCO has it: polygons, or run lengths.
        size: (height, width) of the photo, which run lengths and polygons are for.
    """

    box: Box
    label: str = ""
    score: float | None = None
    segmentation: Any = None
    size: tuple[int, int] | None = None

    __repr__ = brief

    @property
    def mask(self) -> Tensor | None:
        """(H, W), True on the object; None where only its box is known.

        Raises:
            ArgumentError: the segmentation is of no form that COCO has.
        """
        if not self.segmentation:
            return None
        if isinstance(self.segmentation, Mapping):
            return run_length_mask(self.segmentation)
        if self.size is None:
            raise ArgumentError(
                "segmentation: its photo's width and height are not in the file, so it has no mask"
            )
        return polygon_mask(self.segmentation, self.size)


Objects = dict[str, list[AnnotatedObject]]
"""Objects by the photo's name."""


def read_annotations(source: Where, *, parameter: str = "source") -> Objects:
    """The objects on each photo, by the photo's name in a COCO file, or by the name of a VOC file.

    COCO counts pixels from 0 with width and height. VOC counts from 1 with the last pixel included;
    here both are as COCO's edges are. A photo without an object has an empty list.

    Args:
        source: a COCO JSON file, a Pascal VOC XML file, or a folder of these, at any depth; its
            files' names are relative to the folder.
        parameter: what an error calls the source.

    Raises:
        ArgumentError: there is no such file, it has another form, or an XML file declares a
            document type, by which it could ask for other files or grow without bound.

    Example::

        >>> import tempfile
        >>> from captum_cnn_ext.photos import AnnotatedObject, read_annotations, write_coco
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cat = AnnotatedObject((10, 20, 110, 70), "cat")
        ...     write_coco(f"{folder}/boxes.json", {"a.jpg": [cat]}, {"a.jpg": (80, 120)})
        ...     read_annotations(f"{folder}/boxes.json")["a.jpg"][0].box
        (10.0, 20.0, 110.0, 70.0)
    """
    path = Path(source)
    if path.is_dir():
        files = sorted(path.rglob("*.xml"))
        if not files:
            raise ArgumentError(f"{parameter}: no XML file in the folder {path.name!r}")
        return {file.relative_to(path).as_posix(): _voc(file, parameter) for file in files}
    if not path.is_file():
        raise ArgumentError(f"{parameter}: there is no file or folder {str(source)!r}")
    return {path.name: _voc(path, parameter)} if path.suffix == ".xml" else _coco(path, parameter)


def _coco(file: Path, parameter: str) -> Objects:
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        images = {image["id"]: image for image in content["images"]}
        classes = {one["id"]: str(one["name"]) for one in content.get("categories") or ()}
        found: Objects = {str(image["file_name"]): [] for image in images.values()}
        for entry in content["annotations"]:
            image = images[entry["image_id"]]
            left, top, width, height = map(float, entry["bbox"])
            label = entry.get("category_id")
            score = entry.get("score")
            one = AnnotatedObject(
                _box(left, top, left + width, top + height),
                classes.get(label, "" if label is None else str(label)),
                None if score is None else float(score),
                entry.get("segmentation"),
                (int(image["height"]), int(image["width"])) if "height" in image else None,
            )
            found[str(image["file_name"])].append(one)
        return found
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"{parameter} {file.name!r}: expected COCO's form, images with id and file_name and "
            f"annotations with image_id and bbox ({type(error).__name__}: {error})"
        ) from error


def _voc(file: Path, parameter: str) -> list[AnnotatedObject]:
    try:
        root = _parsed(file.read_bytes())
        if root.tag != "annotation":
            raise ValueError(f"its root is <{root.tag}>")
        size = [root.findtext(f"size/{side}") for side in ("height", "width")]
        shape = None if None in size else (round(float(size[0] or "")), round(float(size[1] or "")))
        found = []
        for one in root.iter("object"):
            left, top, right, bottom = (
                float(one.findtext(f"bndbox/{side}") or "")
                for side in ("xmin", "ymin", "xmax", "ymax")
            )
            edges = _box(left - 1, top - 1, right, bottom)
            found.append(AnnotatedObject(edges, one.findtext("name") or "", size=shape))
        return found
    except (expat.ExpatError, OverflowError, ValueError) as error:
        raise ArgumentError(
            f"{parameter} {file.name!r}: expected Pascal VOC's form, bndbox with xmin, ymin, xmax "
            f"and ymax ({error})"
        ) from error


def _box(*edges: float) -> Box:
    if not all(map(math.isfinite, edges)):
        raise ValueError(f"a box is {edges}")
    return edges[0], edges[1], edges[2], edges[3]


def _parsed(content: bytes) -> ElementTree.Element:
    """The root of an XML file without a document type: no entities, no other files."""
    builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate()

    def refuse(*_: Any) -> None:
        raise ValueError("it declares a document type, which no annotation needs")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(content, True)
    return builder.close()


def write_coco(
    path: Where,
    objects: Mapping[str, Sequence[Boxed]],
    sizes: Mapping[str, tuple[int, int]] | None = None,
    *,
    label: str = "object",
) -> None:
    """Write objects, such as regions of a map, as a COCO JSON file; masks as run lengths.

    Args:
        path: the file, whole or not there afterwards.
        objects: by the photo's name, objects with a ``box`` and, if they have one, a ``mask``, a
            ``label`` and a ``score``.
        sizes: (height, width) of each photo, where no mask says it.
        label: the class of an object that has none.

    Raises:
        ArgumentError: the size of a photo is not known.
        OSError: the file cannot be written.
    """
    listed = [(one, _label(one, label)) for found in objects.values() for one in found]
    classes = {name: number for number, name in enumerate(sorted({n for _, n in listed}), 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, found) in enumerate(objects.items(), 1):
        height, width = _size(name, found, sizes)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for one in found:
            left, top, right, bottom = map(float, one.box)
            mask, score = getattr(one, "mask", None), getattr(one, "score", None)
            area = (right - left) * (bottom - top) if mask is None else float(mask.sum())
            entry = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": classes[_label(one, label)],
                "bbox": [left, top, right - left, bottom - top],
                "area": area,
                "iscrowd": 0,
                **({} if mask is None else {"segmentation": encoded(mask)}),
                **({} if score is None else {"score": float(score)}),
            }
            annotations.append(entry)
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in classes.items()],
    }
    write_whole(Path(path), json.dumps(content).encode())


def write_voc(
    folder: Where,
    objects: Mapping[str, Sequence[Boxed]],
    sizes: Mapping[str, tuple[int, int]] | None = None,
    *,
    label: str = "object",
) -> None:
    """Write the boxes of objects as Pascal VOC's XML files, one a photo, with the photo's name.

    VOC counts pixels from 1 and has whole ones: edges are rounded to the nearest.

    Args:
        folder: where the files go; it is made where it is not there.
        objects, sizes, label: as in `write_coco`.

    Raises:
        ArgumentError: the size of a photo is not known, or its name leads out of the folder.
        OSError: a file cannot be written.
    """
    files: dict[Path, bytes | Callable[..., object]] = {}
    for name, found in objects.items():
        parts = PurePosixPath(name).parts
        if ".." in parts or Path(name).is_absolute() or not parts:
            raise ArgumentError(f"objects: the photo's name {name!r} leads out of the folder")
        height, width = _size(name, found, sizes)
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = parts[-1]
        size = ElementTree.SubElement(root, "size")
        for tag, value in (("width", width), ("height", height), ("depth", 3)):
            ElementTree.SubElement(size, tag).text = str(value)
        for one in found:
            entry = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(entry, "name").text = _label(one, label)
            box = ElementTree.SubElement(entry, "bndbox")
            left, top, right, bottom = map(round, one.box)
            edges = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
            for tag, edge in edges.items():
                ElementTree.SubElement(box, tag).text = str(edge)
        target = Path(folder, *parts).with_suffix(".xml")
        if target in files:
            raise ArgumentError(f"objects: two photos are called {target.stem!r}")
        files[target] = ElementTree.tostring(root)
    for target in files:
        target.parent.mkdir(parents=True, exist_ok=True)
    write_together(files)


def _label(one: Boxed, label: str) -> str:
    return str(getattr(one, "label", "") or label)


def _has(one: Any, name: str) -> bool:
    return getattr(one, name, None) is not None


def _size(
    name: str, found: Sequence[Any], sizes: Mapping[str, tuple[int, int]] | None
) -> tuple[int, int]:
    """(height, width) of a photo."""
    known: list[Any] = [(sizes or {}).get(name)]
    known += [torch.as_tensor(one.mask).shape for one in found if _has(one, "mask")]
    known += [one.size for one in found if _has(one, "size")]
    given = next((size for size in known if size is not None), None)
    if given is None:
        raise ArgumentError(
            f"sizes: the size of {name!r} is not known; pass sizes={{{name!r}: (height, width)}}"
        )
    return int(given[0]), int(given[1])
