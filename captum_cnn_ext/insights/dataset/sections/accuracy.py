"""How good the model is: accuracy, classes, confusions, confidence, groups; all with intervals."""

from __future__ import annotations

import numpy as np

from captum_cnn_ext.insights.dataset.audited import AuditedData
from captum_cnn_ext.insights.dataset.pictures import reliability_picture
from captum_cnn_ext.insights.dataset.scores import (
    calibration,
    confusions,
    less_often,
    other_order,
)
from captum_cnn_ext.insights.report.blocks import (
    Block,
    Cell,
    Column,
    Facts,
    Group,
    Listing,
    Panels,
    SectionContent,
    Table,
    Text,
)
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.wording import first_of, of_images, percent, rounded, shown
from captum_cnn_ext.metrics import Interval, wilson

KEY = "accuracy"
CALIBRATION = "calibration"  # id of a finding
ERRORS = 12  # pictures of the most confident errors
PAIRS, EACH = 4, 4  # confused pairs with pictures
SHOWN_PAIRS = 20
SMALLEST_ERROR = 0.02  # of calibration that is worth a word
FEW = 10  # images of a class under which nothing is said of it
PAIR_COLUMNS = [Column("label"), Column("predicted as"), Column("images", number=True),
                Column("share of the label", number=True)]  # fmt: skip


def build(audited: AuditedData, report: Report) -> SectionContent:
    """Accuracy with interval, then what it consists of."""
    labels, right = audited.records.labels, np.array(audited.records.correct)
    accuracy = wilson(int(right.sum()), len(right))
    largest = int(np.bincount(labels).max())
    facts = [
        ("Images", f"{len(right):,}"),
        ("Accuracy", shown(accuracy, len(right))),
        ("Always naming the most frequent class", of_images(largest / len(right), len(right))),
    ]
    blocks: list[Block] = [
        Text(
            "A prediction is the class with the highest score. Shares are given with their 95% "
            "confidence interval (Wilson's)."
        ),
        Facts(facts),
    ]
    report.keep("accuracy", list(vars(accuracy).values()), "share right, and its interval")
    blocks += _chance(audited, report, accuracy, largest)
    blocks.append(Group("Classes", _classes(audited, report)))
    wrong = np.flatnonzero(~right)
    if len(wrong):
        blocks.append(Group("What is taken for what", _confusions(audited, report)))
    blocks.append(Group("Confidence", _confidence(audited, report)))
    if len(wrong):
        blocks.append(Group("The most confident errors", _errors(audited, report, wrong)))
    if audited.groups:
        blocks.append(Group("Groups", _groups(audited, report, right)))
    return SectionContent(blocks)


def _chance(audited: AuditedData, report: Report, accuracy: Interval, largest: int) -> list[Block]:
    """Whether the model is better than one answer for all, and if not, whether labels are mixed."""
    labels, predictions = audited.records.labels, audited.records.predictions
    count = len(audited.records)
    share, frequent = of_images(accuracy.mean, count), percent(largest / count)
    numbers = {"accuracy": accuracy.mean, "most_frequent_class": largest / count}
    if len(np.unique(labels)) == 1:
        report.note(
            "unsure",
            f"All images are of one class, so {share} being right says nothing of how well the "
            "model tells classes apart.",
            KEY, "Add images of other classes.",
            id="accuracy-one-class", interval=accuracy, numbers=numbers,
        )  # fmt: skip
        return []
    if not audited.at_chance:
        report.note(
            "fine",
            f"{shown(accuracy, count)} are right, more than always naming the most frequent class "
            f"would give ({frequent}).",
            KEY, id="accuracy", interval=accuracy, evidence=("images.csv",), numbers=numbers,
        )  # fmt: skip
        return []
    order = other_order(labels, predictions, audited.records.classes)
    if order is None:
        report.note(
            "wrong" if count >= FEW else "unsure",
            f"{shown(accuracy, count)} are right; always naming the most frequent class "
            f"gives {frequent}.",
            KEY,
            "Check the weights, the preprocessing and the labels before reading on."
            if count >= FEW
            else "So few can be wrong by chance. Check that labels are the model's outputs (the "
            "summary says how they were read), then weights and preprocessing, or add images.",
            id="accuracy-at-chance", interval=accuracy, numbers=numbers,
        )  # fmt: skip
        return []
    report.note(
        "wrong",
        f"The labels seem to be in another order than the model's outputs: {share} "
        f"are right, but {shown(order.accuracy)} would be if what the model calls one class were "
        "another.",
        KEY,
        "Give the class names in the order of the outputs (--class-names) or the labels as indices "
        "(--labels), and audit again; nothing else on this page holds until then.",
        id="labels-in-another-order", interval=order.accuracy,
        numbers={"accuracy_in_other_order": order.accuracy.mean, **numbers},
    )  # fmt: skip
    items = [
        f"output {c} ({audited.classes[c]}) fits {audited.classes[order.label_of[c]]}"
        for c in np.unique(predictions).tolist()
        if order.label_of[c] != c
    ]
    return [Listing("The order that would fit", first_of(items, 12), "warning")]


