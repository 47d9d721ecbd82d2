"""Where the model looks: mean maps, border, concentration, and the object where masks are given."""

from __future__ import annotations

import numpy as np
import torch

from captum_cnn_ext.insights.dataset.audited import AuditedData
from captum_cnn_ext.insights.dataset.map_statistics import OBJECT_COLUMNS, border_area, mean_map
from captum_cnn_ext.insights.pictures import heat_scale
from captum_cnn_ext.insights.report.blocks import (
    Block,
    Cell,
    Column,
    Group,
    Panels,
    SectionContent,
    Text,
)
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.wording import percent, rounded, shown
from captum_cnn_ext.metrics import Interval, bootstrap, wilson

KEY = "attention"
ON_OBJECTS = "evidence-on-objects"  # ids of findings; this one is of all classes
OFF_OBJECT = "evidence-off-object"  # and a class
CLASSES = 24  # with pictures
FEW = 10  # images under which a class is not compared
MARGIN = 0.1  # of the evidence or the image: a difference below it is not worth a word
WORDS = {
    "border_share": ("in the border", "{} of its evidence lies in the border of the image"),
    "half_area": ("half the evidence in", "half of its evidence is spread over {} of the image"),
}


def build(audited: AuditedData, report: Report) -> SectionContent:
    """Mean maps by predicted class, what stands out, and the objects."""
    named = np.array(audited.records.predictions)
    counts = np.bincount(named, minlength=audited.records.classes)
    blocks: list[Block] = [
        Text(
            f"The evidence for what the model says, at its layer {audited.records.layer}: gradient "
            "times activation, summed over channels, which is exact where pooling and one linear "
            "layer follow. Classes here are what the model names an image, right or not."
        )
    ]
    rows = _rows(audited, named)
    odd = _stand_out(audited, report, rows)
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda c: (c not in odd, -counts[c], c))
    blocks += [Group("Mean maps", _maps(audited, report, counts, order))]
    titles = ["images", "in the border", "half the evidence in", "centre, across", "centre, down"]
    columns = [Column("predicted class"), *Column.numbers(*titles, "moves across", "moves down")]
    caption = (
        f"In the border: the share of the evidence in the outer eighth on each side; an even map "
        f"has {border_area():.3f} there. Half the evidence in: the smallest share of the image "
        "that holds half of it. Centre: from 0 (left, top) to 1; it moves by the standard "
        "deviation over images."
    )
    table = report.tabulate("attention", caption, columns, [rows[c] for c in sorted(rows)])
    blocks.append(Group("In numbers", [table]))
    if audited.masked:
        blocks.append(Group("On the object", _objects(audited, report)))
    else:
        report.unchecked.append(
            "Whether the evidence lies on the objects: there are no masks or boxes (--masks, "
            "--boxes)."
        )
    return SectionContent(blocks)


def _rows(audited: AuditedData, named: np.ndarray) -> dict[int, list[Cell]]:
    """A row of the table for each predicted class."""
    found: dict[int, list[Cell]] = {}
    for c in np.unique(named).tolist():
        mine = named == c
        values = {name: stat[mine] for name, stat in audited.statistics.items()}
        known = {name: v[np.isfinite(v)] for name, v in values.items()}
        means = [float(v.mean()) if len(v) else np.nan for v in known.values()]
        centers = [known[name] for name in ("center_x", "center_y")]
        moves = [float(v.std()) if len(v) else np.nan for v in centers]
        numbers = [rounded(value) for value in (*means, *moves)]
        found[c] = [audited.classes[c], int(mine.sum()), *numbers]
    return found


def _stand_out(audited: AuditedData, report: Report, rows: dict[int, list[Cell]]) -> set[int]:
    """Classes whose maps lie elsewhere than those of the other classes, beyond chance."""
    odd, named = set[int](), audited.records.predictions
    tested = [c for c in rows if (named == c).sum() >= FEW]
    for name, (_, words) in WORDS.items():
        values = audited.statistics[name]
        means = {c: float(np.nanmean(values[named == c])) for c in tested}
        if len(tested) < 3:
            continue
        for c in tested:
            others = [m for other, m in means.items() if other != c]
            spread = values[named == c]
            spread = spread[np.isfinite(spread)]
            interval = bootstrap(
                torch.from_numpy(spread.astype(np.float64)),
                confidence=1 - 0.05 / (len(tested) * len(WORDS)), resamples=1000,
                seed=audited.seed,
            )  # fmt: skip
            more = interval.low > max(others) + MARGIN
            less = interval.high < min(others) - MARGIN
            if not (more or less):
                continue
            odd.add(c)
            way, bound = ("more", "most") if more else ("less", "least")
            next_ = max(others) if more else min(others)
            report.note(
                "unsure",
                f"When the model says {audited.short(c)}, {words.format(percent(interval.mean))}, "
                f"{way} than for any other class ({percent(next_)} at {bound}).",
                KEY, "Look at its mean map: is that where such objects are?",
                id=f"looks-elsewhere-{name.replace('_', '-')}-{c}", subject=audited.classes[c],
                interval=interval, evidence=("attention.csv", "images.csv"),
                numbers={name: interval.mean, "other_classes": next_},
            )  # fmt: skip
    if len(tested) >= 3 and not odd:
        report.note(
            "fine",
            f"None of {len(tested)} predicted classes has its evidence far more in the border, or "
            "on a far smaller or larger part of the image, than all others.",
            KEY, id="looks-alike", numbers={"classes": len(tested)},
        )  # fmt: skip
    elif len(tested) < 3:
        report.unchecked.append(
            f"Whether a class looks elsewhere than others: that needs 3 predicted classes of at "
            f"least {FEW} images."
        )
    return odd


