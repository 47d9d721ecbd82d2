"""Which strategies the model uses: groups of images that it recognises by the same features."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch.utils.data import Dataset

from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext.evidence import Strategies, Strategy, strategies, top_patches
from captum_cnn_ext.insights.dataset.context import DatasetContext, rounded, shown
from captum_cnn_ext.insights.dataset.pictures import patch_picture
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
from captum_cnn_ext.insights.wording import percent
from captum_cnn_ext.metrics import share_difference, wilson
from captum_cnn_ext.synthesis import Channel, maximize

KEY, TITLE = "strategies", "Which strategies does it use?"
CLASSES = 8  # with pictures: those with several groups
SHEET = 5  # images of a group
UNITS, PATCHES, SEARCHED = 2, 2, 64  # units of a group, patches of each, images searched for them
MADE, STEPS = 8, 24  # units of the report that are drawn from noise, steps of ascent


def build(context: DatasetContext) -> SectionContent:
    """A table of all groups, then contact sheets of classes that have several."""
    text = (
        "Images with the same prediction are grouped by the features (channels of the layer) "
        "that speak for it and by where they lie. There is more than one group only where grouping "
        "fits better than it does after the features were shuffled between images. A single group "
        "is a result too: the model recognises all images of the class in the same way."
    )
    try:
        with warnings.catch_warnings():  # images that are all the same are one group
            warnings.filterwarnings("ignore", "Number of distinct clusters")
            found = strategies(context.records, seed=context.seed)
    except ImportError as error:
        context.unchecked.append(f"Which strategies the model uses: {error}.")
        return SectionContent([Text(str(error), "note")])
    context.strategies = found
    context.columns["strategy"] = found.groups
    blocks: list[Block] = [Text(text), _table(context, found)]
    labels = sorted({one.label for one in found.found})
    several = [label for label in labels if len(found.of(label)) > 1]
    if not labels:
        note = "No class is predicted for enough images (20) to be grouped."
        context.unchecked.append(f"Which strategies the model uses. {note}")
        return SectionContent([Text(text), Text(note, "note")])
    _compare(context, found, several)
    if not several:
        context.find(
            "fine", "one-strategy-each",
            f"Each of {len(labels)} predicted classes is recognised in one way; no groups of "
            "images stand apart.",
            KEY, numbers={"classes": float(len(labels))},
        )  # fmt: skip
    made: dict[int, Picture] = {}
    for label in several[:CLASSES]:
        inner: list[Block] = []
        for number, one in enumerate(found.of(label), 1):
            inner += _sheet(context, one, number, made)
        blocks.append(Group(f"{context.name(label)}: {len(found.of(label))} strategies", inner))
    if len(several) > CLASSES:
        left = len(several) - CLASSES
        blocks.append(Text(f"{left} more classes have several; strategies.csv lists them.", "note"))
    return SectionContent(blocks)


def _table(context: DatasetContext, found: Strategies) -> Block:
    titles = ["strategy", "images", "right", "evidence across", "evidence down"]
    columns = [Column("predicted class"), *Column.numbers(*titles, "fit", "fit by chance")]
    rows: list[list[Cell]] = []
    for label in sorted({one.label for one in found.found}):
        for number, one in enumerate(found.of(label), 1):
            numbers = (one.accuracy, one.centre[1], one.centre[0], found.scores[label])
            listed = [rounded(v) for v in (*numbers, found.null[label])]
            rows.append([context.name(label), number, len(one), *listed])
    caption = (
        "Evidence across and down: its centre, from 0 (left, top) to 1. Fit: the mean silhouette "
        "of the groups, at most 1; empty where one group is the answer. By chance: the best of 19 "
        "groupings after shuffling."
    )
    return context.tabulate("strategies", caption, columns, rows)


def _compare(context: DatasetContext, found: Strategies, several: list[int]) -> None:
    """Groups that are right less often than the other groups of their class."""
    tests = sum(len(found.of(label)) for label in several)
    right = np.array(context.records.correct)
    for label in several:
        groups = found.of(label)
        for number, one in enumerate(groups, 1):
            others = [row for other in groups if other is not one for row in other.rows]
            hits, others_hit = int(right[list(one.rows)].sum()), int(right[others].sum())
            difference = share_difference(
                hits, len(one), others_hit, len(others), confidence=1 - 0.05 / tests
            )
            if difference.high >= 0:
                continue
            share = wilson(hits, len(one))
            context.find(
                "unsure", f"strategy-worse-{label}-{number}",
                f"When the model says {context.short(label)} by its strategy {number}, it is right "
                f"in {shown(share)} of {len(one):,} images, {-100 * difference.mean:.0f} points "
                "less than by its other strategies.",
                KEY, subject=context.name(label), interval=share, evidence=("strategies.csv",),
                next_step="Look at its contact sheet: what do these images share?",
                numbers={"accuracy": share.mean, "difference": difference.mean},
            )  # fmt: skip


def _sheet(
    context: DatasetContext, one: Strategy, number: int, made: dict[int, Picture]
) -> list[Block]:
    named = context.records.labels
    pictures = [context.picture(row, f"label: {context.name(int(named[row]))}")
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
    _synthesise(context, units, made)
    of_units = [
        [*patches, *([made[unit]] if unit in made else [])]
        for unit, patches in zip(units, _patches(context, one, units), strict=True)
    ]
    alike = len({len(some) for some in of_units}) == 1
    together = len(of_units[0]) if alike else 1
    every = [picture for some in of_units for picture in some]
    return [Panels(title, pictures), Panels(f"{words}.", every, together=together)]


def _synthesise(context: DatasetContext, units: list[int], made: dict[int, Picture]) -> None:
    """What each unit looks for, drawn from noise, for the first units of the report."""
    mean, std = context.subject.mean, context.subject.std
    image = context.input(0)
    if mean is None or std is None or len(image) not in (1, 3):
        return
    for unit in units:
        if unit in made or len(made) >= MADE:
            continue
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "objective .* never changed")
            warnings.filterwarnings("ignore", r"layer .* is called \d+ times")
            found = maximize(
                context.subject.model, Channel(context.records.layer, unit), tuple(image.shape),
                recipe="lucid", steps=STEPS, seed=context.seed, mean=mean, std=std,
            )  # fmt: skip
        if found.values[0] == 0:  # a rectifier that is off for noise has no gradient to climb
            continue
        title = f"channel {unit}, synthesised"
        made[unit] = patch_picture(found.images[0], [0.0], [1.0], title)


class _Rows(Dataset[torch.Tensor]):
    """Network inputs of some rows."""

    def __init__(self, context: DatasetContext, rows: tuple[int, ...]) -> None:
        self.context, self.rows = context, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.context.input(self.rows[index])


def _patches(context: DatasetContext, one: Strategy, units: list[int]) -> list[list[Picture]]:
    """What excites each unit most among the group's most typical images."""
    images = _Rows(context, one.rows[:SEARCHED])
    settings = context.records.settings
    with warnings.catch_warnings(), state_as_found(context.subject.model, []):
        warnings.filterwarnings("ignore", r"layer .* is called \d+ times")
        top = top_patches(
            context.subject.model, context.records.layer, images, PATCHES, units,
            call=settings["call"], on_error="skip",
        )  # fmt: skip
    mean, std = context.subject.mean, context.subject.std
    return [
        [patch_picture(patch, mean, std, f"channel {unit}") for patch in patches]
        for unit, patches in zip(units, top.patches(images, units), strict=True)
    ]