def _classes(audited: AuditedData, report: Report) -> list[Block]:
    titles = ["images", "found", "found: from", "to", "right when named", "right: from", "to"]
    columns = [Column("class"), *Column.numbers(*titles)]
    rows: list[list[Cell]] = [
        [
            audited.classes[s.index], s.images,
            *(rounded(v) for v in (s.recall.mean, s.recall.low, s.recall.high)),
            *(rounded(v) for v in (s.precision.mean, s.precision.low, s.precision.high)),
        ]
        for s in audited.scores
    ]  # fmt: skip
    _stand_out(audited, report)
    present = [s for s in audited.scores if s.images]
    caption = (
        "Found: the share of a class's images that the model assigns to it (recall). Right when "
        "named: the share of the images assigned to it that are of that class (precision)."
    )
    blocks: list[Block] = [report.tabulate("classes", caption, columns, rows)]
    missing, empty = audited.records.classes - len(present), len(audited.scores) - len(present)
    if missing:
        some = f", of which {empty} are predicted" if empty else ""
        blocks.insert(0, Text(f"{missing} classes of the model have no image here{some}.", "note"))
    few = [s for s in present if s.images < FEW]
    if few:
        text = f"{len(few)} classes have fewer than {FEW} images: their intervals are wide, and "
        blocks.insert(0, Text(f"{text}nothing is concluded from them alone.", "note"))
    return blocks


def _stand_out(audited: AuditedData, report: Report) -> None:
    """Classes that are found less often than the others together."""
    tested = [s for s in audited.scores if s.images >= FEW]
    if len(tested) < 2:
        return
    worse = less_often([(s.found, s.images) for s in tested], len(tested))
    for place, _, difference in sorted(worse, key=lambda one: one[2].mean)[:5]:
        s = tested[place]
        report.note(
            "unsure",
            f"{audited.short(s.index)} is found in {shown(s.recall, s.images)}, "
            f"{-100 * difference.mean:.0f} points below the other classes together.",
            KEY, "See below what it is taken for, and where the model looks then.",
            id=f"class-found-less-{s.index}", subject=audited.classes[s.index],
            interval=s.recall, evidence=("classes.csv",),
            numbers={"recall": s.recall.mean, "difference": difference.mean},
        )  # fmt: skip
    if not worse:
        report.note(
            "fine",
            f"None of {len(tested)} classes is found less often than the others beyond chance.",
            KEY, id="classes-found-alike", numbers={"classes": len(tested)},
        )  # fmt: skip


def _confusions(audited: AuditedData, report: Report) -> list[Block]:
    labels, named = audited.records.labels, audited.records.predictions
    pairs = confusions(labels, named)
    images = np.bincount(labels, minlength=audited.records.classes)
    rows: list[list[Cell]] = [
        [audited.classes[a], audited.classes[b], n, rounded(n / images[a])] for a, b, n in pairs
    ]
    report.tabulate("confusions", "", PAIR_COLUMNS, rows)
    caption = ""
    if len(rows) > SHOWN_PAIRS:
        caption = f"The {SHOWN_PAIRS} most frequent of {len(rows)} pairs; confusions.csv has all."
    blocks: list[Block] = [Table(caption, PAIR_COLUMNS, rows[:SHOWN_PAIRS])]
    confidence = np.array(audited.records.confidences)
    for a, b, n in pairs[:PAIRS]:
        mine = np.flatnonzero((labels == a) & (named == b))
        best = mine[np.argsort(-confidence[mine], kind="stable")][:EACH]
        pictures = [audited.picture(row, percent(float(confidence[row]))) for row in best]
        title = f"{audited.classes[a]} taken for {audited.classes[b]}: {n:,} images"
        blocks.append(Panels(f"{title}, the most confident", pictures))
    return blocks


