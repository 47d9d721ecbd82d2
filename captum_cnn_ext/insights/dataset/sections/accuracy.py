"""How good the model is: accuracy, classes, confusions, confidence, groups; all with intervals."""

from __future__ import annotations

import numpy as np

from captum_cnn_ext.insights.dataset.context import DatasetContext, rounded, shown
from captum_cnn_ext.insights.dataset.pictures import reliability_picture
from captum_cnn_ext.insights.dataset.scores import (
    ClassScore,
    calibration,
    class_scores,
    confusions,
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
from captum_cnn_ext.insights.wording import percent
from captum_cnn_ext.metrics import share_difference, wilson

KEY, TITLE = "accuracy", "How good is it?"
ERRORS = 12  # pictures of the most confident errors
PAIRS, EACH = 4, 4  # confused pairs with pictures
SHOWN_PAIRS = 20
SMALLEST_ERROR = 0.02  # of calibration that is worth a word
FEW = 10  # images of a class under which nothing is said of it
PAIR_COLUMNS = [Column("label"), Column("predicted as"), Column("images", number=True),
                Column("share of the label", number=True)]  # fmt: skip


def build(context: DatasetContext) -> SectionContent:
    """Accuracy with interval, then what it consists of."""
    records = context.records
    labels, predictions = np.array(records.labels), np.array(records.predictions)
    right = labels == predictions
    accuracy = wilson(int(right.sum()), len(right))
    largest = int(np.bincount(labels).max())
    facts = [
        ("Images", f"{len(right):,}"),
        ("Accuracy", f"{shown(accuracy)}; {int(right.sum()):,} are right"),
        ("Always naming the most frequent class", percent(largest / len(right))),
    ]
    blocks: list[Block] = [
        Text(
            "A prediction is the class with the highest score. Shares are given with their 95% "
            "confidence interval (Wilson's)."
        ),
        Facts(facts),
    ]
    context.arrays["accuracy"] = np.array([accuracy.mean, accuracy.low, accuracy.high])
    blocks += _chance(context, accuracy.low, largest, labels, predictions)
    scores = class_scores(labels, predictions, records.classes)
    blocks.append(Group("Classes", _classes(context, scores)))
    if len(right) > int(right.sum()):
        blocks.append(Group("What is taken for what", _confusions(context, labels, predictions)))
    blocks.append(Group("Confidence", _confidence(context, right)))
    wrong = np.flatnonzero(~right)
    if len(wrong):
        blocks.append(Group("The most confident errors", _errors(context, wrong)))
    if context.groups:
        blocks.append(Group("Groups", _groups(context, right)))
    return SectionContent(blocks)


def _chance(
    context: DatasetContext,
    low: float,
    largest: int,
    labels: np.ndarray,
    predictions: np.ndarray,
) -> list[Block]:
    """Whether the model is better than one answer for all, and if not, whether labels are mixed."""
    count, right = len(labels), int((labels == predictions).sum())
    numbers = {"accuracy": right / count, "most_frequent_class": largest / count}
    interval = wilson(right, count)
    if len(np.unique(labels)) == 1:
        context.find(
            "unsure", "accuracy-one-class",
            f"All images are of one class, so {percent(right / count)} right says nothing of how "
            "well the model tells classes apart.",
            KEY, interval=interval, next_step="Add images of other classes.", numbers=numbers,
        )  # fmt: skip
        return []
    if low > largest / count:
        context.find(
            "fine", "accuracy",
            f"{shown(interval)} of {count:,} images are right, more than always naming the most "
            f"frequent class would give ({percent(largest / count)}).",
            KEY, interval=interval, evidence=("images.csv",), numbers=numbers,
        )  # fmt: skip
        return []
    order = other_order(labels, predictions, context.records.classes)
    if order is None:
        context.find(
            "wrong" if count >= FEW else "unsure", "accuracy-at-chance",
            f"{shown(interval)} of the images are right; always naming the most frequent class "
            f"gives {percent(largest / count)}.",
            KEY, interval=interval, numbers=numbers,
            next_step="Check the weights, the preprocessing and the labels before reading on."
            if count >= FEW
            else "So few can be wrong by chance. Check that labels are the model's outputs (the "
            "summary says how they were read), then weights and preprocessing, or add images.",
        )  # fmt: skip
        return []
    moved = [c for c in np.unique(predictions).tolist() if order.label_of[c] != c]
    text = (
        f"The labels seem to be in another order than the model's outputs: {percent(right / count)}"
        f" of the images are right, but {shown(order.accuracy)} would be if what the model calls "
        "one class were another."
    )
    context.find(
        "wrong", "labels-in-another-order", text, KEY, interval=order.accuracy,
        next_step="Give the class names in the order of the outputs (--class-names) or the labels "
        "as indices (--labels), and audit again; nothing else on this page holds until then.",
        numbers={"accuracy_in_other_order": order.accuracy.mean, **numbers},
    )  # fmt: skip
    items = [
        f"output {c} ({context.name(c)}) fits {context.name(order.label_of[c])}" for c in moved
    ]
    more = [f"and {len(items) - 12} more"] if len(items) > 12 else []
    return [Listing("The order that would fit", [*items[:12], *more], "warning")]


def _classes(context: DatasetContext, scores: list[ClassScore]) -> list[Block]:
    titles = ["images", "found", "found: from", "to", "right when named", "right: from", "to"]
    columns = [Column("class"), *Column.numbers(*titles)]
    rows: list[list[Cell]] = [
        [
            context.name(s.index), s.images,
            *(rounded(v) for v in (s.recall.mean, s.recall.low, s.recall.high)),
            *(rounded(v) for v in (s.precision.mean, s.precision.low, s.precision.high)),
        ]
        for s in scores
    ]  # fmt: skip
    _stand_out(context, scores)
    empty = [s for s in scores if not s.images]
    caption = (
        "Found: the share of a class's images that the model assigns to it (recall). Right when "
        "named: the share of the images assigned to it that are of that class (precision)."
    )
    blocks: list[Block] = [context.tabulate("classes", caption, columns, rows)]
    missing = context.records.classes - sum(1 for s in scores if s.images)
    if missing:
        some = f", of which {len(empty)} are predicted" if empty else ""
        blocks.insert(0, Text(f"{missing} classes of the model have no image here{some}.", "note"))
    few = [s for s in scores if 0 < s.images < FEW]
    if few:
        text = f"{len(few)} classes have fewer than {FEW} images: their intervals are wide, and "
        blocks.insert(0, Text(f"{text}nothing is concluded from them alone.", "note"))
    return blocks


def _stand_out(context: DatasetContext, scores: list[ClassScore]) -> None:
    """Classes that are found less often than the others together."""
    tested = [s for s in scores if s.images >= FEW]
    images, found = sum(s.images for s in tested), sum(s.found for s in tested)
    if len(tested) < 2:
        return
    worse = []
    for s in tested:
        difference = share_difference(
            s.found, s.images, found - s.found, images - s.images,
            confidence=1 - 0.05 / len(tested),
        )  # fmt: skip
        if difference.high < 0:
            worse.append((difference, s))
    for difference, s in sorted(worse, key=lambda pair: pair[0].mean)[:5]:
        name = context.short(s.index)
        context.find(
            "unsure", f"class-found-less-{s.index}",
            f"{name} is found in {shown(s.recall)} of its {s.images:,} images, "
            f"{-100 * difference.mean:.0f} points below the other classes together.",
            KEY, subject=context.name(s.index), interval=s.recall, evidence=("classes.csv",),
            next_step="See below what it is taken for, and where the model looks then.",
            numbers={"recall": s.recall.mean, "difference": difference.mean},
        )  # fmt: skip
    if not worse:
        context.find(
            "fine", "classes-found-alike",
            f"None of {len(tested)} classes is found less often than the others beyond chance.",
            KEY, numbers={"classes": float(len(tested))},
        )  # fmt: skip


def _confusions(context: DatasetContext, labels: np.ndarray, named: np.ndarray) -> list[Block]:
    pairs = confusions(labels, named)
    images = np.bincount(labels, minlength=context.records.classes)
    rows: list[list[Cell]] = [
        [context.name(a), context.name(b), n, rounded(n / images[a])] for a, b, n in pairs
    ]
    context.tabulate("confusions", "", PAIR_COLUMNS, rows)
    caption = ""
    if len(rows) > SHOWN_PAIRS:
        caption = f"The {SHOWN_PAIRS} most frequent of {len(rows)} pairs; confusions.csv has all."
    blocks: list[Block] = [Table(caption, PAIR_COLUMNS, rows[:SHOWN_PAIRS])]
    confidence = np.array(context.records.confidences)
    for a, b, n in pairs[:PAIRS]:
        mine = np.flatnonzero((labels == a) & (named == b))
        best = mine[np.argsort(-confidence[mine], kind="stable")][:EACH]
        pictures = [context.picture(row, percent(float(confidence[row]))) for row in best]
        title = f"{context.name(a)} taken for {context.name(b)}: {n:,} images, the most confident"
        blocks.append(Panels(title, pictures))
    return blocks


def _confidence(context: DatasetContext, right: np.ndarray) -> list[Block]:
    found = calibration(context.records.confidences, right, context.seed)
    error = found.error
    facts = [
        ("Mean confidence", percent(float(np.mean(context.records.confidences)))),
        ("Calibration error (ECE)", f"{error.mean:.3f} ({error.low:.3f} to {error.high:.3f})"),
        ("Expected by chance if calibrated", f"at most {found.by_chance:.3f} (19 times in 20)"),
    ]
    numbers = {"calibration_error": error.mean, "by_chance": found.by_chance, "gap": found.gap}
    off = error.mean > found.by_chance and error.mean > SMALLEST_ERROR
    if off and len(right) >= FEW:
        way = "overconfident" if found.gap > 0 else "underconfident"
        context.find(
            "unsure", "calibration",
            f"The model is {way}: its confidence is off by {100 * error.mean:.1f} points on "
            f"average; a calibrated model's would be off by at most "
            f"{100 * found.by_chance:.1f} here by chance.",
            KEY, interval=error, numbers=numbers,
            next_step="Do not read its confidence as a probability; temperature scaling on other "
            "labelled images usually removes most of it.",
        )  # fmt: skip
    elif len(right) >= FEW:
        context.find(
            "fine", "calibration",
            f"Its confidence is what it should be: off by {100 * error.mean:.1f} points on "
            f"average, which a calibrated model can be by chance or is too little to matter.",
            KEY, interval=error, numbers=numbers,
        )  # fmt: skip
    return [Facts(facts), reliability_picture(found)]


def _errors(context: DatasetContext, wrong: np.ndarray) -> list[Block]:
    confidence = np.array(context.records.confidences)
    best = wrong[np.argsort(-confidence[wrong], kind="stable")][:ERRORS]
    context.flag(best, "confident error")
    pictures = []
    for row in best:
        named, label = (int(v[row]) for v in (context.records.predictions, context.records.labels))
        caption = f"{context.name(named)}, {percent(float(confidence[row]))}; "
        pictures.append(context.picture(row, f"{caption}label: {context.name(label)}"))
    text = (
        "The model is most confident of these, and the label says otherwise. Either it has learnt "
        "the wrong thing, or the label is wrong: look at each. Bright is the evidence for what "
        "the model says."
    )
    return [Text(text), Panels("", pictures)]


def _groups(context: DatasetContext, right: np.ndarray) -> list[Block]:
    groups = np.array(context.groups)
    names, counts = np.unique(groups, return_counts=True)
    rows: list[list[Cell]] = []
    worse = 0
    for name, count in zip(names, counts, strict=True):
        inside = groups == name
        hits = int(right[inside].sum())
        share = wilson(hits, int(count))
        rows.append(
            [str(name) or "(none)", int(count), *(rounded(v) for v in vars(share).values())]
        )
        others = len(right) - int(count)
        if count < FEW or others < FEW:
            continue
        difference = share_difference(
            hits, int(count), int(right.sum()) - hits, others, confidence=1 - 0.05 / len(names)
        )
        if difference.high < 0:
            worse += 1
            context.find(
                "unsure", f"group-worse-{name}",
                f"In the group {str(name)!r} {shown(share)} are right, "
                f"{-100 * difference.mean:.0f} points less than in the others.",
                KEY, subject=str(name), interval=share, evidence=("groups.csv",),
                next_step="Compare what these images have in common, and look for more of them to "
                "train on.",
                numbers={"accuracy": share.mean, "difference": difference.mean},
            )  # fmt: skip
    if not worse and len(names) > 1:
        text = f"None of {len(names)} groups is worse than the others beyond chance."
        numbers = {"groups": float(len(names))}
        context.find("fine", "groups-alike", text, KEY, numbers=numbers)
    columns = [Column("group"), *Column.numbers("images", "right", "from", "to")]
    return [context.tabulate("groups", "", columns, rows)]
