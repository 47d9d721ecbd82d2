"""What an audit gives: sections ready to be shown, arrays, and how they are saved."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from captum_cnn_ext.insights.blocks import SectionContent
from captum_cnn_ext.insights.context import Problem
from captum_cnn_ext.insights.files import report_paths, write_together
from captum_cnn_ext.insights.page import Page, PageSection, page_html
from captum_cnn_ext.insights.section import Section


class SavedAudit(NamedTuple):
    """The files that an audit was saved to."""

    report: Path
    arrays: Path


@dataclass(frozen=True)
class Audit:
    """The result of `audit`: sections ready to be shown, and arrays.

    ``problems`` lists what failed and is missing; empty in a complete report. ``arrays`` has the
    numbers behind the pictures by name, such as ``attributions/layer4/LayerGradCam``.
    """

    title: str
    sections: tuple[tuple[Section, SectionContent | Problem], ...]
    arrays: dict[str, npt.NDArray[Any]]
    problems: tuple[Problem, ...]
    seconds: float
    facts: tuple[str, ...]

    def to_html(self, arrays_name: str = "") -> str:
        """The report as one page that loads nothing.

        Cost: formatting only.

        Args:
            arrays_name: name of the file of arrays, told to readers; empty when there is none.

        Raises:
            ImportError: Jinja2 is not installed.

        Example::

            >>> import torch
            >>> from captum_cnn_ext.insights import audit
            >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU(),
            ...     torch.nn.Flatten(), torch.nn.Linear(72, 2)).eval()
            >>> page = audit(model, torch.rand(1, 3, 8, 8), sections=["summary"],
            ...     show_progress=False).to_html()
            >>> page.startswith("<!doctype html>")
            True
        """
        sections = [
            PageSection(section.key, section.title, found)
            if isinstance(found, SectionContent)
            else PageSection(section.key, section.title, None, str(found))
            for section, found in self.sections
        ]
        problems = tuple(str(problem) for problem in self.problems)
        return page_html(Page(self.title, self.facts, sections, problems, arrays_name))

    def save(self, path: str | os.PathLike[str]) -> SavedAudit:
        """Write the report, and the arrays beside it as ``.npz``; both whole or neither.

        Cost: compression of the arrays.

        Args:
            path: where to, a name ending in ``.html``; files of that name are replaced.

        Returns:
            the paths of the report and of the arrays.

        Raises:
            ArgumentError: another ending, or a folder that is missing or cannot be written to; a
                ``ValueError``.
            OSError: writing failed; neither file has changed.

        Example::

            >>> import tempfile, torch
            >>> from captum_cnn_ext.insights import audit
            >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU(),
            ...     torch.nn.Flatten(), torch.nn.Linear(72, 2)).eval()
            >>> done = audit(model, torch.rand(1, 3, 8, 8), sections=["summary"],
            ...     show_progress=False)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     saved = done.save(f"{folder}/audit.html")
            >>> saved.report.name, saved.arrays.name
            ('audit.html', 'audit.npz')
        """
        report, arrays = report_paths(path)
        page = self.to_html(arrays.name).encode()
        named: dict[str, Any] = self.arrays
        write_together(
            (arrays, lambda file: np.savez_compressed(file, **named)),
            (report, lambda file: file.write(page)),
        )
        return SavedAudit(report, arrays)
