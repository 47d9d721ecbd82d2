"""Pictures that commands write: judged before the work, whole or not there afterwards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_cnn_ext.cli import arguments, parsing
from captum_cnn_ext.cli.parsing import DONE, INCOMPLETE, PROGRAM, one_line, usage_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def checked_picture(out: str, option: str = "out") -> Path:
    """The path of a picture that can be written.

    Raises:
        UsageError: another ending, or a folder that is missing or not writable.
    """
    from captum_cnn_ext._engine.whole_files import PICTURES, writable_path

    with usage_errors():
        return writable_path(out, PICTURES, f"--{option} {out}")


def write_picture(figure: Figure, out: str, option: str = "out") -> int:
    """Write a figure under a temporary name, rename it, say so."""
    from captum_cnn_ext._engine.whole_files import write_figure

    path = checked_picture(out, option)
    with arguments.writing(out, option):
        write_figure(figure, path)
    print(f"picture: {path}")
    return DONE


def add_overlays(parser: Any) -> None:
    """The argument for maps over whole photos."""
    words = "also write each map over its whole photo, at its size, into this folder"
    parsing.add_value(parser, "--overlays", "FOLDER", words)


def write_overlays(found: Any, folder: str | None, **options: Any) -> int:
    """Write the maps of a comparison or an audit over whole photos; say where, or why not."""
    if folder is None:
        return DONE
    try:
        files = found.save_overlays(folder, **options)
    except (ValueError, OSError) as error:
        print(f"{PROGRAM}: no overlays: {one_line(error)}", file=sys.stderr)
        return INCOMPLETE
    print(f"overlays: {len(files)} in {folder}")
    return DONE
