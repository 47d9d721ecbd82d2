"""What changed since an older model, on the same images: answers, classes, and where it looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from captum_cnn_ext.evidence import ImageRecords
from captum_cnn_ext.insights.dataset.audited import AuditedData
from captum_cnn_ext.insights.dataset.map_statistics import Floats, distance, mean_map
from captum_cnn_ext.insights.dataset.scores import paired_difference
from captum_cnn_ext.insights.report.blocks import (
    Block,
    Cell,
    Column,
    Facts,
    Group,
    Panels,
    Picture,
    SectionContent,
    Text,
)
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.wording import of_images, percent, rounded
from captum_cnn_ext.metrics import Interval

KEY = "against"
BY_CLASS, MOVED_BY_CLASS = "against", "moved"  # names of tables
WORSE, NOT_WORSE = "worse-than-before", "not-worse-than-before"  # ids of findings
CLASS_WORSE, ELSEWHERE = "class-worse-than-before", "looks-elsewhere-than-before"  # and a class
FEW = 10
SPLITS = 200
EACH = 6  # pictures of images that changed
MOVED = 0.1  # of the evidence: less is not worth a word


@dataclass(frozen=True)
class Both:
    """The images that both models could use: their rows in each one's records, and labels."""

    new: ImageRecords
    old: ImageRecords
    here: np.ndarray
    there: np.ndarray
    labels: np.ndarray
    right: np.ndarray
    was_right: np.ndarray


def both(new: ImageRecords, old: ImageRecords) -> Both:
    """Align the rows of two models."""
    _, here, there = np.intersect1d(new.images, old.images, return_indices=True)
    labels = np.array(new.labels)[here]
    return Both(
        new, old, here, there, labels,
        np.array(new.predictions)[here] == labels, np.array(old.predictions)[there] == labels,
    )  # fmt: skip


def build(audited: AuditedData, report: Report) -> SectionContent:
    """Accuracy, classes, images that changed, and attention."""
    assert audited.rival is not None
    subject, records = audited.rival
    pair = both(audited.records, records)
    difference = paired_difference(pair.right, pair.was_right, seed=audited.seed)
    facts = [
        ("Older model", f"{subject.name}, weights: {subject.weights}"),
        ("Images that both could use", f"{len(pair.here):,}"),
        ("Right now", of_images(float(pair.right.mean()), len(pair.here))),
        ("Right before", of_images(float(pair.was_right.mean()), len(pair.here))),
        ("Difference", _points(difference)),
    ]
    _overall(report, difference)
    blocks: list[Block] = [
        Text(
            "Both models were asked about the same images; intervals are of the difference image "
            "by image (paired bootstrap)."
        ),
        Facts(facts),
    ]
    table, equal = _classes(audited, report, pair)
    blocks += [
        Group("Classes", [table]),
        Group("Images that changed", _changed(audited, report, pair)),
        Group("Where it looks now", _attention(audited, report, pair, equal)),
    ]
    return SectionContent(blocks)


def _points(difference: Interval) -> str:
    ends = f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f}"
    return f"{100 * difference.mean:+.1f} points ({ends})"


def _overall(report: Report, difference: Interval) -> None:
    if difference.high < 0:
        report.note(
            "unsure",
            f"Accuracy fell by {-100 * difference.mean:.1f} points since the older model.",
            KEY, "See which classes and images it lost.",
            id=WORSE, interval=difference, numbers={"difference": difference.mean},
        )  # fmt: skip
    else:
        way = "rose" if difference.low > 0 else "did not change beyond chance"
        report.note(
            "fine", f"Accuracy {way} since the older model: {_points(difference)}.", KEY,
            id=NOT_WORSE, interval=difference,
            numbers={"difference": difference.mean},
        )  # fmt: skip


def _classes(audited: AuditedData, report: Report, pair: Both) -> tuple[Block, list[int]]:
    """The table of classes, and those whose accuracy is the same as far as can be told."""
    present = np.unique(pair.labels).tolist()
    tested = [c for c in present if (pair.labels == c).sum() >= FEW]
    rows: list[list[Cell]] = []
    equal: list[int] = []
    for c in present:
        mine, count = pair.labels == c, int((pair.labels == c).sum())
        change = paired_difference(
            pair.right[mine], pair.was_right[mine],
            confidence=1 - 0.05 / max(len(tested), 1), seed=audited.seed,
        )  # fmt: skip
        now, before = float(pair.right[mine].mean()), float(pair.was_right[mine].mean())
        numbers = [rounded(v) for v in (now, before, change.mean, change.low, change.high)]
        rows.append([audited.classes[c], count, *numbers])
        if c not in tested:
            continue
        if change.low <= 0 <= change.high:
            equal.append(c)
        elif change.high < 0:
            report.note(
                "unsure",
                f"{audited.short(c)} was found in {of_images(before, count)} and is now in "
                f"{of_images(now, count)}.",
                KEY, "Look at the images that it lost.",
                id=f"{CLASS_WORSE}-{c}", subject=audited.classes[c], interval=change,
                evidence=("against.csv",), numbers={"difference": change.mean},
            )  # fmt: skip
    titles = ["images", "right now", "before", "difference", "from", "to"]
    columns = [Column("class"), *Column.numbers(*titles)]
    caption = "Intervals hold for all classes together."
    return report.tabulate(BY_CLASS, caption, columns, rows), equal


