"""How a result looks in a notebook: a picture that `render` draws when it is shown, or a text."""

import importlib
import re
from collections.abc import Callable
from typing import Any


def drawn_by(
    drawing: str, arguments: Callable[[Any], tuple[Any, ...]]
) -> Callable[[Any], bytes | None]:
    """A ``_repr_png_``: what the function ``drawing`` of `render` makes of the result's arguments.

    None where the function cannot draw such a result (signals, pictures of five channels); the
    notebook then shows the result in words.
    """

    def png(result: Any) -> bytes | None:
        given = arguments(result)
        if getattr(given[0], "ndim", 4) != 4:
            return None  # one signal (1, C, L) would be read as a picture
        draw = getattr(importlib.import_module("captum_cnn_ext.render"), drawing)
        try:
            figure, _ = draw(*given, use_pyplot=False)
        except (TypeError, ValueError):
            return None
        return figure._repr_png_()  # type: ignore[no-any-return]

    return png


def as_markdown(text: str) -> str:
    """A text as Markdown that says just this: names may hold marks of it, or HTML."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)
