"""Warnings that point at the user's line, however deep in this package they are raised."""

import contextlib
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

_OURS = Path(__file__).parents[1]
_BETWEEN = [find_spec(name) for name in ("captum", "torch")]  # they call us, or decorate our calls
_FOLDERS = (_OURS, *(Path(found.origin).parent for found in _BETWEEN if found and found.origin))
_SKIPPED = (*(f"{folder}/" for folder in _FOLDERS), contextlib.__file__)


def warn_user(message: str) -> None:
    """A ``UserWarning`` at the first line on the way up that is not this package's,
    Captum's or PyTorch's."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_SKIPPED):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
