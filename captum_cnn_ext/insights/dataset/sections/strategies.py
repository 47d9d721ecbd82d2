"""Which strategies the model uses: groups of images that it recognises by the same features."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch.utils.data import Dataset

from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext.evidence import Strategies, Strategy, top_patches
from captum_cnn_ext.insights.dataset.audited import AuditedData
from captum_cnn_ext.insights.dataset.pictures import patch_picture
from captum_cnn_ext.insights.dataset.scores import less_often
from captum_cnn_ext.insights.pictures import scale
from captum_cnn_ext.insights.report.blocks import (
    Block,
    Cell,
    Column,
    Group,
    Panels,
    Picture,
    SectionContent,
    Text,
)
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.wording import percent, rounded, shown
from captum_cnn_ext.synthesis import Channel, maximize

KEY = "strategies"
CLASSES = 8  # with pictures: those with several groups
SHEET = 5  # images of a group
UNITS, PATCHES, SEARCHED = 2, 2, 64  # units of a group, patches of each, images searched for them
MADE, STEPS = 8, 24  # units of the report that are drawn from noise, steps of ascent


def build(audited: AuditedData, report: Report) -> SectionContent:
    """A table of all groups, then contact sheets of classes that have several."""
    text = (
        "Images with the same prediction are grouped by the features (channels of the layer) "
        "that speak for it and by where they lie. There is more than one group only where grouping "
        "fits better than it does after the features were shuffled between images. A single group "
        "is a result too: the model recognises all images of the class in the same way."
    )
    found = audited.strategies
    if found is None:
        raise AssertionError("the searches were left out")
    if not isinstance(found, Strategies):
        raise found
    blocks: list[Block] = [Text(text), _table(audited, report, found)]
    labels = sorted({one.label for one in found.found})
    several = [label for label in labels if len(found.of(label)) > 1]
    if not labels:
        note = "No class is predicted for enough images (20) to be grouped."
        report.unchecked.append(f"Which strategies the model uses. {note}")
        return SectionContent([Text(text), Text(note, "note")])
    _compare(audited, report, found, several)
    if not several:
        report.note(
            "fine",
            f"Each of {len(labels)} predicted classes is recognised in one way; no groups of "
            "images stand apart.",
            KEY, id="one-strategy-each", numbers={"classes": len(labels)},
        )  # fmt: skip
    made: dict[int, Picture] = {}
    for label in several[:CLASSES]:
        inner: list[Block] = []
        for number, one in enumerate(found.of(label), 1):
            inner += _sheet(audited, one, number, made)
        blocks.append(Group(f"{audited.classes[label]}: {len(found.of(label))} strategies", inner))
    if len(several) > CLASSES:
        left = len(several) - CLASSES
        blocks.append(Text(f"{left} more classes have several; strategies.csv lists them.", "note"))
    return SectionContent(blocks)


def _table(audited: AuditedData, report: Report, found: Strategies) -> Block:
    titles = ["strategy", "images", "right", "evidence across", "evidence down"]
    columns = [Column("predicted class"), *Column.numbers(*titles, "fit", "fit by chance")]
    rows: list[list[Cell]] = []
    for label in sorted({one.label for one in found.found}):
        for number, one in enumerate(found.of(label), 1):
            numbers = (one.accuracy, one.centre[1], one.centre[0], found.scores[label])
            listed = [rounded(v) for v in (*numbers, found.null[label])]
            rows.append([audited.classes[label], number, len(one), *listed])
    caption = (
        "Evidence across and down: its centre, from 0 (left, top) to 1. Fit: the mean silhouette "
        "of the groups, at most 1; empty where one group is the answer. By chance: the best of 19 "
        "groupings after shuffling."
    )
    return report.tabulate("strategies", caption, columns, rows)


def _compare(audited: AuditedData, report: Report, found: Strategies, several: list[int]) -> None:
    """Groups that are right less often than the other groups of their class."""
    tests = sum(len(found.of(label)) for label in several)
    right = np.array(audited.records.correct)
    for label in several:
        groups = found.of(label)
        parts = [(int(right[list(one.rows)].sum()), len(one)) for one in groups]
        for place, share, difference in less_often(parts, tests):
            number = place + 1
            report.note(
                "unsure",
                f"When the model says {audited.short(label)} by its strategy {number}, it is right "
                f"in {shown(share, len(groups[place]))}, {-100 * difference.mean:.0f} points "
                "less than by its other strategies.",
                KEY, "Look at its contact sheet: what do these images share?",
                id=f"strategy-worse-{label}-{number}", subject=audited.classes[label],
                interval=share, evidence=("strategies.csv",),
                numbers={"accuracy": share.mean, "difference": difference.mean},
            )  # fmt: skip


def _sheet(
    audited: AuditedData, one: Strategy, number: int, made: dict[int, Picture]
) -> list[Block]:
    named = audited.records.labels
    pictures = [audited.picture(row, f"label: {audited.classes[int(named[row])]}")
                for row in one.rows[:SHEET]]  # fmt: skip
    title = (
        f"Strategy {number}: {len(one):,} images, {percent(one.accuracy)} right; the most typical"
    )
    units = [unit for unit, apart in one.units if apart > 0][:UNITS]
    if not units:
        return [Panels(title, pictures)]
    words = "Channels that speak for it more than in the class's other images, the patches that "
    words += "activate them most, and a synthesised image that does: " + ", ".join(
        f"{unit} ({apart:+.1f} standard deviations)" for unit, apart in one.units if unit in units
    )
    _synthesise(audited, units, made)
    of_units = [
        [*patches, *([made[unit]] if unit in made else [])]
        for unit, patches in zip(units, _patches(audited, one, units), strict=True)
    ]
    alike = len({len(some) for some in of_units}) == 1
    together = len(of_units[0]) if alike else 1
    every = [picture for some in of_units for picture in some]
    return [Panels(title, pictures), Panels(f"{words}.", every, together=together)]


def _synthesise(audited: AuditedData, units: list[int], made: dict[int, Picture]) -> None:
    """What each unit looks for, drawn from noise, for the first units of the report."""
    image = audited.input(0)
    if not audited.look or len(image) not in (1, 3):
        return
    for unit in units:
        if unit in made or len(made) >= MADE:
            continue
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "objective .* never changed")
            warnings.filterwarnings("ignore", r"layer .* is called \d+ times")
            found = maximize(
                audited.subject.model, Channel(audited.records.layer, unit), tuple(image.shape),
                recipe="lucid", steps=STEPS, seed=audited.seed, **audited.look,
            )  # fmt: skip
        if found.values[0] == 0:  # a rectifier that is off for noise has no gradient to climb
            continue
        title = f"channel {unit}, synthesised"
        made[unit] = patch_picture(found.images[0], scale([0.0], [1.0]), title)


class _Rows(Dataset[torch.Tensor]):
    """Network inputs of some rows."""

    def __init__(self, audited: AuditedData, rows: tuple[int, ...]) -> None:
        self.audited, self.rows = audited, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.audited.input(self.rows[index])


def _patches(audited: AuditedData, one: Strategy, units: list[int]) -> list[list[Picture]]:
    """What excites each unit most among the group's most typical images."""
    images = _Rows(audited, one.rows[:SEARCHED])
    settings = audited.records.settings
    with warnings.catch_warnings(), state_as_found(audited.subject.model, []):
        warnings.filterwarnings("ignore", r"layer .* is called \d+ times")
        top = top_patches(
            audited.subject.model, audited.records.layer, images, PATCHES, units,
            call=settings["call"], on_error="skip",
        )  # fmt: skip
    return [
        [patch_picture(patch, audited.look, f"channel {unit}") for patch in patches]
        for unit, patches in zip(units, top.patches(images, units), strict=True)
    ]


SECTION = Section(KEY, "Which strategies does it use?", build)
