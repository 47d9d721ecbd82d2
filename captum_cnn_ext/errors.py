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

__all__ = ["ArgumentError", "TargetError", "choose", "nearest"]


class ArgumentError(ValueError, AssertionError):
    """A wrong argument: a ``ValueError``, and the ``AssertionError`` that Captum raises for it."""


class TargetError(ArgumentError, IndexError):
    """A ``target`` that the model's output does not have (Captum: AssertionError, IndexError)."""


def nearest(name: str, options: Iterable[str]) -> str:
    """A hint ``"; nearest: 'a', 'b'"`` for a misspelt name, or an empty string."""
    close = difflib.get_close_matches(name, list(options), n=3, cutoff=0.4)
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
