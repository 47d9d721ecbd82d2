"""How requirements came out: for people, for JUnit's readers and for code scanning."""

import json
import os
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from captum_cnn_ext import __version__
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.whole_files import write_together
from captum_cnn_ext.insights.gate.requirements import KINDS

SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
TOOL = "captum-cnn-ext"


@dataclass(frozen=True)
class Outcome:
    """One requirement.

    Args:
        requirement: its name.
        passed: whether it holds.
        text: what was measured, with its interval, and what was required.
        required: the value that was set.
        measured: the number that was judged; None where none could be measured.
        interval: of the number, where it has one.
        line: where the requirement stands in its file.
    """

    requirement: str
    passed: bool
    text: str
    required: Any
    measured: float | None = None
    interval: tuple[float, float] | None = None
    line: int | None = None

    __repr__ = brief

    def __str__(self) -> str:
        return f"{'passed' if self.passed else 'FAILED'} {self.requirement}: {self.text}"


@dataclass(frozen=True)
class Check:
    """What `check` found: one outcome a requirement; printed, one line each.

    Args:
        subject: the title of the audit.
        outcomes: in the order of the requirements.
        seconds: what the audit took.
        file: where the requirements stand.
    """

    subject: str
    outcomes: tuple[Outcome, ...]
    seconds: float = 0.0
    file: str = "requirements.toml"

    @property
    def passed(self) -> bool:
        """Whether every requirement holds."""
        return all(one.passed for one in self.outcomes)

    @property
    def failed(self) -> list[str]:
        """The names of the requirements that do not hold."""
        return [one.requirement for one in self.outcomes if not one.passed]

    @property
    def headline(self) -> str:
        """All in one sentence."""
        count = len(self.outcomes)
        words = "1 requirement" if count == 1 else f"{count} requirements"
        return f"{len(self.failed)} of {words} failed" if self.failed else f"{words} passed"

    __repr__ = brief

    def __str__(self) -> str:
        return "\n".join([self.headline, *map(str, self.outcomes)])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{'passed' if o.passed else '<b>failed</b>'}</td>"
            f"<td>{escape(o.requirement)}</td><td>{escape(o.text)}</td></tr>"
            for o in self.outcomes
        )
        return f"<table><caption>{escape(self.headline)}</caption>{rows}</table>"

    def junit(self) -> str:
        """JUnit XML: a test case for each requirement, as CI servers show them."""
        counts = {
            "tests": str(len(self.outcomes)),
            "failures": str(len(self.failed)),
            "errors": "0",
        }
        root = ET.Element("testsuites", counts)
        name = {"name": f"{TOOL} check", "skipped": "0", "time": f"{self.seconds:.3f}"}
        suite = ET.SubElement(root, "testsuite", {**name, **counts})
        for one in self.outcomes:
            names = {"classname": f"{TOOL}.check", "name": one.requirement, "time": "0"}
            case = ET.SubElement(suite, "testcase", names)
            if one.passed:
                ET.SubElement(case, "system-out").text = _printable(one.text)
            else:
                said = {"message": _printable(one.text), "type": "RequirementFailed"}
                ET.SubElement(case, "failure", said).text = _printable(str(one))
        ET.indent(root)
        return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"

    def sarif(self) -> str:
        """SARIF 2.1.0 of what failed, each at its line of the file, for code scanning."""
        names = [one.requirement for one in self.outcomes]
        rules = [{"id": n, "shortDescription": {"text": KINDS[n].words}} for n in names]
        results = [
            {
                "ruleId": one.requirement,
                "ruleIndex": number,
                "level": "error",
                "message": {"text": one.text},
                "locations": [
                    {
                        "physicalLocation": {
                            "artifactLocation": {"uri": _uri(Path(self.file))},
                            "region": {"startLine": one.line or 1},
                        }
                    }
                ],
                "properties": {"measured": one.measured, "required": one.required},
            }
            for number, one in enumerate(self.outcomes)
            if not one.passed
        ]
        driver = {"name": TOOL, "version": __version__, "rules": rules}
        runs = [{"tool": {"driver": driver}, "results": results}]
        log = {"$schema": SARIF, "version": "2.1.0", "runs": runs}
        return json.dumps(log, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def save(
        self,
        *,
        junit: str | os.PathLike[str] | None = None,
        sarif: str | os.PathLike[str] | None = None,
    ) -> None:
        """Write JUnit XML, SARIF, or both; whole or not at all.

        Cost: writing.

        Raises:
            OSError: a file cannot be written; no file has changed.
        """
        files = {}
        if junit is not None:
            files[Path(junit)] = self.junit().encode()
        if sarif is not None:
            files[Path(sarif)] = self.sarif().encode()
        write_together(files)


def _uri(file: Path) -> str:
    """Relative to where the check runs, as code scanning wants it, where the file is below."""
    if file.is_absolute() and not file.is_relative_to(Path.cwd()):
        return file.as_uri()
    return quote((file.relative_to(Path.cwd()) if file.is_absolute() else file).as_posix())


def _printable(text: str) -> str:
    """Without what XML cannot hold, such as control characters in a folder's name."""
    return "".join(
        c if c in "\t\n" or (32 <= ord(c) and not 0xD800 <= ord(c) < 0xE000) else "?" for c in text
    )