def _confidence(audited: AuditedData, report: Report) -> list[Block]:
    records = audited.records
    found = calibration(records.confidences, records.correct, audited.seed)
    error, gap = found.error, f"off by {100 * found.error.mean:.1f} points on average"
    facts = [
        ("Mean confidence", percent(float(np.mean(records.confidences)))),
        ("Calibration error (ECE)", f"{error.mean:.3f} ({error.low:.3f} to {error.high:.3f})"),
        ("Expected by chance if calibrated", f"at most {found.by_chance:.3f} (19 times in 20)"),
    ]
    numbers = {"calibration_error": error.mean, "by_chance": found.by_chance, "gap": found.gap}
    blocks: list[Block] = [Facts(facts), reliability_picture(found)]
    if len(records) < FEW:
        return blocks
    if error.mean > max(found.by_chance, SMALLEST_ERROR):
        way = "overconfident" if found.gap > 0 else "underconfident"
        report.note(
            "unsure",
            f"The model is {way}: its confidence is {gap}; a calibrated model's would be off by at "
            f"most {100 * found.by_chance:.1f} here by chance.",
            KEY,
            "Do not read its confidence as a probability; temperature scaling on other labelled "
            "images usually removes most of it.",
            id=CALIBRATION, interval=error, numbers=numbers,
        )  # fmt: skip
    else:
        report.note(
            "fine",
            f"Its confidence is what it should be: {gap}, which a calibrated model can be by "
            "chance or is too little to matter.",
            KEY, id=CALIBRATION, interval=error, numbers=numbers,
        )  # fmt: skip
    return blocks


def _errors(audited: AuditedData, report: Report, wrong: np.ndarray) -> list[Block]:
    records, confidence = audited.records, np.array(audited.records.confidences)
    best = wrong[np.argsort(-confidence[wrong], kind="stable")][:ERRORS]
    report.flag(best, "confident error")
    pictures = []
    for row in best:
        named, label = (audited.classes[v[row]] for v in (records.predictions, records.labels))
        caption = f"{named}, {percent(float(confidence[row]))}; label: {label}"
        pictures.append(audited.picture(row, caption))
    text = (
        "The model is most confident of these, and the label says otherwise. Either it has learnt "
        "the wrong thing, or the label is wrong: look at each. Bright is the evidence for what "
        "the model says."
    )
    return [Text(text), Panels("", pictures)]


def _groups(audited: AuditedData, report: Report, right: np.ndarray) -> list[Block]:
    names, places = np.unique(np.array(audited.groups), return_inverse=True)
    hits, counts = np.bincount(places, right).astype(int).tolist(), np.bincount(places).tolist()
    parts = list(zip(hits, counts, strict=True))
    rows: list[list[Cell]] = [
        [str(name) or "(none)", part[1], *(rounded(v) for v in vars(wilson(*part)).values())]
        for name, part in zip(names, parts, strict=True)
    ]
    worse = [
        one for one in less_often(parts, len(names)) if FEW <= counts[one[0]] <= len(right) - FEW
    ]
    for place, share, difference in worse:
        name = str(names[place])
        report.note(
            "unsure",
            f"In the group {name!r} {shown(share, counts[place])} are right, "
            f"{-100 * difference.mean:.0f} points less than in the others.",
            KEY,
            "Compare what these images have in common, and look for more of them to train on.",
            id=f"group-worse-{name}", subject=name, interval=share, evidence=("groups.csv",),
            numbers={"accuracy": share.mean, "difference": difference.mean},
        )  # fmt: skip
    if not worse and len(names) > 1:
        text = f"None of {len(names)} groups is worse than the others beyond chance."
        report.note("fine", text, KEY, id="groups-alike", numbers={"groups": len(names)})
    columns = [Column("group"), *Column.numbers("images", "right", "from", "to")]
    return [report.tabulate("groups", "", columns, rows)]


SECTION = Section(KEY, "How good is it?", build)
