"""From what an audit of a data set found to its page, its table and its record."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

import numpy as np

from captum_cnn_ext import __version__
from captum_cnn_ext.evidence import ImageRecords, Shortcuts, Strategies
from captum_cnn_ext.insights.dataset.audited import AuditedData
from captum_cnn_ext.insights.dataset.numbering import say_what_numbers_hold_for
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
from captum_cnn_ext.insights.report.findings import Overview, Problem, Report
from captum_cnn_ext.insights.report.manifest import plain, software, system_words
from captum_cnn_ext.insights.report.result import Audit
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.wording import listed, of_images

FORMAT = "captum-cnn-ext data set audit 1"
CLASSES = 3  # named in the first sentence
LARGEST_ARRAY = 64_000_000  # bytes of an array that is saved beside the report
ONE_FOR_EACH = (
    *("images", "labels", "predictions", "confidences", "label_probabilities", "probabilities"),
    *("maps", "strengths", "contributions"),
)


def assembled(audited: AuditedData, title: str | None, started: float, code: str) -> DatasetAudit:
    report, records = Report(), audited.records
    say_what_numbers_hold_for(audited, report)
    if not audited.testing:
        report.unchecked.append("Whether the model takes shortcuts: these tests were left out.")
    if audited.rival is None:
        report.unchecked.append("What changed since an older model: none was given (--against).")
    chosen = (
        *(by_class, accuracy, attention),
        *((strategies, shortcuts) if audited.testing else ()),
        *((comparison,) if audited.rival is not None else ()),
        closing,
    )
    built = tuple((one.SECTION, _built(one.SECTION, audited, report)) for one in chosen)
    table = _table(audited, report)
    columns = [Column(name, number=values.dtype.kind in "fiu") for name, values in table.items()]
    rows = list(zip(*(_cells(values) for values in table.values()), strict=True))
    report.tabulate("images", "", columns, rows)
    seconds = time.perf_counter() - started
    title = title or f"Data set audit of {audited.subject.name}"
    facts = (
        datetime.now(timezone.utc).strftime("%d %B %Y"),
        f"{len(records):,} images",
        f"{len(set(records.labels.tolist()))} classes",
        f"made in {seconds:.0f} s",
        f"captum-cnn-ext {__version__}",
    )
    page = Audit(
        title,
        built,
        _arrays(records, report),
        tuple(report.problems),
        seconds,
        facts,
        report.tables,
        _overview(audited, report),
        plain(_manifest(audited, report, title, seconds)),
        code,
    )
    groups, tests = audited.strategies, audited.shortcuts
    return DatasetAudit(
        page,
        tuple(report.findings),
        table,
        records,
        None if isinstance(groups, Exception) else groups,
        None if isinstance(tests, Exception) else tests,
    )


def _built(section: Section, audited: AuditedData, report: Report) -> SectionContent | Problem:
    try:
        return section.build(audited, report)
    except Exception as error:  # the other sections go on
        report.problems.append(Problem(section.title, error))
        return report.problems[-1]


def _overview(audited: AuditedData, report: Report) -> Overview:
    records, rest = audited.records, _rest(audited, report)
    right = float(np.mean(records.correct))
    saw = [
        f"{len(records):,} images of {len(set(records.labels.tolist()))} classes; the model "
        f"distinguishes {records.classes}.",
        f"Maps are of the layer {records.layer}, {records.maps.shape[1]} x "
        f"{records.maps.shape[2]} positions.",
    ]
    if records.skipped:
        left = "1 image" if len(records.skipped) == 1 else f"{len(records.skipped):,} images"
        saw.append(f"{left} could not be used; see the last section.")
    saw += [f"{note[:1].upper()}{note[1:]}".rstrip(".") + "." for note in audited.notes]
    failed = [f"This report is not complete: {problem}" for problem in report.problems]
    return Overview(
        tuple(saw),
        tuple(report.findings),
        tuple([*failed, *report.unchecked, *closing.ALWAYS]),
        saw_title="What was audited",
        wrong_title="Fix first",
        unsure_title="Review",
        first_sentence=f"The model is right on {of_images(right, len(records))}{rest}.",
        before="" if audited.subject.guess is None else "The preprocessing of pictures is a guess.",
    )


def _rest(audited: AuditedData, report: Report) -> str:
    """What the first sentence says of findings: shortcuts by their class, the others counted."""
    if audited.misled:
        return (
            ", no more than always naming the most frequent class may give; make sure that it gets "
            "pictures as it was trained on before you read on"
        )
    doubts = [finding for finding in report.findings if finding.verdict != "fine"]
    found = audited.shortcuts.shortcuts if isinstance(audited.shortcuts, Shortcuts) else ()
    names = [audited.short(label) for label in sorted({one.named for one in found})]
    said = f", and it relies on a shortcut for {listed(names, CLASSES)}" if names else ""
    said = f"{said}; a part of this audit failed" if report.problems else said
    if names:
        doubts = [finding for finding in doubts if not finding.id.startswith("shortcut-")]
    if not doubts:
        return said or ", and nothing found needs a look"
    words = "1 {}finding needs" if len(doubts) == 1 else f"{len(doubts)} {{}}findings need"
    begin = f"{said}; " if said else ", and "
    return f"{begin}{words.format('other ' if said else '')} a look"


def _table(audited: AuditedData, report: Report) -> dict[str, np.ndarray]:
    records, numbers = audited.records, range(len(audited.records))
    names = np.array(audited.classes, dtype=object)
    columns: dict[str, np.ndarray] = {
        "path": np.array([audited.path(int(n)) for n in records.images], dtype=object),
        "label": np.array(records.labels),
        "label_name": names[records.labels],
        "prediction": np.array(records.predictions),
        "prediction_name": names[records.predictions],
        "confidence": np.array(records.confidences),
        "label_probability": np.array(records.label_probabilities),
        **audited.statistics,
        **{name: np.array(values) for name, values in records.columns.items()},
    }
    if isinstance(audited.strategies, Strategies):
        columns["strategy"] = audited.strategies.groups
    if audited.groups:
        columns["group"] = np.array(audited.groups, dtype=object)
    flags = ["; ".join(report.flags.get(number, ())) for number in numbers]
    return columns | {"flags": np.array(flags, dtype=object)}


def _cells(values: np.ndarray) -> list[Any]:
    if values.dtype.kind == "f":
        return [round(float(v), 6) if np.isfinite(v) else None for v in values]
    return list(values.tolist())


def _arrays(records: ImageRecords, report: Report) -> dict[str, np.ndarray]:
    given = [*ONE_FOR_EACH, "mean_images", "counts"]
    found = {name: getattr(records, name) for name in given}
    found |= dict(records.columns) | report.arrays
    return {name: np.array(a) for name, a in found.items() if a.nbytes <= LARGEST_ARRAY}


def _manifest(audited: AuditedData, report: Report, title: str, seconds: float) -> dict[str, Any]:
    records = audited.records
    models = [audited.subject, audited.rival[0] if audited.rival is not None else None]
    own, rival = (one and {"name": one.name, "weights": one.weights} for one in models)
    return {
        "format": FORMAT,
        "title": title,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round(seconds, 1),
        "model": own,
        "against": rival,
        "settings": records.settings,
        "classes": list(audited.classes),
        "images": len(records),
        "skipped": [list(item) for item in records.skipped],
        "software": software(),
        "system": system_words(),
        "seed": audited.seed,
        "findings": as_json(tuple(report.findings)),
        "not_checked": [*report.unchecked, *closing.ALWAYS],
        "problems": [str(problem) for problem in report.problems],
    }
