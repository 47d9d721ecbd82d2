"""Labelled photos: a folder for each class, or a table; with masks or boxes of the objects."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.errors import ArgumentError, nearest
from captum_cnn_ext.photos.object_masks import ObjectMasks, object_masks
from captum_cnn_ext.photos.pictures import picture_files, read_picture

if TYPE_CHECKING:
    from PIL import Image

Where = str | os.PathLike[str]
SHOWN = 3  # names in a message


@dataclass(frozen=True, eq=False, repr=False)
class LabelledPhotos(Dataset[Any]):
    """Photos with the class of each, read when needed; samples are (picture, label).

    With ``masks`` samples are (picture, label, mask): a picture that is not 0 on the object, None
    where there is none, or a text that says why it cannot be used.

    Args:
        files: where the photos are.
        names: of the photos, as their folder or table has them.
        labels: the index of each photo's class.
        classes: names of classes by index.
        groups: a word for each photo, such as the hospital it is from; empty without.
        masks: of the objects.
        notes: how labels were understood and what was passed over, for a report.
        by_order: whether nothing but the order of their names says which index a class has.
    """

    files: Sequence[Path]
    names: Sequence[str]
    labels: Sequence[int]
    classes: Sequence[str]
    groups: Sequence[str] = ()
    masks: ObjectMasks | None = None
    notes: Sequence[str] = field(default=())
    by_order: bool = False

    __repr__ = brief

    def __str__(self) -> str:
        return f"{len(self)} photos of {len(set(self.labels))} classes"

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        picture, label = self.picture(index), self.labels[index]
        if self.masks is None:
            return picture, label
        return picture, label, self.masks.mask(self.names[index], picture.size)

    def picture(self, index: int) -> Image.Image:
        """One photo, upright and RGB; raises what reading it raises."""
        return read_picture(self.files[index])


def labelled_photos(
    folder: Where,
    *,
    labels: Where | None = None,
    masks: Where | None = None,
    boxes: Where | None = None,
    class_names: Sequence[str] | None = None,
) -> LabelledPhotos:
    """The photos of a folder with their labels.

    Without ``labels`` every folder in ``folder`` is a class and holds its photos, at any depth, as
    torchvision's ``ImageFolder`` has it. Classes that are named as the model names them get the
    model's index. Where all are numbers, these are the indices: a folder ``207`` holds photos of
    the model's output 207. Else they are numbered in the order of their names, as ``ImageFolder``
    does. A class without photos keeps its number. ``notes`` say which of these was done.

    Args:
        folder: where the photos are.
        labels: a CSV table with a head ``path,label`` or ``path,label,group``; paths are relative
            to ``folder``. A label is what a folder's name is.
        masks: a folder of pictures named as the photos, not 0 on the object.
        boxes: instead of masks a COCO JSON file, or a folder of Pascal VOC's XML files.
        class_names: as the model has them.

    Raises:
        ArgumentError: there is no such folder or file, no photo, or a label that names no class.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from captum_cnn_ext.photos import labelled_photos
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("cat", "dog"):
        ...         Path(folder, name).mkdir()
        ...         Image.new("RGB", (8, 8)).save(Path(folder, name, "1.png"))
        ...     photos = labelled_photos(folder)
        >>> photos.names, photos.labels, photos.classes
        (['cat/1.png', 'dog/1.png'], [0, 1], ['cat', 'dog'])
    """
    root = Path(folder)
    if not root.is_dir():
        raise ArgumentError(f"data: there is no folder {str(folder)!r}")
    if labels is None:
        files, given, notes = _by_folder(root)
        groups: list[str] = []
        known = sorted(entry.name for entry in root.iterdir() if _is_class(entry))
    else:
        files, given, groups, notes = _by_table(root, Path(labels))
        known = sorted(set(given))
    kind = "data" if labels is None else "labels"
    classes, indices, note, by_order = _numbered(known, class_names, kind)
    found = object_masks(masks, boxes)
    names = [file.relative_to(root).as_posix() for file in files]
    if found is not None and not any(found.has(name) for name in names):
        raise ArgumentError(
            f"{'masks' if masks is not None else 'boxes'}: none is named as a photo; photos are "
            f"named such as {names[0]!r}"
        )
    return LabelledPhotos(
        files,
        names,
        [indices[label] for label in given],
        classes,
        groups,
        found,
        [*notes, *([note] if note else [])],
        by_order,
    )


def _is_class(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith(".")


def _by_folder(root: Path) -> tuple[list[Path], list[str], list[str]]:
    folders = sorted(entry for entry in root.iterdir() if _is_class(entry))
    if not folders:
        raise ArgumentError(
            f"data: {root.name!r} holds no folder; expected one for each class, or a table with "
            "labels="
        )
    files: list[Path] = []
    labels: list[str] = []
    empty: list[str] = []
    for folder in folders:
        found = picture_files(folder, recursive=True)
        files += found
        labels += [folder.name] * len(found)
        empty += [] if found else [folder.name]
    if not files:
        raise ArgumentError(f"data: no picture file in the class folders of {root.name!r}")
    notes = [f"Classes without a photo: {_few(empty)}."] if empty else []
    loose = len(picture_files(root))
    if loose:
        notes.append(f"{loose} pictures lie beside the class folders and were passed over.")
    return files, labels, notes


def _by_table(root: Path, table: Path) -> tuple[list[Path], list[str], list[str], list[str]]:
    if not table.is_file():
        raise ArgumentError(f"labels: there is no file {str(table)!r}")
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ArgumentError(f"labels {table.name!r}: no CSV table in UTF-8 ({error})") from error
    head = list(rows[0]) if rows else []
    if "path" not in head or "label" not in head:
        raise ArgumentError(
            f"labels {table.name!r}: expected the columns path and label (and group), got "
            f"{', '.join(map(str, head)) or 'no row'}"
        )
    lame = [n for n, row in enumerate(rows, 2) if not row["path"] or not row["label"]]
    if lame:
        raise ArgumentError(f"labels {table.name!r}: line {lame[0]} lacks a path or a label")
    twice = [path for path, n in Counter(row["path"] for row in rows).items() if n > 1]
    notes = [f"Photos that the table has several times: {_few(twice)}."] if twice else []
    groups = [row["group"] or "" for row in rows] if "group" in head else []
    return [root / row["path"] for row in rows], [row["label"] for row in rows], groups, notes


def _numbered(
    given: list[str], class_names: Sequence[str] | None, kind: str
) -> tuple[list[str], dict[str, int], str, bool]:
    """Names by index, the index of each label, how that was decided, and whether by order."""
    names = list(class_names or ())
    strange = [label for label in given if label not in names]
    if names and not strange:
        return names, {label: names.index(label) for label in given}, "", False
    if names and len(strange) < len(given):
        raise ArgumentError(
            f"{kind}: {_few(strange)} {_names(strange)} no class of the model"
            f"{nearest(strange[0], names)}"
        )
    if all(label.isdecimal() for label in given):
        return *_by_index({label: int(label) for label in given}, names, kind), False
    if names and len(given) != len(names):
        raise ArgumentError(
            f"{kind}: {len(given)} classes, the model has {len(names)}; {_few(given)} "
            f"{_names(given)} no class of it{nearest(given[0], names)}. Name folders and labels "
            f"as the model names its classes ({_few(names)}), or take a network that has yours"
        )
    note = "Classes are numbered in the order of their names, as torchvision's ImageFolder does."
    if names:
        note = f"None of the classes is named as the model names its own ({_few(names)}). {note}"
    return given, {label: index for index, label in enumerate(given)}, note, True


def _by_index(
    found: dict[str, int], names: list[str], kind: str
) -> tuple[list[str], dict[str, int], str]:
    """The same for labels that are numbers: indices of the model's outputs."""
    above = [label for label, index in found.items() if names and index >= len(names)]
    if above:
        raise ArgumentError(
            f"{kind}: {_few(above)} {_names(above)} no class; numbers are indices of the model's "
            f"outputs, and it has {len(names)}, from 0. Where classes are called by other numbers, "
            "name them in the order of the outputs (class_names=, --class-names)"
        )
    what = "Class folders" if kind == "data" else "Labels"
    note = f"{what} are numbers, taken as the indices of the model's outputs."
    if sorted(found) != sorted(found, key=found.__getitem__):
        note += (
            " A network that was trained on torchvision's ImageFolder numbers them as texts ('10' "
            "before '2'): name the classes in that order then (class_names=, --class-names)."
        )
    count = len(names) or max(found.values()) + 1
    return names or [f"class {index}" for index in range(count)], found, note


def _names(labels: Sequence[str]) -> str:
    return "names" if len(labels) == 1 else "name"


def _few(names: Sequence[str]) -> str:
    shown = names if len(names) == SHOWN + 1 else names[:SHOWN]
    more = f" and {len(names) - SHOWN} more" if len(names) > len(shown) else ""
    return ", ".join(repr(name) for name in shown) + more
