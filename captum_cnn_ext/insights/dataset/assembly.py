"""From what an audit of a data set found to its page, its table and its record."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np

from captum_cnn_ext import __version__
from captum_cnn_ext.insights.dataset.context import DatasetContext
from captum_cnn_ext.insights.dataset.left_out import say_what_was_left_out
from captum_cnn_ext.insights.dataset.result import DatasetAudit, as_json
from captum_cnn_ext.insights.dataset.sections import (
    accuracy,
    attention,
    by_class,
    closing,
    comparison,
    shortcuts,
    strategies,
)
from captum_cnn_ext.insights.report.blocks import Column, SectionContent
from captum_cnn_ext.insights.report.findings import Overview, Problem
from captum_cnn_ext.insights.report.manifest import plain, software, system_words
from captum_cnn_ext.insights.report.result import Audit
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.wording import listed, percent

FORMAT = "captum-cnn-ext data set audit 1"
CLASSES = 3  # named in the first sentence
LARGEST_ARRAY = 64_000_000  # bytes of an array that is saved beside the report
ONE_FOR_EACH = (
    *("images", "labels", "predictions", "confidences", "label_probabilities", "probabilities"),
    *("maps", "strengths", "contributions"),
)


def _sections(context: DatasetContext) -> list[Any]:
    """The modules that make sections, in the order of the page."""
    chosen: list[Any] = [accuracy, attention]
    if context.testing:
        chosen += [strategies, shortcuts]
    else:
        context.unchecked.append("Whether the model takes shortcuts: these tests were left out.")
    if context.rival is not None:
        chosen.append(comparison)
    else:
        context.unchecked.append("What changed since an older model: none was given (--against).")
    return [*chosen, closing]


def assembled(
    context: DatasetContext, title: str | None, started: float, code: str
) -> DatasetAudit:
    built: list[tuple[Section, SectionContent | Problem]] = []
    problems: list[Problem] = []
    say_what_was_left_out(context)
    for module in [*_sections(context), by_class]:
        section = Section(module.KEY, module.TITLE, partial(module.build, context))
        try:
            built.append((section, section.build()))
        except Exception as error:  # the other sections go on
            problems.append(Problem(module.TITLE, error))
            built.append((section, problems[-1]))
    built.insert(0, built.pop())  # what the tests said stands first
    table = _table(context)
    columns = [Column(name, number=values.dtype.kind in "fiu") for name, values in table.items()]
    rows = list(zip(*(_cells(values) for values in table.values()), strict=True))
    context.tabulate("images", "", columns, rows)
    overview = _overview(context, problems)
    seconds = time.perf_counter() - started
    records, title = context.records, title or f"Data set audit of {context.subject.name}"
    facts = (
        datetime.now(timezone.utc).strftime("%d %B %Y"),
        f"{len(records):,} images",
        f"{len(set(records.labels.tolist()))} classes",
        f"made in {seconds:.0f} s",
        f"captum-cnn-ext {__version__}",
    )
    findings = tuple(context.findings)
    page = Audit(
        title,
        tuple(built),
        _arrays(context),
        tuple(problems),
        seconds,
        facts,
        context.tables,
        overview,
        plain(_manifest(context, title, seconds, problems)),
        code,
    )
    return DatasetAudit(page, findings, table, records, context.strategies, context.shortcuts)


def _overview(context: DatasetContext, problems: list[Problem]) -> Overview:
    records = context.records
    right = float(np.mean(records.correct))
    images = "1 image" if len(records) == 1 else f"{len(records):,} images"
    saw = [
        f"{len(records):,} images of {len(set(records.labels.tolist()))} classes; the model "
        f"distinguishes {records.classes}.",
        f"Maps are of the layer {records.layer}, {records.maps.shape[1]} x "
        f"{records.maps.shape[2]} positions.",
    ]
    if records.skipped:
        left = "1 image" if len(records.skipped) == 1 else f"{len(records.skipped):,} images"
        saw.append(f"{left} could not be used; see the last section.")
    saw += context.notes
    failed = [f"This report is not complete: {problem}" for problem in problems]
    return Overview(
        tuple(saw),
        tuple(context.findings),
        tuple([*failed, *context.unchecked, *closing.ALWAYS]),
        saw_title="What was audited",
        wrong_title="Fix first",
        unsure_title="Review",
        first_sentence=f"The model is right on {percent(right)} of {images}{_rest(context)}.",
    )


def _rest(context: DatasetContext) -> str:
    """What the first sentence says of findings: shortcuts by their class, the others counted."""
    doubts = [finding for finding in context.findings if finding.verdict != "fine"]
    found = context.shortcuts.shortcuts if context.shortcuts is not None else ()
    names = [context.short(label) for label in sorted({one.label for one in found})]
    said = f", and it relies on a shortcut for {listed(names, CLASSES)}" if names else ""
    if names:
        doubts = [finding for finding in doubts if not finding.id.startswith("shortcut-")]
    if not doubts:
        return said or ", and nothing found needs a look"
    words = "1 {}finding needs" if len(doubts) == 1 else f"{len(doubts)} {{}}findings need"
    begin = f"{said}; " if said else ", and "
    return f"{begin}{words.format('other ' if said else '')} a look"


def _table(context: DatasetContext) -> dict[str, np.ndarray]:
    records, count = context.records, len(context.records)
    names = np.array(context.classes, dtype=object)
    flags = ["; ".join(context.flags.get(row, ())) for row in range(count)]
    columns: dict[str, np.ndarray] = {
        "path": np.array([context.path(row) for row in range(count)], dtype=object),
        "label": np.array(records.labels),
        "label_name": names[records.labels],
        "prediction": np.array(records.predictions),
        "prediction_name": names[records.predictions],
        "confidence": np.array(records.confidences),
        "label_probability": np.array(records.label_probabilities),
        **context.statistics,
        **{name: np.array(values) for name, values in records.columns.items()},
        **context.columns,
    }
    if context.groups:
        columns["group"] = np.array(context.groups, dtype=object)
    columns["flags"] = np.array(flags, dtype=object)
    return columns


def _cells(values: np.ndarray) -> list[Any]:
    if values.dtype.kind == "f":
        return [round(float(v), 6) if np.isfinite(v) else None for v in values]
    return list(values.tolist())


def _arrays(context: DatasetContext) -> dict[str, np.ndarray]:
    records = context.records
    given = [*ONE_FOR_EACH, "mean_images", "counts"]
    found = {name: getattr(records, name) for name in given}
    found |= dict(records.columns) | context.arrays
    return {name: np.array(a) for name, a in found.items() if a.nbytes <= LARGEST_ARRAY}


def _manifest(
    context: DatasetContext, title: str, seconds: float, problems: list[Problem]
) -> dict[str, Any]:
    records, rival = context.records, context.rival_subject
    return {
        "format": FORMAT,
        "title": title,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round(seconds, 1),
        "model": {"name": context.subject.name, "weights": context.subject.weights},
        "against": None if rival is None else {"name": rival.name, "weights": rival.weights},
        "settings": records.settings,
        "classes": list(context.classes),
        "images": len(records),
        "skipped": [list(item) for item in records.skipped],
        "software": software(),
        "system": system_words(),
        "seed": context.seed,
        "findings": as_json(tuple(context.findings)),
        "not_checked": [*context.unchecked, *closing.ALWAYS],
        "problems": [str(problem) for problem in problems],
    }
