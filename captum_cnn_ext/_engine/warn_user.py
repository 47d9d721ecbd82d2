"""Warnings that point at the user's line, however deep in this package they are raised."""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path

_OURS = Path(__file__).parents[1]
_BETWEEN = [find_spec(name) for name in ("captum", "torch")]  # they call us, or decorate our calls
_FOLDERS = (_OURS, *(Path(found.origin).parent for found in _BETWEEN if found and found.origin))
_SKIPPED = (*(f"{folder}/" for folder in _FOLDERS), contextlib.__file__)

_said: ContextVar[set[str] | None] = ContextVar("_said", default=None)


@contextlib.contextmanager
def each_warning_once() -> Iterator[None]:
    """In this block, and in such blocks within it, `warn_user` says the same words once."""
    if _said.get() is not None:
        yield
        return
    before = _said.set(set())
    try:
        yield
    finally:
        _said.reset(before)


def warn_user(message: str) -> None:
    """A ``UserWarning`` at the first line on the way up that is not this package's,
    Captum's or PyTorch's."""
    said = _said.get()
    if said is not None:
        if message in said:
            return
        said.add(message)
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_SKIPPED):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
