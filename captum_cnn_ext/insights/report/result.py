"""What an audit gives: sections ready to be shown, arrays, and how they are saved."""

import csv
import dataclasses
import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.whole_files import write_together
from captum_cnn_ext._notebook import as_markdown
from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.files import report_paths
from captum_cnn_ext.insights.on_photos import OnPhotos
from captum_cnn_ext.insights.report.blocks import Cell, SectionContent, Table
from captum_cnn_ext.insights.report.findings import Overview, Problem, Verdict
from captum_cnn_ext.insights.report.page import (
    Beside,
    Page,
    PageSection,
    inline,
    page_html,
    without_folders,
)
from captum_cnn_ext.insights.report.section import Section

INLINE_LIMIT = 5_000_000  # bytes of a page that mail takes; a larger one has its images beside it
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute


class SavedAudit(NamedTuple):
    """The files that an audit was saved to; ``images`` is None where the page holds them itself."""

    report: Path
    arrays: Path
    manifest: Path
    tables: Path
    images: Path | None


@dataclass(frozen=True)
class Audit:
    """The result of `audit`: sections ready to be shown, arrays, tables and a record.

    ``problems`` lists what failed and is missing; empty in a complete report. ``arrays`` has the
    numbers behind the pictures by name, such as ``attributions/layer4/LayerGradCam``. ``tables``
    has the report's tables by name, ``overview`` what stands on its top, ``manifest`` the record
    for machines, as JSON has it. ``more`` are further files to save, by the ending of their names;
    ``on_photos`` says where the network's inputs lie on the photos.
    """

    title: str
    sections: tuple[tuple[Section, SectionContent | Problem], ...]
    arrays: dict[str, npt.NDArray[Any]]
    problems: tuple[Problem, ...]
    seconds: float
    facts: tuple[str, ...]
    tables: dict[str, Table]
    overview: Overview
    manifest: dict[str, Any]
    model_code: str
    more: dict[str, bytes] = dataclasses.field(default_factory=dict)
    on_photos: OnPhotos | None = None

    __repr__ = brief

    def __str__(self) -> str:
        failed = f" ({len(self.problems)} failed)" if self.problems else ""
        return (
            f"{self.title!r}: {len(self.sections)} sections{failed}, {len(self.arrays)} arrays, "
            f"{len(self.tables)} tables"
        )

    def _repr_markdown_(self) -> str:
        """What a notebook shows: the findings, worst first. The pictures are in the saved page."""
        found = [
            f"- **{verdict}**: {as_markdown(one.text)}"
            for verdict in get_args(Verdict)
            for one in self.overview.of(verdict)
        ]
        head = f"**{as_markdown(self.title)}**. {as_markdown(self.overview.headline)}"
        return "\n".join([head, "", *found, "", '`.save("report.html")` writes the whole report.'])

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
        return page_html(self._page(arrays_name))

    def _page(self, arrays_name: str = "", manifest_name: str = "") -> Page:
        sections = [
            PageSection(section.key, section.title, found, open=section.open)
            if isinstance(found, SectionContent)
            else PageSection(section.key, section.title, None, str(found))
            for section, found in self.sections
        ]
        return Page(
            self.title,
            self.facts,
            sections,
            self.overview,
            self.model_code,
            arrays_name,
            manifest_name,
        )

    def save(self, path: str | os.PathLike[str], *, inline_limit: int = INLINE_LIMIT) -> SavedAudit:
        """Write the report and what belongs to it; all whole or nothing.

        Beside ``audit.html`` go ``audit.npz`` (arrays), ``audit.manifest.json`` (the record:
        fingerprints, versions, parameters, checks, every table, and the SHA-256 of the other
        files), ``audit.tables/`` (each table as CSV) and, for a page above ``inline_limit``,
        ``audit.images/``.

        Cost: compression of the arrays.

        Args:
            path: where to, a name ending in ``.html``; files of that name are replaced.
            inline_limit: bytes of the largest page that holds its images itself; 0 puts them
                into the folder always.

        Returns:
            the paths of what was written.

        Raises:
            ArgumentError: another ending, a folder that is missing or cannot be written to, or a
                folder of tables or images that holds files of somebody else; a ``ValueError``.
            OSError: writing failed; no file has changed.

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
        inline_limit = as_count("inline_limit", inline_limit, 0)
        paths = report_paths(path)
        content = self._page(paths.arrays.name, paths.manifest.name)
        html, images = page_html(content, inline).encode(), Beside(paths.images.name)
        if len(html) > inline_limit:
            html = page_html(content, images).encode()
        packed = io.BytesIO()
        named: dict[str, Any] = self.arrays
        np.savez_compressed(packed, **named)
        tables = {f"{name}.csv": csv_bytes(table) for name, table in self.tables.items()}
        files = {paths.report.name: html, paths.arrays.name: packed.getvalue()}
        files |= {f"{paths.tables.name}/{name}": data for name, data in tables.items()}
        files |= {f"{paths.images.name}/{name}": data for name, data in images.files.items()}
        stem = paths.report.stem
        more = {paths.report.with_name(stem + end): data for end, data in self.more.items()}
        files |= {file.name: data for file, data in more.items()}
        record = self.manifest | {
            "files": {
                name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                for name, data in files.items()
            }
        }
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False).encode()
        write_together(
            {**more, paths.arrays: packed.getvalue(), paths.manifest: text, paths.report: html},
            {paths.tables: tables, paths.images: images.files},
        )
        return SavedAudit(
            paths.report,
            paths.arrays,
            paths.manifest,
            paths.tables,
            paths.images if images.files else None,
        )

    def save_overlays(
        self, folder: str | os.PathLike[str], *, sign: str = "positive"
    ) -> list[Path]:
        """Write every map over its whole photo, at the photo's size: ``<photo>--<method>.jpg``.

        What the model's crop left out of the photo keeps its colours.

        Cost: nine calls of the preprocessing for each size of photo, and drawing.

        Raises:
            ArgumentError: images were given as tensors, or where the preprocessing puts a photo
                cannot be told.
            OSError: a file cannot be written; none is.
        """
        if self.on_photos is None:
            raise ArgumentError("folder: this audit keeps no photos to draw on")
        begin = "attributions/"
        maps = {
            name.removeprefix(begin): found
            for name, found in self.arrays.items()
            if name.startswith(begin)
        }
        return self.on_photos.save(folder, maps, sign)


def csv_bytes(table: Table) -> bytes:
    """A table as CSV in UTF-8, with the mark by which spreadsheets know it.

    A text that a spreadsheet would take for a formula gets an apostrophe before it; the manifest
    has it as it is.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([_cell(column.title) for column in table.columns])
    writer.writerows([[_cell(cell) for cell in row] for row in table.rows])
    return text.getvalue().encode("utf-8-sig")


def _cell(value: Cell) -> str | int | float:
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    shown = without_folders(value)
    return f"'{shown}" if shown.startswith(FORMULA) else shown
