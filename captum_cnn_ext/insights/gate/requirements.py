"""Requirements: their names, what each may be set to, and reading them from TOML."""

import os
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captum_cnn_ext.errors import ArgumentError, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Kind:
    """One requirement that can be set.

    Args:
        takes: ``"share"`` (a number from 0 to 1), ``"shares"`` (the same, or a table by name),
            ``"true"``, or ``"true or share"``.
        words: what it demands, for the template.
        example: its line in the template.
        needs: what the audit has to be made with, "" where nothing.
    """

    takes: str
    words: str
    example: str
    needs: str = ""


KINDS = {
    "accuracy": Kind("share", "the share of images that are right, at least", "0.90"),
    "class-accuracy": Kind(
        "shares",
        "the share of each class's images that is found, at least; or "
        '{ default = 0.8, "cat" = 0.9 }',
        "0.80",
    ),
    "group-accuracy": Kind(
        "shares", "the share of each group's images that is right, at least", "0.75", "groups"
    ),
    "calibration": Kind("share", "how far confidence may be off on average (ECE)", "0.10"),
    "no-shortcut": Kind(
        "true", "no class follows a tested shortcut when it is put on other images", "true", "tests"
    ),
    "evidence-on-objects": Kind(
        "true or share",
        "true: no class has its evidence beside the object; or the share of each class's right "
        "answers whose strongest evidence is on it, at least",
        "true",
        "masks",
    ),
    "not-worse-than-before": Kind(
        "true or share",
        "true: accuracy has not fallen since the older model beyond chance; or the largest fall",
        "0.01",
        "against",
    ),
    "class-not-worse-than-before": Kind(
        "true or share", "the same for each class", "true", "against"
    ),
    "looks-where-it-did": Kind(
        "true or share",
        "true: no class has its evidence elsewhere than in the older model beyond chance (give "
        "--twin to measure chance); or the largest share of a class's evidence that may have moved",
        "true",
        "against",
    ),
}
"""By name; the names are those of the audit's findings."""

NEEDS = {
    "groups": "groups of the images (a third column of --labels)",
    "tests": "the tests of shortcuts, which were left out",
    "masks": "masks or boxes of the objects (--masks, --boxes)",
    "against": "an older model (--against)",
}


@dataclass(frozen=True)
class Requirements:
    """What is required, by name, with the line of the file where each stands."""

    wanted: Mapping[str, Any]
    lines: Mapping[str, int]
    file: str = "requirements.toml"


def template() -> str:
    """A file of all requirements, to be cut down.

    Example::

        >>> from captum_cnn_ext.insights.gate.requirements import template
        >>> print(template().splitlines()[3])
        accuracy = 0.90
    """
    parts = [
        "# What a model must keep; captum-cnn-ext check reads it. Delete what you do not need."
    ]
    for name, kind in KINDS.items():
        need = f" Needs {NEEDS[kind.needs]}." if kind.needs not in ("", "tests") else ""
        said = textwrap.wrap(f"{kind.words[0].upper()}{kind.words[1:]}.{need}", 98)
        line = f"{'# ' if need else ''}{name} = {kind.example}"
        parts.append("\n".join(["", *(f"# {words}" for words in said), line]))
    return "\n".join(parts) + "\n"


def read_requirements(source: Mapping[str, Any] | str | os.PathLike[str]) -> Requirements:
    """Requirements from a TOML file or a mapping, every name and value judged.

    Raises:
        ArgumentError: a file that cannot be read, a name that does not exist, a value that it does
            not take, or nothing required.
    """
    if isinstance(source, Mapping):
        return Requirements(_judged(dict(source), ""), {})
    file = os.fspath(source)
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"require={file!r}: cannot be read ({error})") from error
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ArgumentError(f"require={file!r}: is not TOML ({error})") from error
    return Requirements(_judged(found, f"{file}: "), _lines(text), file)


def _lines(text: str) -> dict[str, int]:
    """Where each requirement stands, counted from 1."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name = re.match(r"\s*\[?\s*[\"']?([\w-]+)[\"']?\s*[=\].]", line)
        if name and name[1] in KINDS:
            found.setdefault(name[1], number)
    return found


def _judged(given: dict[str, Any], where: str) -> dict[str, Any]:
    if not given:
        raise ArgumentError(f"{where}nothing is required; expected one of {', '.join(KINDS)}")
    for name, value in given.items():
        if name not in KINDS:
            raise ArgumentError(
                f"{where}there is no requirement {name!r}{nearest(name, KINDS)}; expected one of "
                f"{', '.join(KINDS)}"
            )
        _TAKES[KINDS[name].takes](f"{where}{name}", value)
    return given


def _share(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ArgumentError(f"{name} = {_toml(value)}: expected a number from 0 to 1, such as 0.8")


def _shares(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        return _share(name, value)
    if not value:
        raise ArgumentError(f"{name}: an empty table; expected a number for each name")
    for key, one in value.items():
        _share(f"{name}.{key}", one)


def _true(name: str, value: Any) -> None:
    if value is not True:
        raise ArgumentError(
            f"{name} = {_toml(value)}: expected true; delete the line where it is not required"
        )


def _true_or_share(name: str, value: Any) -> None:
    if isinstance(value, bool):
        _true(name, value)
    elif not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ArgumentError(f"{name} = {_toml(value)}: expected true, or a number from 0 to 1")


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


_TAKES: dict[str, Callable[[str, Any], None]] = {
    "share": _share,
    "shares": _shares,
    "true": _true,
    "true or share": _true_or_share,
}
