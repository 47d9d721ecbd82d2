"""Where reports and pictures may be written."""

import os
from pathlib import Path
from typing import NamedTuple

from captum_cnn_ext._engine.whole_files import writable_path
from captum_cnn_ext.errors import ArgumentError

SUFFIXES = (".html", ".htm")


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