def _maps(
    audited: AuditedData, report: Report, counts: np.ndarray, order: list[int]
) -> list[Block]:
    pictures, records = [], audited.records
    means = np.full((records.classes, *records.maps.shape[1:]), np.nan, np.float32)
    spreads = means.copy()
    for c in order:
        means[c], spreads[c] = mean_map(records, np.flatnonzero(records.predictions == c))
    report.keep("mean_maps", means, "mean map of each predicted class")
    report.keep("spread_of_maps", spreads, "its standard deviation over images")
    for c in order[:CLASSES]:
        level = float(means[c].mean())
        steady = float(spreads[c].mean() / level) if level > 0 else np.nan
        varies = f"from image to image a position varies by {steady:.1f} times its mean"
        pictures.append(audited.mean_picture(c, means[c], f"{counts[c]:,} images; {varies}"))
    left = f" Of {len(order)} classes, {CLASSES} are shown: those that stand out, then the largest."
    text = (
        "Behind each map is the mean image of the class by its labels. A map that is sharp where "
        "the mean image is blurred means that the model looks at one place wherever the "
        "object is." + (left if len(order) > CLASSES else "")
    )
    return [Text(text), heat_scale("no evidence", "most evidence"), Panels("", pictures)]


def _objects(audited: AuditedData, report: Report) -> list[Block]:
    columns, labels = audited.records.columns, audited.records.labels
    known = np.isfinite(columns["object_share"])
    right = np.array(audited.records.correct) & known
    titles = ["images", "object covers", "energy inside", "from", "to"]
    heads = [Column("class"), *Column.numbers(*titles, "pointing game", "rank accuracy")]
    present = np.unique(labels[right]).tolist()
    tested = [c for c in present if ((labels == c) & right).sum() >= FEW]
    sure = 1 - 0.05 / max(len(tested), 1)
    rows: list[list[Cell]] = []
    outside = 0
    for c in present:
        mine = right & (labels == c)
        values = {n: columns[n][mine].astype(np.float64) for n in OBJECT_COLUMNS}
        energy = bootstrap(
            torch.from_numpy(values["energy_inside"]), resamples=1000, seed=audited.seed,
            confidence=sure,
        )  # fmt: skip
        cover, _, game, rank = (float(values[n].mean()) for n in OBJECT_COLUMNS)
        numbers = [rounded(v) for v in (cover, *vars(energy).values(), game, rank)]
        rows.append([audited.classes[c], int(mine.sum()), *numbers])
        peaks = wilson(int(values["pointing_game"].sum()), int(mine.sum()), confidence=sure)
        if c in tested and (peaks.high < 0.5 or energy.high < cover):
            outside += 1
            _off_object(audited, report, c, int(mine.sum()), peaks, energy, cover)
    if tested and not outside:
        report.note(
            "fine",
            f"In none of {len(tested)} classes with enough masks does the strongest evidence for "
            "right answers lie beside the object in most images.",
            KEY, id=ON_OBJECTS, evidence=("objects.csv",),
            numbers={"classes": len(tested)},
        )  # fmt: skip
    caption = (
        "Images that the model names rightly and that have a mask or box. Object covers: its share "
        "of the image, which an even map has inside. Energy inside: the share of the evidence on "
        "the object (relevance mass accuracy), with interval. Pointing game: how often the "
        "strongest pixel lies on it, or 15 pixels beside it at 224. Rank accuracy: how many of the "
        "strongest pixels, as many as the object has, lie on it."
    )
    blocks: list[Block] = [report.tabulate("objects", caption, heads, rows)]
    without = int((~known).sum())
    if without:
        blocks.insert(0, Text(f"{without:,} of {len(known):,} images have no usable mask.", "note"))
    return blocks


def _off_object(
    audited: AuditedData,
    report: Report,
    c: int,
    count: int,
    peaks: Interval,
    energy: Interval,
    cover: float,
) -> None:
    name, share = audited.short(c), percent(cover)
    text = (
        f"Where the model is right about {name}, its strongest evidence lies on the object in "
        f"only {shown(peaks, count)}, and {percent(energy.mean)} of all evidence does (the "
        f"object covers {share})."
        if peaks.high < 0.5
        else f"Where the model is right about {name}, only {shown(energy)} of the evidence in "
        f"{count:,} images lies on the object, less than if it were spread evenly (the object "
        f"covers {share})."
    )
    report.note(
        "unsure", text, KEY,
        "Look at its mean map, and at what such images share apart from the object"
        + ("; whether the model relies on that is tested below." if audited.testing else "."),
        id=f"{OFF_OBJECT}-{c}", subject=audited.classes[c], interval=peaks,
        evidence=("objects.csv",),
        numbers={"pointing_game": peaks.mean, "energy_inside": energy.mean, "object_share": cover},
    )  # fmt: skip


SECTION = Section(KEY, "Where does it look?", build)
