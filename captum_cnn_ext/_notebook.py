"""How a result is drawn: in a notebook, and into a file; and how a text looks in a notebook."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Arguments = Callable[[Any], tuple[Any, ...]]


def drawn_by(drawing: str, arguments: Arguments) -> Callable[[Any], bytes | None]:
    """A ``_repr_png_``: what the function ``drawing`` of `render` makes of the result's arguments.

    None where the function cannot draw such a result (signals); the notebook then shows the result
    in words.
    """

    def png(result: Any) -> bytes | None:
        try:
            figure: Any = _figure(drawing, arguments(result))
        except (TypeError, ValueError):
            return None
        return figure._repr_png_()  # type: ignore[no-any-return]

    return png


def saved_by(drawing: str, arguments: Arguments) -> Callable[[Any, str | os.PathLike[str]], Path]:
    """A method ``save``: the same picture in a file."""

    def save(self: Any, path: str | os.PathLike[str]) -> Path:
        """Write the picture that a notebook shows, whole or not at all.

        Args:
            path: a file that ends in .png, .jpg, .pdf, .svg or .webp.

        Raises:
            ArgumentError: another ending, or its folder cannot be written to; signals, which have
                no picture.
        """
        return write_drawing(path, drawing, arguments(self))

    return save


def write_drawing(
    path: str | os.PathLike[str], drawing: str, given: tuple[Any, ...], **options: Any
) -> Path:
    """Write what the function ``drawing`` of `render` makes of its arguments.

    Raises:
        ArgumentError: the file cannot be written, or there is no such picture.
    """
    files = importlib.import_module("captum_cnn_ext._engine.whole_files")
    target: Path = files.writable_path(path, files.PICTURES)
    try:
        figure = _figure(drawing, given, **options)
    except files.ArgumentError:  # it names the argument
        raise
    except (TypeError, ValueError) as error:
        raise files.ArgumentError(f"path={str(path)!r}: no picture of this: {error}") from error
    files.write_figure(figure, target)
    return target


def _figure(drawing: str, given: tuple[Any, ...], **options: Any) -> Figure:
    if getattr(given[0], "ndim", 4) != 4:  # one signal (1, C, L) would be read as a picture
        raise ValueError(f"expected images (N, C, H, W), got {tuple(given[0].shape)}")
    draw = getattr(importlib.import_module("captum_cnn_ext.render"), drawing)
    figure: Figure = draw(*given, use_pyplot=False, **options)[0]
    return figure


def as_markdown(text: str) -> str:
    """A text as Markdown that says just this: names may hold marks of it, or HTML."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)
