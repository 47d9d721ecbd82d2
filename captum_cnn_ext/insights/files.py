"""Where reports and pictures may be written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from captum_cnn_ext._engine.judging.arguments import ArgumentError
from captum_cnn_ext._engine.whole_files import beside, write_whole

SUFFIXES = (".html", ".htm")
PIXELS_PER_INCH = 150
PICTURES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")


class ReportPaths(NamedTuple):
    """Where a report and what belongs to it go."""

    report: Path
    arrays: Path
    manifest: Path
    tables: Path
    images: Path


def report_paths(path: str | os.PathLike[str]) -> ReportPaths:
    """The report's path and what is beside it, if all can be written.

    Raises:
        ArgumentError: not an HTML name, a folder, or a folder that is missing or not writable;
            or a folder of ours that holds other files, which would be lost.
    """
    report = writable_path(path, SUFFIXES)
    endings = (".npz", ".manifest.json", ".tables", ".images")
    paths = ReportPaths(report, *(report.with_name(report.stem + ending) for ending in endings))
    for file in (paths.arrays, paths.manifest):
        if file.is_dir():
            raise ArgumentError(f"out={str(path)!r}: {str(file)!r} is a folder")
    for folder, suffix in ((paths.tables, ".csv"), (paths.images, ".webp")):
        if folder.exists() and not folder.is_dir():
            raise ArgumentError(f"out={str(path)!r}: {str(folder)!r} is a file")
        strange = [f.name for f in _content(folder) if f.suffix != suffix or f.is_dir()]
        if strange:
            raise ArgumentError(
                f"out={str(path)!r}: the folder {str(folder)!r} would be replaced, but holds "
                f"{strange[0]!r}, which no report wrote; move it away"
            )
    return paths


def _content(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


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
        trial = beside(target)
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
    write_whole(path, lambda file: figure.savefig(file, format=kind, dpi=PIXELS_PER_INCH))
