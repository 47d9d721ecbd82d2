"""The table of ``shortcut_truth.py``: what was found, named and missed, beside simpler ways."""

import json
from pathlib import Path
from typing import Any

from captum_cnn_ext._intervals import wilson_ends

Rows = list[dict[str, Any]]
LEARNT = 0.5
NAMES = {  # what names each plant rightly
    "tag": "patch",
    "border": "border",
    "logo": "picture",
    "colour": "colour",
    "brightness": "brightness",
    "blur": "sharpness",
    "texture": "texture",
}
FAMILIES = {
    "local (tag, border, logo)": ("tag", "border", "logo"),
    "colour and brightness": ("colour", "brightness"),
    "blur and texture": ("blur", "texture"),
}


def rows_of(lines: Path) -> Rows:
    """What was audited so far."""
    return [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []


def shortcuts(row: dict[str, Any], label: int | None = None) -> Rows:
    named = [one for one in row["named"] if one["verdict"] == "shortcut"]
    return [one for one in named if label is None or one["label"] == label]


def rightly(plant: dict[str, Any], named: dict[str, Any]) -> bool:
    """Whether a suspect is of the plant's kind and, for a tag, its box holds the tag's middle."""
    if named["kind"] != NAMES[plant["kind"]]:
        return False
    if plant["kind"] != "tag":
        return True
    top, left, bottom, right = named["box"]
    y, x = (plant["place"][0] + plant["place"][2]) / 2, (plant["place"][1] + plant["place"][3]) / 2
    return bool(top <= y <= bottom and left <= x <= right)


def share(hits: int, count: int) -> str:
    if not count:
        return "none"
    low, high = wilson_ends(hits / count, count)
    return f"{hits} of {count} ({hits / count:.2f} [{low:.2f}, {high:.2f}])"


def planted(rows: Rows) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Rows with each plant that its network learnt."""
    return [(row, p) for row in rows for p in row["plants"] if p["learnt"] >= LEARNT]


def gap_bound(rows: Rows) -> float:
    """The largest spectral gap that at most one in twenty clean networks exceeds."""
    gaps = sorted((max(row["spray"]) for row in rows if not row["plants"]), reverse=True)
    return float(gaps[len(gaps) // 20]) if gaps else float("inf")


def table(which: str, rows: Rows, development: Rows) -> str:
    clean = [row for row in rows if not row["plants"]]
    networks = [row for row in rows if row["plants"]]
    counted = planted(rows)
    hits = [(row, p) for row, p in counted if shortcuts(row, p["label"])]
    right = [(row, p) for row, p in hits if rightly(p, shortcuts(row, p["label"])[0])]
    false = [row for row in clean if shortcuts(row)]
    elsewhere = [
        row
        for row in networks
        if any(one["label"] not in [p["label"] for p in row["plants"]] for one in shortcuts(row))
    ]
    plants = sum(len(row["plants"]) for row in networks)
    seconds = sorted(row["seconds"] for row in rows)
    bound = gap_bound(development)
    lines = [
        f"# Planted shortcuts: {which} networks",
        "",
        f"{len(networks)} networks with a planted shortcut ({plants} plants) and "
        f"{len(clean)} clean twins. {len(counted)} plants were learnt: put on images of other "
        f"classes, they turn at least half of them. Median of "
        f"{seconds[len(seconds) // 2]:.1f} s of processor time an audit, the largest "
        f"{seconds[-1]:.1f} s.",
        "",
        "Intervals are Wilson's, 95 %. Audits see no masks. Bounds were set on the development "
        "networks, which have other seeds, pictures, places, colours and strengths.",
        "",
        "| of the learnt plants | found | kind and place named rightly, of those found |",
        "|---|---|---|",
    ]
    for name, kinds in (*FAMILIES.items(), *((kind, (kind,)) for kind in NAMES), ("all", NAMES)):
        some = [item for item in counted if item[1]["kind"] in kinds]
        found = [item for item in hits if item[1]["kind"] in kinds]
        good = [item for item in right if item[1]["kind"] in kinds]
        lines.append(
            f"| {name} | {share(len(found), len(some))} | {share(len(good), len(found))} |"
        )
    missing = [f"{p['kind']} {p['share']:.0%}" for r in networks for p in r["plants"]]
    learnt = [f"{p['kind']} {p['share']:.0%}" for _, p in counted]
    for one in learnt:
        missing.remove(one)
    if missing:
        lines += ["", f"Not learnt, and not counted: {', '.join(sorted(missing))}."]
    lines += ["", "| by the share of the class that has it | found |", "|---|---|"]
    for part in (0.6, 0.8, 1.0):
        some = [item for item in counted if item[1]["share"] == part]
        found = [item for item in hits if item[1]["share"] == part]
        lines.append(f"| {part:.0%} | {share(len(found), len(some))} |")
    spray = sum(row["spray"][p["label"]] > bound for row, p in counted)
    bnnr = sum(row["bnnr"][p["label"]] for row, p in counted)
    twins = {row["number"]: row["accuracy"] for row in clean}
    pairs = [(row["accuracy"], twins[row["number"]]) for row in networks if row["number"] in twins]
    lower = sum(a < b - 0.03 for a, b in pairs)
    lines += [
        "",
        "| way | learnt plants of which the class is flagged | clean networks with any flag |",
        "|---|---|---|",
        f"| `find_shortcuts` | {share(len(hits), len(counted))} | "
        f"{share(len(false), len(clean))} |",
        f"| spectral clusters of maps, a gap above {bound:.3f} | {share(spray, len(counted))} | "
        f"{share(sum(max(row['spray']) > bound for row in clean), len(clean))} |",
        f"| BNNR's published cuts, by our reading | {share(bnnr, len(counted))} | "
        f"{share(sum(any(row['bnnr']) for row in clean), len(clean))} |",
        "| accuracy of the network, 0.03 below its clean twin's | "
        f"{share(lower, len(pairs))} networks | by definition none |",
        "",
        f"Mean accuracy on images with the plant {mean([a for a, _ in pairs])}, of the twins "
        f"{mean([b for _, b in pairs])}: accuracy alone does not tell them apart. In "
        f"{share(len(elsewhere), len(networks))} of the planted networks a shortcut is named of a "
        "class without a plant.",
        "",
        "## Misses, wrong names and false alarms",
        "",
    ]
    for row, p in counted:
        named = shortcuts(row, p["label"])
        if not named or not rightly(p, named[0]):
            what = ", ".join(f"{one['kind']} {one['place']}".strip() for one in named) or "nothing"
            also = [one for one in row["named"] if one["label"] == p["label"] and one not in named]
            more = "; ".join(f"{one['verdict']}: {one['kind']} ({one['flips']})" for one in also)
            lines.append(
                f"- network {row['number']}, {row['data']}: {p['kind']} in {p['share']:.0%} of "
                f"class {p['label']}, which flips {p['learnt']:.0%}: named {what}"
                + (f" ({more})" if more else "")
            )
    for row in (*false, *elsewhere):
        known = [p["label"] for p in row["plants"]]
        what = ", ".join(
            f"{one['kind']} of class {one['label']} (flips {one['flips']}, null {one['null']}, "
            f"sameness {one['sameness']})"
            for one in shortcuts(row)
            if one["label"] not in known
        )
        kind = "planted" if known else "clean"
        lines.append(f"- network {row['number']}, {row['data']}, {kind}: names {what}")
    return "\n".join(lines) + "\n"


def mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.3f}" if values else "none"
