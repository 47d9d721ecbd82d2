"""What is raised for a wrong argument, to be caught by name, and how its message finds a name.

Example::

    >>> from captum_cnn_ext.errors import ArgumentError
    >>> from captum_cnn_ext.metrics import bootstrap
    >>> try:
    ...     bootstrap([0.2, 0.4], resamples=0)
    ... except ArgumentError as error:
    ...     print(error)
    resamples=0: expected an integer of at least 1
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ArgumentError", "TargetError", "choose", "nearest"]

_MOST_NEAR = 3
_LIKE = 0.5  # the share of letters that two names have in common, in the same order


class ArgumentError(ValueError, AssertionError):
    """A wrong argument: a ``ValueError``, and the ``AssertionError`` that Captum raises for it."""


class TargetError(ArgumentError, IndexError):
    """A ``target`` that the model's output does not have (Captum: AssertionError, IndexError)."""


def nearest(name: str, options: Iterable[str]) -> str:
    """A hint ``"; nearest: 'a', 'b'"`` for a misspelt name, whatever its case, or nothing."""
    known = {option.lower(): option for option in options}
    return _hint(known[near] for near in _close(name.lower(), known))


def nearest_file(name: str, options: Iterable[str]) -> str:
    """`nearest` for the name of a file: that endings are alike does not make it near."""
    known: dict[str, list[str]] = {}
    for option in options:
        known.setdefault(Path(option).stem.lower(), []).append(option)
    return _hint(one for near in _close(Path(name).stem.lower(), known) for one in known[near])


def _close(name: str, options: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, list(options), n=_MOST_NEAR, cutoff=_LIKE)


def _hint(names: Iterable[str]) -> str:
    close = list(names)[:_MOST_NEAR]
    return f"; nearest: {', '.join(map(repr, close))}" if close else ""


def install(extra: str) -> str:
    """The command that brings what an optional part of the package needs."""
    return f"pip install -e '.[{extra}]' in the repository"


@contextmanager
def needing(what: str, extra: str) -> Iterator[None]:
    """Import an optional package in the block; where it is missing, say what brings it.

    Raises:
        ImportError: ``what``, such as "reports need Jinja2", and the command that installs it.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{what}: {install(extra)}") from error


def choose(parameter: str, value: str, options: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``options``, else raise naming the nearest."""
    if not isinstance(value, str) or value not in options:
        raise ArgumentError(
            f"{parameter}={value!r}: expected one of {', '.join(map(repr, options))}"
            f"{nearest(str(value), options)}"
        )
    return value
