"""The audit of a labelled data set: one pass over it, then every section."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from captum_cnn_ext import __version__
from captum_cnn_ext._engine.judging.arguments import ArgumentError, Layer
from captum_cnn_ext._numbers import as_seed
from captum_cnn_ext.evidence import ImageRecords, image_records
from captum_cnn_ext.evidence.image_stream import images_of
from captum_cnn_ext.evidence.record_job import LabelledImages
from captum_cnn_ext.insights.audited_model import AuditedModel, ClassNames, audited_model
from captum_cnn_ext.insights.dataset.attention import object_columns
from captum_cnn_ext.insights.dataset.context import DatasetContext, percent
from captum_cnn_ext.insights.dataset.result import DatasetAudit, as_json
from captum_cnn_ext.insights.dataset.sections import accuracy, attention, closing, comparison
from captum_cnn_ext.insights.inputs import Preprocess
from captum_cnn_ext.insights.layers import default_layers
from captum_cnn_ext.insights.report.blocks import Column, SectionContent
from captum_cnn_ext.insights.report.context import Problem
from captum_cnn_ext.insights.report.figure_code import model_code
from captum_cnn_ext.insights.report.findings import Overview
from captum_cnn_ext.insights.report.manifest import plain
from captum_cnn_ext.insights.report.page import require_jinja
from captum_cnn_ext.insights.report.provenance import software, system_words
from captum_cnn_ext.insights.report.result import Audit
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.models import LoadedModel

FORMAT = "captum-cnn-ext data set audit 1"
LARGEST_ARRAY = 64_000_000  # bytes of an array that is saved beside the report
ONE_FOR_EACH = (
    *("images", "labels", "predictions", "confidences", "label_probabilities", "probabilities"),
    *("maps", "strengths", "contributions"),
)
Model = nn.Module | LoadedModel


def audit_dataset(
    model: Model,
    dataset: Any,
    *,
    layer: Layer | None = None,
    against: Model | None = None,
    twin: Model | None = None,
    class_names: ClassNames | None = None,
    groups: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
    autocast: torch.dtype | None = None,
    on_error: str = "skip",
    checkpoint: str | os.PathLike[str] | None = None,
    seed: int = 0,
    title: str | None = None,
    show_progress: bool = True,
) -> DatasetAudit:
    """What a model knows of a labelled data set, where it looks, and what changed since another.

    One pass over the data set collects predictions and maps (`evidence.image_records`); sections
    then say how good the model is, where it looks and, with masks, whether that is on the objects.
    Under ``torchrun`` the images are shared out, and every process returns the same result.

    Cost: one forward pass of each image and one backward pass of what follows the layer; the same
    again for ``against`` and for ``twin``.

    Args:
        model: a network that returns class scores (N, classes), in evaluation mode, or what
            `captum_cnn_ext.models.load_model` returns.
        dataset: a map-style Dataset or DataLoader of (image, label) or (image, label, mask), such
            as `captum_cnn_ext.labelled.labelled_photos` makes of a folder.
        layer: the layer of the maps; None takes the first of `captum_cnn_ext.attr.suggest_layers`.
        against: an older model of the same classes, to compare with.
        twin: ``model`` trained again from another seed: how much of a difference to ``against``
            retraining alone makes.
        class_names: the name of each class; None takes the data set's, then the model's.
        groups: a word for each image of the data set, such as where it is from; None takes the data
            set's ``groups``.
        preprocess: from a sample's image to a tensor (C, H, W); None takes the loaded model's for
            pictures and nothing for tensors.
        mean, std: what the preprocessing subtracted and divided by, per channel, on the [0, 1]
            scale; None takes them from the model or the preprocessing where these say.
        batch_size, num_workers, autocast, on_error: as in `evidence.image_records`.
        checkpoint: a folder where the pass is kept, from which an interrupted one goes on.
        seed: of resampling.
        title: heading of the report.
        show_progress: draw a progress bar with images per second.

    Returns:
        the audit; ``save("audit.html")`` writes it. A section that fails is shown as failed.

    Raises:
        ArgumentError: arguments that do not fit the model or the images; a ``ValueError``.
        TypeError: arguments of a wrong type.
        ImportError: Jinja2 is not installed.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.insights import audit_dataset
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(),
        ...     torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2)).eval()
        >>> data = [(torch.rand(3, 8, 8), number % 2) for number in range(12)]
        >>> done = audit_dataset(model, data, layer="1", show_progress=False)
        >>> sorted(done.table)[:4]
        ['border_share', 'center_x', 'center_y', 'confidence']
    """
    started = time.perf_counter()
    require_jinja()
    seed = as_seed("seed", seed)
    source = images_of(dataset, preprocess).dataset
    first = _first(source)
    tensors = bool(first) and isinstance(first[0], Tensor)
    prepared: dict[str, Any] = {"preprocess": preprocess, "mean": mean, "std": std}
    subject = audited_model(model, tensors=tensors, class_names=class_names, **prepared)
    images = LabelledImages(source, preprocess if tensors else subject.preprocess)
    columns = object_columns if len(first) > 2 else None

    def pass_over(one: AuditedModel, prepare: Any, where: str) -> ImageRecords:
        folder = None if checkpoint is None else Path(checkpoint)
        if folder is not None and where:
            folder.mkdir(exist_ok=True)
        found = layer if layer is not None and not where else _layer(one, prepare)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"layer .* is called \d+ times")
            return image_records(
                one.model,
                found,
                dataset,
                preprocess=prepare.preprocess,
                batch_size=batch_size,
                num_workers=num_workers,
                autocast=autocast,
                on_error=on_error,
                checkpoint=folder / where if folder is not None else None,
                columns=columns if not where else None,
                show_progress=show_progress,
            )

    with subject.first_pass(), torch.inference_mode(False):
        records = pass_over(subject, images, "")
    others: list[tuple[AuditedModel, ImageRecords] | None] = []
    for name, other in (("against", against), ("twin", twin)):
        if other is None:
            others.append(None)
            continue
        known = {} if isinstance(other, LoadedModel) else prepared
        second = audited_model(other, tensors=tensors, **known)
        if second.model is subject.model:
            raise ArgumentError(f"{name}: got the audited model itself, expected another one")
        prepare = LabelledImages(source, preprocess if tensors else second.preprocess)
        found = pass_over(second, prepare, name)
        if found.classes != records.classes:
            raise ArgumentError(
                f"{name}: has {found.classes} classes, the audited model {records.classes}"
            )
        others.append((second, found))
    if twin is not None and against is None:
        raise ArgumentError("twin: says how much retraining changes, beside against=, which lacks")
    names = class_names or getattr(source, "classes", None) or subject.class_names or ()
    context = DatasetContext(
        subject=subject,
        images=images,
        records=records,
        classes=_names(names, records.classes),
        groups=_groups(source, groups, records),
        notes=[*subject.notes, *getattr(source, "notes", ())],
        seed=seed,
    )
    if others[0] is not None:
        context.rival_subject, context.rival = others[0]
    context.twin = others[1][1] if others[1] is not None else None
    return _assembled(context, title, started, model_code(model))


def _first(source: Any) -> tuple[Any, ...]:
    """The first sample that can be read; empty where none can."""
    for number in range(len(source)):
        try:
            sample = source[number]
        except Exception:  # a broken file can raise anything; the pass reports each
            continue
        return tuple(sample) if isinstance(sample, (tuple, list)) else (sample,)
    return ()


def _layer(subject: AuditedModel, images: LabelledImages) -> str:
    for number in range(len(images)):
        _, image, _ = images[number]
        if isinstance(image, Tensor):
            like = next((p for p in subject.model.parameters()), torch.zeros(()))
            found, _ = default_layers(subject.model, image[None].to(like.device, like.dtype))
            return found[-1].name
    _, why, _ = images[0]
    raise ArgumentError(f"dataset: no image of it can be read (image 0: {why})")


def _names(names: ClassNames, classes: int) -> list[str]:
    if isinstance(names, dict):
        return [str(names.get(c, f"class {c}")) for c in range(classes)]
    listed = [str(name) for name in names][:classes]  # type: ignore[union-attr]
    return [*listed, *(f"class {c}" for c in range(len(listed), classes))]


def _groups(source: Any, groups: Sequence[str] | None, records: ImageRecords) -> list[str]:
    found = groups if groups is not None else getattr(source, "groups", ())
    if groups is not None and len(groups) != len(source):
        raise ArgumentError(
            f"groups: got {len(groups)} for {len(source)} images; expected one for each"
        )
    return [str(found[int(n)]) for n in records.images] if len(found) else []


def _sections(context: DatasetContext) -> list[Any]:
    """The modules that make sections, in the order of the page."""
    chosen: list[Any] = [accuracy, attention]
    if context.rival is not None:
        chosen.append(comparison)
    else:
        context.unchecked.append("What changed since an older model: none was given (--against).")
    return [*chosen, closing]


def _assembled(
    context: DatasetContext, title: str | None, started: float, code: str
) -> DatasetAudit:
    built: list[tuple[Section, SectionContent | Problem]] = []
    problems: list[Problem] = []
    for module in _sections(context):
        section = Section(module.KEY, module.TITLE, module.build)
        try:
            built.append((section, module.build(context)))
        except Exception as error:  # the other sections go on
            problems.append(Problem(module.TITLE, error))
            built.append((section, problems[-1]))
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
    return DatasetAudit(page, findings, table, records)


def _overview(context: DatasetContext, problems: list[Problem]) -> Overview:
    records = context.records
    right = float(np.mean(records.correct))
    doubts = sum(finding.verdict != "fine" for finding in context.findings)
    words = (
        "nothing found needs a look"
        if not doubts
        else ("1 finding needs a look" if doubts == 1 else f"{doubts} findings need a look")
    )
    saw = [
        f"{len(records):,} images of {len(set(records.labels.tolist()))} classes; the model tells "
        f"{records.classes} apart.",
        f"Maps are of the layer {records.layer}, {records.maps.shape[1]} x "
        f"{records.maps.shape[2]} positions.",
    ]
    if records.skipped:
        saw.append(f"{len(records.skipped):,} images could not be used; see the last section.")
    failed = [f"This report is not complete: {problem}" for problem in problems]
    return Overview(
        tuple(saw),
        tuple(context.findings),
        tuple([*failed, *context.unchecked, *closing.ALWAYS]),
        saw_title="What was audited",
        wrong_title="To be settled before anything else",
        unsure_title="To look at",
        first_sentence=f"The model is right on {percent(right)} of {len(records):,} images, and "
        f"{words}.",
    )


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