def _changed(audited: AuditedData, report: Report, pair: Both) -> list[Block]:
    now, before = (
        np.array(r.predictions)[rows] for r, rows in ((pair.new, pair.here), (pair.old, pair.there))
    )
    lost, won = pair.was_right & ~pair.right, pair.right & ~pair.was_right
    other = (now != before) & ~lost & ~won
    report.flag(pair.here[lost], "was right before")
    report.flag(pair.here[won], "was wrong before")
    facts = [
        ("Right before, not any more", f"{int(lost.sum()):,}"),
        ("Right now, not before", f"{int(won.sum()):,}"),
        ("Another wrong answer", f"{int(other.sum()):,}"),
    ]
    blocks: list[Block] = [Facts(facts)]
    confidence = np.array(pair.new.confidences)[pair.here]
    chosen = np.flatnonzero(lost)
    chosen = chosen[np.argsort(-confidence[chosen], kind="stable")][:EACH]
    pictures = []
    for i in chosen.tolist():
        label = audited.classes[int(pair.labels[i])]
        caption = f"now {audited.classes[int(now[i])]}; before {label}, as the label"
        pictures.append(audited.picture(int(pair.here[i]), f"evidence now: {caption}"))
        pictures.append(audited.picture(int(pair.there[i]), "evidence before", pair.old))
    if pictures:
        title = "Lost, the surest, with the evidence now and before"
        blocks.append(Panels(title, pictures, together=2))
    return blocks


def _attention(audited: AuditedData, report: Report, pair: Both, equal: list[int]) -> list[Block]:
    """For each class how far the evidence moved, and by how much it would by chance."""
    random = np.random.default_rng(audited.seed)
    twin = None if audited.twin is None else both(audited.records, audited.twin)
    found: list[tuple[float, float, float, int, Floats, Floats]] = []
    for c in np.unique(pair.labels).tolist():
        mine = np.flatnonzero((pair.labels == c) & pair.right & pair.was_right)
        if len(mine) < FEW:
            continue
        now = mean_map(pair.new, pair.here[mine])[0]
        before = mean_map(pair.old, pair.there[mine])[0]
        halves = [
            distance(*(mean_map(pair.new, pair.here[part])[0] for part in _split(mine, random)))
            for _ in range(SPLITS if len(mine) <= 2000 else SPLITS // 10)
        ]
        null = float(np.quantile(halves, 0.95))
        if twin is not None:
            same = np.flatnonzero((twin.labels == c) & twin.right & twin.was_right)
            if len(same) >= FEW:
                maps = (
                    mean_map(twin.new, twin.here[same])[0],
                    mean_map(twin.old, twin.there[same])[0],
                )
                null = max(null, distance(*maps))
        moved = distance(now, before)
        chance = (1 + sum(half >= moved for half in halves)) / (1 + len(halves))
        found.append((moved, null, chance, c, now, before))
    if not found:
        report.unchecked.append(
            f"Whether the model looks elsewhere than the older one: no class has {FEW} images that "
            "both name rightly."
        )
        return [Text(f"No class has {FEW} images that both models name rightly.", "note")]
    # what retraining alone does to any class is what it could do to each
    largest = max(null for _, null, *_ in found) if twin is not None else 0.0
    rows: list[list[Cell]] = []
    pictures: list[Picture] = []
    elsewhere = 0
    for moved, null, chance, c, now, before in sorted(found, key=lambda one: -one[0]):
        limit = max(null, largest)
        odd = moved > limit and moved > MOVED and (twin is not None or chance * len(found) <= 0.05)
        rows.append([audited.classes[c], rounded(moved), rounded(limit), "yes" if odd else ""])
        if not odd:
            continue
        if c in equal:
            elsewhere += 1
            _elsewhere(audited, report, c, moved, limit, twin is not None)
        if len(pictures) < 2 * EACH:
            both_maps = ((now, "now"), (before, "before"))
            pictures += [audited.mean_picture(c, *one) for one in both_maps]
    if not elsewhere:
        report.note(
            "fine",
            "No class whose accuracy is the same has its evidence elsewhere than before, beyond "
            + ("what retraining does." if twin is not None else "chance."),
            KEY, id="looks-where-it-did", numbers={"classes": len(found)},
        )  # fmt: skip
    if twin is None:
        report.unchecked.append(
            "How far evidence moves when the same training is repeated: a model trained again "
            "(--twin) would tell; without it, halves of the images stand for chance."
        )
    columns = [Column("class"), Column("moved", number=True), Column("by chance", number=True)]
    caption = (
        "Moved: the share of the evidence that lies elsewhere than before, over the images that "
        "both name rightly. By chance: what 19 of 20 pairs of halves of these images stay under "
        "with the one model"
        + (", or what the retrained twin does to any class if that is more." if twin else ".")
    )
    table = report.tabulate(MOVED_BY_CLASS, caption, [*columns, Column("elsewhere")], rows)
    shown = [Panels("Mean evidence now and before", pictures, together=2)] if pictures else []
    return [table, *shown]


def _split(rows: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    drawn = random.permutation(rows)
    return drawn[: len(rows) // 2], drawn[len(rows) // 2 :]


def _elsewhere(
    audited: AuditedData, report: Report, c: int, moved: float, limit: float, retrained: bool
) -> None:
    what = "retraining alone moves" if retrained else "chance moves"
    report.note(
        "unsure",
        f"{audited.short(c)} is found as often as before, but {percent(moved)} of its evidence "
        f"lies elsewhere now ({what} at most {percent(limit)}).",
        KEY, "Compare both mean maps: has the new model found another cue?",
        id=f"{ELSEWHERE}-{c}", subject=audited.classes[c],
        evidence=("moved.csv",), numbers={"moved": moved, "by_chance": limit},
    )  # fmt: skip


SECTION = Section(KEY, "Against the older model", build)
