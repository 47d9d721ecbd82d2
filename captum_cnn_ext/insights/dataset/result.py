"""What a data set's audit gives: a page, one row for each image, findings, arrays."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.evidence import ImageRecords, Shortcuts, Strategies
from captum_cnn_ext.insights.report.findings import Finding
from captum_cnn_ext.insights.report.manifest import plain
from captum_cnn_ext.insights.report.result import Audit

LARGEST_PAGE = 8_000_000  # bytes of a page that holds its images itself


class SavedDatasetAudit(NamedTuple):
    """Where a data set's audit was saved; ``images`` is None where the page has them itself."""

    report: Path
    arrays: Path
    manifest: Path
    tables: Path
    images: Path | None
    findings: Path


@dataclass(frozen=True)
class DatasetAudit:
    """The result of `audit_dataset`.

    Args:
        page: sections, tables and arrays of the report.
        findings: what was found out, each with numbers, interval, evidence and what to do next.
        table: one entry for each image, by the name of the column.
        records: predictions, maps and contributions of each image.
        strategies: groups of images that are recognised in the same way; None where left out.
        shortcuts: what was tested and what came of it; None where left out.
    """

    page: Audit
    findings: tuple[Finding, ...]
    table: dict[str, npt.NDArray[Any]]
    records: ImageRecords
    strategies: Strategies | None = None
    shortcuts: Shortcuts | None = None

    __repr__ = brief

    def __str__(self) -> str:
        count = len(self.findings)
        words = "1 finding" if count == 1 else f"{count} findings"
        return f"{self.records}; {words}: {self.page.overview.headline}"

    def _repr_markdown_(self) -> str:
        """What a notebook shows: the findings. The pictures are in the saved page."""
        return self.page._repr_markdown_()

    def to_html(self) -> str:
        """The report as one page that loads nothing.

        Cost: formatting only.

        Raises:
            ImportError: Jinja2 is not installed.
        """
        return self.page.to_html()

    def save(self, path: str | os.PathLike[str] = "audit.html") -> SavedDatasetAudit:
        """Write the report and what belongs to it; all whole or nothing.

        Beside ``audit.html`` go ``audit.findings.json``, ``audit.tables/`` (``images.csv`` has one
        row for each image), ``audit.npz`` (arrays), ``audit.manifest.json`` (the record), and for a
        page above 8 MB ``audit.images/``.

        Cost: compression of the arrays.

        Raises:
            ArgumentError: another ending, or a folder that is missing or cannot be written to.
            OSError: writing failed; no file has changed.

        Example::

            >>> import tempfile, torch
            >>> from captum_cnn_ext.insights import audit_dataset
            >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(),
            ...     torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2)).eval()
            >>> data = [(torch.rand(3, 8, 8), number % 2) for number in range(12)]
            >>> done = audit_dataset(model, data, layer="1", show_progress=False)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     saved = done.save(f"{folder}/audit.html")
            >>> saved.findings.name, done.table["label"].tolist()[:3]
            ('audit.findings.json', [0, 1, 0])
        """
        found = plain(as_json(self.findings, Path(path).stem))
        text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        page = dataclasses.replace(self.page, more={".findings.json": text.encode()})
        saved = page.save(path, inline_limit=LARGEST_PAGE)
        findings = saved.report.with_name(f"{saved.report.stem}.findings.json")
        return SavedDatasetAudit(*saved, findings)


def as_json(findings: tuple[Finding, ...], report: str = "audit") -> list[dict[str, Any]]:
    """Findings for a file; ``report`` is the report's name without its ending."""
    severity = {"wrong": "high", "unsure": "medium", "fine": "none"}
    return [
        {
            "id": one.id,
            "severity": severity[one.verdict],
            "class": one.subject or None,
            "section": one.section,
            "text": one.text,
            "numbers": {name: _number(value) for name, value in one.numbers},
            "interval": None if one.interval is None else [_number(v) for v in one.interval],
            "next_step": one.next_step or None,
            "evidence": [
                f"{report}.html#{one.section}",
                *(f"{report}.tables/{table}" for table in one.evidence),
            ],
        }
        for one in findings
    ]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
