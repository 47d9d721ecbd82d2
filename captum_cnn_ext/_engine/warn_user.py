"""Warnings that point at the user's line, however deep in this package they are raised."""

import contextlib
import sys
import warnings
from pathlib import Path

_OURS = str(Path(__file__).parents[1])
_BETWEEN = (contextlib.__file__,)  # generators of ours, and decorators, run in there


def warn_user(message: str) -> None:
    """A ``UserWarning`` at the first line on the way up that is not this package's."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def _is_ours(file: str) -> bool:
    return file.startswith(_OURS) or file in _BETWEEN
