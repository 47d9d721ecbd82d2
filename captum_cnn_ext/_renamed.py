"""Old spellings of arguments, which work for one more version with a warning."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def renamed(**successors: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take ``old=`` for ``new=``: ``@renamed(old="new")``."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def with_old_spellings(*args: P.args, **kwargs: P.kwargs) -> R:
            for old in successors.keys() & kwargs.keys():
                warn_renamed(f"{old}=", f"{successors[old]}=")
                kwargs.setdefault(successors[old], kwargs.pop(old))
            return function(*args, **kwargs)

        return with_old_spellings

    return decorate


def warn_renamed(old: Any, new: Any, stacklevel: int = 3) -> None:
    warnings.warn(
        f"{old} is the old spelling of {new} and goes away in the next version",
        DeprecationWarning,
        stacklevel=stacklevel,
    )
