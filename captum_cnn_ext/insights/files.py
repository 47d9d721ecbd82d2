"""Two files that appear together, whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from matplotlib.figure import Figure

from captum_cnn_ext._engine.arguments import ArgumentError

Writer = Callable[[BinaryIO], object]
SUFFIXES = (".html", ".htm")
PIXELS_PER_INCH = 150
PICTURES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")


def report_paths(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """The report's path and that of the arrays beside it, if both can be written.

    Raises:
        ArgumentError: not an HTML name, a folder, or a folder that is missing or not writable.
    """
    report = writable_path(path, SUFFIXES)
    arrays = report.with_suffix(".npz")
    if arrays.is_dir():
        raise ArgumentError(f"out={str(path)!r}: {str(arrays)!r} is a folder")
    return report, arrays


def writable_path(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> Path:
    """The path, if its name ends in one of the suffixes and it can be written.

    Raises:
        ArgumentError: another ending, a folder, or a folder that is missing or not writable.
    """
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        raise ArgumentError(
            f"out={str(path)!r}: expected a file name that ends in {' or '.join(suffixes)}"
        )
    folder = target.parent
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ArgumentError(f"out={str(path)!r}: the folder {str(folder)!r} {what}; make it first")
    if target.is_dir():
        raise ArgumentError(f"out={str(path)!r}: it is a folder")
    try:
        trial = _beside(target)
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise ArgumentError(
            f"out={str(path)!r}: cannot write into the folder {str(folder)!r} ({error.strerror})"
        ) from error
    return target


def write_figure(figure: Figure, path: Path) -> None:
    """Save a picture, whole or not at all, in the format that its name says."""
    kind = path.suffix.lower().removeprefix(".")
    write_together((path, lambda file: figure.savefig(file, format=kind, dpi=PIXELS_PER_INCH)))


def write_together(*files: tuple[Path, Writer]) -> None:
    """Write every file under a temporary name, then rename all; on any failure remove them."""
    waiting: list[tuple[Path, Path]] = []
    try:
        for target, write in files:
            partial = _beside(target)
            waiting.append((partial, target))
            with open(partial, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
        for partial, target in waiting:
            partial.replace(target)
    finally:
        for partial, _ in waiting:
            partial.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
