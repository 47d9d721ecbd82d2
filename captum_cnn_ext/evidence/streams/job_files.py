"""Files of a streaming job: packed, read without running anything, of one model only."""

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from captum_cnn_ext.errors import ArgumentError

Arrays = dict[str, npt.NDArray[Any]]
VERSION = 1


def packed(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as the bytes of an ``.npz``; the same arrays give the same bytes."""
    file = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez_compressed(file, **named)
    return file.getvalue()


def unpacked(path: Path, what: str) -> Arrays:
    """The arrays of an ``.npz``; nothing in it is run.

    Raises:
        ArgumentError: the file is damaged or no ``.npz``.
        FileNotFoundError: there is none.
    """
    if not path.exists():
        raise FileNotFoundError(f"{what}: there is no file {path.name!r}")
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # damaged files raise many kinds
        raise ArgumentError(
            f"{what} {path.name!r}: cannot be read, it is damaged or no such file "
            f"({type(error).__name__})"
        ) from error


def judge_settings(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse to go on from a checkpoint of another job.

    Raises:
        ArgumentError: it differs; the message says in what.
    """
    other = [
        "another model or other weights" if key == "model" else
        f"{key} {found.get(key)!r} instead of {value!r}"
        for key, value in expected.items()
        if found.get(key) != value
    ]  # fmt: skip
    if other:
        raise ArgumentError(
            f"checkpoint {path.name!r}: was made by another job ({'; '.join(other)}); delete it to "
            "begin anew, or name another file"
        )


def as_json(value: Any) -> bytes:
    """Readable and always the same for the same value."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def cut(image: Tensor, box: Sequence[Sequence[int]], pad: float | None = None) -> Tensor:
    """The pixels of a box [[top, bottom], [left, right]]; ``pad`` stands for those outside."""
    (top, bottom), (left, right) = box
    if pad is None:
        return image[:, max(top, 0) : bottom, max(left, 0) : right]
    height, width = image.shape[-2:]
    result = image.new_full((len(image), bottom - top, right - left), pad)
    inside = image[:, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    row, column = max(-top, 0), max(-left, 0)
    result[:, row : row + inside.shape[1], column : column + inside.shape[2]] = inside
    return result


def npz_path(path: str | os.PathLike[str]) -> Path:
    """``path`` as one, if it names an archive of arrays."""
    target = Path(path)
    if target.suffix != ".npz":
        raise ArgumentError(f"path={target.name!r}: expected a file name that ends in .npz")
    return target
