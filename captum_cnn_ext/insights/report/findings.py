"""What an audit found: sentences to act on, and the tables and arrays behind them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from captum_cnn_ext._engine.backward.coverage import Coverage
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.insights.report.blocks import Cell, Column, Table
from captum_cnn_ext.insights.wording import counted
from captum_cnn_ext.metrics import Interval

Verdict = Literal["wrong", "unsure", "fine"]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: how it came out, in words, and the section that shows it.

    ``numbers`` are what the verdict was taken from, for the manifest. ``subject`` is what it is
    about, such as a class; ``interval`` that of the first number; ``next_step`` what to do now;
    ``evidence`` the files of tables that show it, beside the section.
    """

    verdict: Verdict
    text: str
    section: str
    numbers: tuple[tuple[str, float], ...] = ()
    id: str = ""
    subject: str = ""
    interval: tuple[float, float] | None = None
    next_step: str = ""
    evidence: tuple[str, ...] = ()

    __repr__ = brief


@dataclass(frozen=True)
class MethodParameters:
    """The parameters that a method ran with."""

    method: str
    origin: str
    parameters: str


@dataclass(frozen=True)
class RuleCoverage:
    """What a backward rule met on its way from a layer to the pixels."""

    layer: str
    rule: str
    coverage: Coverage


@dataclass(frozen=True)
class Problem:
    """Something that failed and is missing from the report."""

    where: str
    error: Exception

    __repr__ = brief

    def __str__(self) -> str:
        return f"{self.where}: {error_text(self.error)}"


def error_text(error: Exception) -> str:
    """An exception as a reader understands it: its kind and its message."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


@dataclass
class Report:
    """What the sections put into the report so far: findings, and what goes into files beside it.

    ``arrays`` go into the file of arrays, described by ``array_words``, ``tables`` into files of
    their own. ``problems`` is what failed, ``unchecked`` what was not looked at, ``flags`` are
    words on photos.
    """

    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    array_words: dict[str, str] = field(default_factory=dict)
    parameters: list[MethodParameters] = field(default_factory=list)
    coverage: list[RuleCoverage] = field(default_factory=list)
    flags: dict[int, list[str]] = field(default_factory=dict)

    __repr__ = brief

    def keep(self, name: str, values: Any, words: str) -> None:
        """Put an array into the file beside the report, with a description in words.

        Raises:
            ValueError: there is an array of that name already.
        """
        if name in self.arrays:
            raise ValueError(f"name={name!r}: an array of this name is kept already")
        self.arrays[name] = as_array(values)
        self.array_words[name] = words

    def find(
        self, verdict: Verdict, text: str, section: str, next_step: str = "", **numbers: float
    ) -> None:
        """Put a sentence onto the top of the report, and what the reader should do about it.

        ``section`` is the key of where to read on.
        """
        self.note(verdict, text, section, next_step, numbers=numbers)

    def note(
        self,
        verdict: Verdict,
        text: str,
        section: str,
        next_step: str = "",
        *,
        id: str = "",
        subject: str = "",
        interval: Interval | None = None,
        evidence: Sequence[str] = (),
        numbers: Mapping[str, float],
    ) -> None:
        """As `find`, with all that a file of findings has; see `Finding`."""
        ends = None if interval is None else (interval.low, interval.high)
        given = tuple((name, float(value)) for name, value in numbers.items())
        self.findings.append(
            Finding(verdict, text, section, given, id, subject, ends, next_step, tuple(evidence))
        )

    def flag(self, rows: Iterable[int], word: str) -> None:
        """Put a word onto photos, by their number."""
        for row in rows:
            self.flags.setdefault(int(row), []).append(word)

    def tabulate(
        self,
        name: str,
        caption: str,
        columns: Sequence[Column],
        rows: Sequence[Sequence[Cell]],
        anchors: Sequence[str] = (),
    ) -> Table:
        """A table that is also saved beside the report under ``name``, a file's name.

        Raises:
            ValueError: there is a table of that name already, or the name is no file's.
        """
        if name in self.tables or not re.fullmatch(r"[a-z0-9_]+", name):
            raise ValueError(
                f"name={name!r}: expected lower-case letters, digits and underscores, and a name "
                f"not in use; there are {', '.join(self.tables) or 'none'} already"
            )
        self.tables[name] = Table(caption, columns, rows, anchors)
        return self.tables[name]


def as_array(values: Any) -> npt.NDArray[Any]:
    """Anything as an array that needs no pickle; half precision becomes single."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
        return np.asarray(values.numpy())
    return np.asarray(values)


@dataclass(frozen=True)
class Overview:
    """The top of the report: what the network saw, what was found, what was not looked at.

    The headings over these, and the sentence on top, are for photos unless others are given;
    ``before`` is what has to be known before that sentence, ``terms`` explains the words that the
    page uses.
    """

    saw: tuple[str, ...]
    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...]
    saw_title: str = "What the network saw"
    wrong_title: str = "Problems"
    unsure_title: str = "Needs a closer look"
    first_sentence: str = ""
    before: str = ""
    terms: tuple[tuple[str, str], ...] = ()

    __repr__ = brief

    def of(self, verdict: Verdict) -> list[Finding]:
        """The findings with this verdict, in the order of the sections."""
        return [finding for finding in self.findings if finding.verdict == verdict]

    def advised(self, verdict: Verdict) -> list[tuple[Finding, str]]:
        """The same, each with what to do; said once where it is the same for several in a row."""
        found, told = [], 0
        for finding, after in pairwise([*self.of(verdict), None]):
            assert finding is not None
            step, told = finding.next_step, told + 1
            if step and after is not None and after.next_step == step:
                found.append((finding, ""))
                continue
            found.append((finding, f"for each of these {told}: {step}" if told > 1 else step))
            told = 0
        return found

    @property
    def headline(self) -> str:
        """All findings in one sentence."""
        return f"{self.before} {self._all}".strip()

    @property
    def _all(self) -> str:
        if self.first_sentence:
            return self.first_sentence
        wrong, unsure = len(self.of("wrong")), len(self.of("unsure"))
        if not self.findings:
            return "Nothing was checked in this report."
        if not wrong and not unsure:
            return f"{counted(len(self.findings), 'check')} made, no problem found."
        parts = [f"{counted(wrong, 'problem')} found"] if wrong else []
        parts += [f"{unsure} {'needs' if unsure == 1 else 'need'} a closer look"] if unsure else []
        return f"{counted(len(self.findings), 'check')} made: {', '.join(parts)}."
