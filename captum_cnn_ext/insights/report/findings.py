"""What an audit found out, in sentences that someone who is no specialist can act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from captum_cnn_ext._engine.one_line_repr import brief

Verdict = Literal["wrong", "unsure", "fine"]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: how it came out, in words, and the section that shows it.

    ``numbers`` are what the verdict was taken from, for the manifest. ``subject`` is what it is
    about, such as a class; ``interval`` that of the first number; ``next_step`` what to do now;
    ``evidence`` where the report and the files beside it show it.
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
class Overview:
    """The top of the report: what the network saw, what was found, what was not looked at.

    The headings over these, and the sentence on top, are for photos unless others are given;
    ``terms`` explains the words that the page uses.
    """

    saw: tuple[str, ...]
    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...]
    saw_title: str = "What the network saw"
    wrong_title: str = "Problems"
    unsure_title: str = "Needs a closer look"
    first_sentence: str = ""
    terms: tuple[tuple[str, str], ...] = ()

    __repr__ = brief

    def of(self, verdict: Verdict) -> list[Finding]:
        """The findings with this verdict, in the order of the sections."""
        return [finding for finding in self.findings if finding.verdict == verdict]

    @property
    def headline(self) -> str:
        """All findings in one sentence."""
        if self.first_sentence:
            return self.first_sentence
        wrong, unsure = len(self.of("wrong")), len(self.of("unsure"))
        if not self.findings:
            return "Nothing was checked in this report."
        if not wrong and not unsure:
            return f"{_count(len(self.findings), 'check')} made, no problem found."
        parts = [f"{_count(wrong, 'problem')} found"] if wrong else []
        parts += [f"{unsure} {'needs' if unsure == 1 else 'need'} a closer look"] if unsure else []
        return f"{_count(len(self.findings), 'check')} made: {', '.join(parts)}."


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")
