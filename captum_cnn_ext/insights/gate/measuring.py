"""Each requirement measured on a data set's audit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from captum_cnn_ext.errors import ArgumentError, nearest
from captum_cnn_ext.insights.dataset.result import DatasetAudit
from captum_cnn_ext.insights.dataset.sections import accuracy, attention, comparison, shortcuts
from captum_cnn_ext.insights.report.findings import Finding
from captum_cnn_ext.insights.wording import listed, percent, short, shown
from captum_cnn_ext.metrics import Interval, wilson

CLASSES = ("class", "classes")
FEW = 10  # images of a class or group under which its share says little


@dataclass(frozen=True)
class Measured:
    """What was measured: whether it is enough, in words, and the number with its interval."""

    passed: bool
    text: str
    number: float | None = None
    interval: tuple[float, float] | None = None


def measured(audit: DatasetAudit, name: str, value: Any) -> Measured:
    """One requirement on one audit; what cannot be measured does not pass."""
    return MEASURES[name](audit, value)


def _accuracy(audit: DatasetAudit, least: float) -> Measured:
    right = np.asarray(audit.records.correct)
    return _at_least("images are right", wilson(int(right.sum()), len(right)), len(right), least)


def _at_least(words: str, share: Interval, count: int, least: float) -> Measured:
    passed = share.mean >= least
    text = f"{shown(share)} of {count:,} {words}, required at least {percent(least)}"
    if not passed and share.high >= least:
        text += "; so few images that chance could be the reason"
    return Measured(passed, text, share.mean, (share.low, share.high))


def _by_name(
    names: list[str], shares: dict[str, tuple[Interval, int]], limits: Any, what: str, words: str
) -> Measured:
    """The least share in relation to what is required of it, and how many others are below."""
    wanted = limits if isinstance(limits, Mapping) else {"default": limits}
    for name in wanted:
        if name != "default" and name not in names:
            raise ArgumentError(
                f"{what}-accuracy: there is no {what} {name!r}{nearest(name, names)}"
            )
    limits_of = ((n, wanted.get(n, wanted.get("default"))) for n in names)
    limit: dict[str, float] = {n: least for n, least in limits_of if least is not None}
    missing = [n for n in wanted if n != "default" and n not in shares]
    if missing:
        return Measured(False, f"the {what} {missing[0]!r} has no image, so it was not measured")
    judged = {n: s for n, s in shares.items() if n in limit}
    if not judged:
        return Measured(False, f"there is no {what} with images, so nothing was measured")
    order = sorted(judged, key=lambda n: judged[n][0].mean - limit[n])
    below = [n for n in order if judged[n][0].mean < limit[n]]
    share, count = judged[order[0]]
    found = _at_least(words.format(f"“{order[0]}”"), share, count, limit[order[0]])
    text = found.text
    if len(below) > 1:
        text += f"; also {listed([f'“{n}” {percent(judged[n][0].mean)}' for n in below[1:]])}"
    elif not below:
        text = f"the least of {len(judged)}: {text}"
    if any(judged[n][1] < FEW for n in below):
        text += f" (fewer than {FEW} images)"
    return Measured(not below, text, found.number, found.interval)


def _class_accuracy(audit: DatasetAudit, limits: Any) -> Measured:
    labels, right = np.asarray(audit.records.labels), np.asarray(audit.records.correct)
    names = _names(audit)
    shares = {
        names[c]: (wilson(int(right[labels == c].sum()), int((labels == c).sum())),
                   int((labels == c).sum()))
        for c in np.unique(labels).tolist()
    }  # fmt: skip
    return _by_name(names, shares, limits, "class", "images of {} are found")


def _group_accuracy(audit: DatasetAudit, limits: Any) -> Measured:
    groups = np.asarray(audit.table["group"]).astype(str)
    right = np.asarray(audit.records.correct)
    shares = {
        str(g): (wilson(int(right[groups == g].sum()), int((groups == g).sum())),
                 int((groups == g).sum()))
        for g in np.unique(groups)
    }  # fmt: skip
    return _by_name(list(shares), shares, limits, "group", "images of the group {} are right")


def _calibration(audit: DatasetAudit, most: float) -> Measured:
    found = _finding(audit, accuracy.CALIBRATION)
    if found is None or found.interval is None:
        return Measured(False, "confidence was not measured: too few images")
    error = dict(found.numbers)["calibration_error"]
    low, high = found.interval
    text = f"confidence is off by {100 * error:.1f} points on average ({100 * low:.1f} to "
    text += f"{100 * high:.1f}), allowed {100 * most:.1f}"
    return Measured(error <= most, text, error, found.interval)


def _no_shortcut(audit: DatasetAudit, _: bool) -> Measured:
    found = _each(audit, shortcuts.SHORTCUT)
    tested = _finding(audit, shortcuts.NO_SHORTCUT)
    if found:
        return _worst(found, "flips", ("shortcut", "shortcuts"))
    if tested is None:
        return Measured(False, "no class could be tested for shortcuts; see the report")
    doubts = _each(audit, shortcuts.PERHAPS)
    text = tested.text if not doubts else f"{tested.text} Not decided: {doubts[0].text}"
    return Measured(True, text.rstrip("."))


def _on_objects(audit: DatasetAudit, least: Any) -> Measured:
    hits = np.asarray(audit.table["pointing_game"], dtype=float)
    used = np.isfinite(hits) & np.asarray(audit.records.correct)
    labels = np.asarray(audit.records.labels)
    counts = {c: int((used & (labels == c)).sum()) for c in np.unique(labels[used]).tolist()}
    shares = {
        c: wilson(int(hits[used & (labels == c)].sum()), n) for c, n in counts.items() if n >= FEW
    }
    beside = _each(audit, attention.OFF_OBJECT)
    judged = bool(beside) or _finding(audit, attention.ON_OBJECTS) is not None
    if not shares or (least is True and not judged):
        return Measured(False, f"no class has {FEW} right answers with a mask, so nothing is known")
    worst = min(shares, key=lambda c: shares[c].mean)
    if least is True:
        if beside:
            return _worst(beside, "pointing_game", CLASSES, least=True)
        text = f"no class has its evidence beside the object; the least is “{_name(audit, worst)}”"
        text += f" with the strongest evidence on it in {shown(shares[worst])} of its images"
        return Measured(True, text, shares[worst].mean, (shares[worst].low, shares[worst].high))
    words = f"right answers of “{_name(audit, worst)}” have their strongest evidence on the object"
    return _at_least(words, shares[worst], counts[worst], least)


def _not_worse(audit: DatasetAudit, most: Any) -> Measured:
    found = _finding(audit, comparison.WORSE) or _finding(audit, comparison.NOT_WORSE)
    if found is None or found.interval is None:
        return Measured(False, "the older model could not be compared; see the report")
    change, ends = dict(found.numbers)["difference"], found.interval
    text = f"accuracy changed by {100 * change:+.1f} points ({100 * ends[0]:+.1f} to "
    text += f"{100 * ends[1]:+.1f}) since the older model, "
    if most is True:
        return Measured(ends[1] >= 0, f"{text}required no fall beyond chance", change, ends)
    passed = change >= -most
    return Measured(passed, f"{text}allowed a fall of {100 * most:.1f}", change, ends)


def _class_not_worse(audit: DatasetAudit, most: Any) -> Measured:
    rows = _rows(audit, comparison.BY_CLASS, "class", "difference", "from", "to")
    if not rows:
        return Measured(False, "the older model could not be compared; see the report")
    if most is True:
        found = _each(audit, comparison.CLASS_WORSE)
        if found:
            return _worst(found, "difference", CLASSES, least=True)
        return Measured(True, "no class is found less often than by the older model beyond chance")
    name, change, low, high = min(rows, key=lambda row: row[1])
    text = f"“{name}” changed by {100 * change:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
    text += f" since the older model, the most of {len(rows)} classes; allowed a fall of "
    return Measured(change >= -most, f"{text}{100 * most:.1f}", change, (low, high))


def _looks_where_it_did(audit: DatasetAudit, most: Any) -> Measured:
    rows = _rows(audit, comparison.MOVED_BY_CLASS, "class", "moved", "by chance")
    if not rows:
        return Measured(False, "no class has enough images that both models name rightly")
    if most is True:
        found = _each(audit, comparison.ELSEWHERE)
        if found:
            return _worst(found, "moved", CLASSES)
    name, moved, chance = max(rows, key=lambda row: row[1])
    text = f"at most {percent(moved)} of a class's evidence moved since the older model (“{name}”; "
    text += f"by chance {percent(chance)})"
    if most is True:
        return Measured(True, text, moved)
    return Measured(moved <= most, f"{text}, allowed {percent(most)}", moved)


def _finding(audit: DatasetAudit, id: str) -> Finding | None:
    return next((f for f in audit.findings if f.id == id), None)


def _each(audit: DatasetAudit, id: str) -> list[Finding]:
    """The findings that are made once for each class, whose ids go on with the class."""
    return [f for f in audit.findings if f.id.startswith(f"{id}-") and f.verdict != "fine"]


def _worst(
    found: list[Finding], key: str, things: tuple[str, str], least: bool = False
) -> Measured:
    """The finding with the largest (or least) number, and which others there are."""
    order = sorted(found, key=lambda f: dict(f.numbers)[key], reverse=not least)
    text = order[0].text.rstrip(".")
    if len(order) > 1:
        where = listed([short(f.subject) for f in order[1:]])
        text += (
            f". And {len(order) - 1} more {things[0] if len(order) == 2 else things[1]}: {where}"
        )
    return Measured(False, text, dict(order[0].numbers)[key], order[0].interval)


def _rows(audit: DatasetAudit, table: str, name: str, *numbers: str) -> list[tuple[Any, ...]]:
    """These columns of a table; without the rows of which the first number is not known."""
    found = audit.page.tables.get(table)
    if found is None:
        return []
    rows = zip(*(found.column(title) for title in (name, *numbers)), strict=True)
    return [row for row in rows if row[1] is not None]


def _name(audit: DatasetAudit, label: int) -> str:
    return _names(audit)[label]


def _names(audit: DatasetAudit) -> list[str]:
    return list(audit.page.manifest["classes"])


MEASURES: dict[str, Callable[[DatasetAudit, Any], Measured]] = {
    "accuracy": _accuracy,
    "class-accuracy": _class_accuracy,
    "group-accuracy": _group_accuracy,
    "calibration": _calibration,
    "no-shortcut": _no_shortcut,
    "evidence-on-objects": _on_objects,
    "not-worse-than-before": _not_worse,
    "class-not-worse-than-before": _class_not_worse,
    "looks-where-it-did": _looks_where_it_did,
}


def lacking(audit: DatasetAudit, need: str) -> bool:
    """Whether the audit was made without what a requirement needs."""
    if need == "against":
        return audit.page.manifest.get("against") is None
    if need == "tests":
        return "shortcuts" not in {section.key for section, _ in audit.page.sections}
    if need == "masks":
        shares = audit.records.columns.get("object_share")
        return shares is None or not bool(np.isfinite(shares).any())
    return need == "groups" and "group" not in audit.table
