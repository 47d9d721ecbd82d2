"""What every section of a data set's audit may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.evidence import ImageRecords, Shortcuts, Strategies
from captum_cnn_ext.evidence.records.record_job import LabelledImages
from captum_cnn_ext.insights.audited_model import AuditedModel
from captum_cnn_ext.insights.dataset.attention import map_statistics
from captum_cnn_ext.insights.dataset.pictures import overlay_picture
from captum_cnn_ext.insights.report.blocks import Cell, Column, Picture, Table
from captum_cnn_ext.insights.report.findings import Finding, Verdict
from captum_cnn_ext.insights.wording import percent
from captum_cnn_ext.metrics import Interval

LONGEST = 40


@dataclass
class DatasetContext:
    """A model, its records of a labelled data set, and what was found so far.

    Rows are those of the records. ``images`` gives network inputs by number, ``groups`` has a word
    for each row or none, ``rival`` and ``twin`` are records of other models of the same data set.
    ``flags`` are words by row, for the table of images.
    """

    subject: AuditedModel
    images: LabelledImages
    records: ImageRecords
    classes: Sequence[str]
    groups: Sequence[str]
    notes: Sequence[str]
    seed: int
    rival: ImageRecords | None = None
    rival_subject: AuditedModel | None = None
    twin: ImageRecords | None = None
    strategies: Strategies | None = None
    shortcuts: Shortcuts | None = None
    testing: bool = True
    show_progress: bool = False
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    columns: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    flags: dict[int, list[str]] = field(default_factory=dict)

    __repr__ = brief

    @cached_property
    def statistics(self) -> dict[str, npt.NDArray[np.float32]]:
        """For each row where its map lies."""
        return map_statistics(self.records)

    @property
    def masked(self) -> bool:
        """Whether any image has a mask."""
        shares = self.records.columns.get("object_share")
        return shares is not None and bool(np.isfinite(shares).any())

    def name(self, index: int) -> str:
        """A class in words."""
        names = self.classes
        return str(names[index]) if index < len(names) else f"class {index}"

    def short(self, index: int) -> str:
        """A class in a sentence: its name in quotation marks, cut where it is long."""
        name = self.name(index)
        return f"“{name if len(name) <= LONGEST else f'{name[: LONGEST - 1]}…'}”"

    def path(self, row: int) -> str:
        """The name of an image, or its number."""
        number = int(self.records.images[row])
        return self.images.name(number) or f"image {number}"

    def input(self, row: int) -> Tensor:
        """The network input (C, H, W) of a row, read again."""
        return self.images.image(int(self.records.images[row]))

    def picture(self, row: int, caption: str) -> Picture:
        """An image with the evidence for what is predicted over it."""
        return self.picture_of(self.records, row, caption)

    def picture_of(self, records: ImageRecords, row: int, caption: str) -> Picture:
        """The same for a row of another model's records."""
        number = int(records.images[row])
        map_ = torch.from_numpy(np.array(records.maps[row], dtype=np.float32))
        title = self.images.name(number) or f"image {number}"
        return overlay_picture(
            self.images.image(number), map_, self.subject.mean, self.subject.std, title, caption
        )

    def find(
        self,
        verdict: Verdict,
        id: str,
        text: str,
        section: str,
        *,
        next_step: str = "",
        subject: str = "",
        interval: Interval | None = None,
        evidence: Sequence[str] = (),
        numbers: Mapping[str, float] | None = None,
    ) -> None:
        """Note a finding; it stands on top of the page and in the file of findings."""
        ends = None if interval is None else (interval.low, interval.high)
        self.findings.append(
            Finding(
                verdict, text, section, tuple((numbers or {}).items()), id, subject, ends,
                next_step, (f"#{section}", *evidence),
            )
        )  # fmt: skip

    def tabulate(
        self, name: str, caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]
    ) -> Table:
        """A table that is also saved beside the report."""
        self.tables[name] = Table(caption, columns, rows)
        return self.tables[name]

    def flag(self, rows: Sequence[int] | npt.NDArray[Any], word: str) -> None:
        """Put a word into the table of images."""
        for row in rows:
            self.flags.setdefault(int(row), []).append(word)


def shown(interval: Interval) -> str:
    """A share with its interval in words."""
    if np.isnan(interval.mean):
        return "no images"
    return f"{percent(interval.mean)} ({percent(interval.low)} to {percent(interval.high)})"


def rounded(value: float | None, digits: int = 3) -> float | None:
    """A number for a table; None where there is none."""
    return None if value is None or not np.isfinite(value) else round(float(value), digits)
