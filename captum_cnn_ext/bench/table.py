"""Results as a table for people, and as a picture of cost against faithfulness."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from captum_cnn_ext.bench.methods import CONTROLS
from captum_cnn_ext.bench.results import Results
from captum_cnn_ext.bench.variants import photo_of
from captum_cnn_ext.metrics import Interval, bootstrap
from captum_cnn_ext.render import show_cost_quality

FIGURES = {  # the key, its heading, whether more is better
    "insertion_minus_deletion": "insertion - deletion ↑",
    "insertion": "insertion ↑",
    "deletion": "deletion ↓",
    "road": "ROAD ↑",
    "average_drop": "average drop ↓",
    "increase": "increase ↑",
    "sparseness": "sparseness",
    "like_gaussian": "rank corr. with Gaussian",
}
JUDGES = ("insertion_minus_deletion", "road")


def summarize(results: Results) -> dict[str, dict[str, Any]]:
    """For each method: cost, each metric's mean and interval, and how it stands to the Gaussian.

    Intervals draw whole photos: pictures cut from one photo are not independent. Differences to
    the Gaussian are taken image by image.

    Cost: no pass of the model.

    Example::

        >>> from captum_cnn_ext.bench import Results, summarize
        >>> summarize(Results({}))
        {}
    """
    found: dict[str, dict[str, Any]] = {}
    hill = results.cells.get("gaussian", {})
    for method, images in results.cells.items():
        good = {i: c for i, c in images.items() if "error" not in c}
        errors = [c["error"] for c in images.values() if "error" in c]
        row: dict[str, Any] = {"images": len(good), "failed": len(errors), "error": errors[:1]}
        if good:
            groups = [photo_of(i) for i in good]
            row["passes"] = statistics.median(
                c["seconds"] / c["forward_seconds"] for c in good.values()
            )
            row["peak_bytes"] = next(
                (c["peak_bytes"] for c in good.values() if c["peak_bytes"]), None
            )
            for key in FIGURES:
                row[key] = bootstrap([c[key] for c in good.values()], groups=groups)
            pairs = [i for i in good if "error" not in hill.get(i, {"error": ""})]
            for key in JUDGES:
                if pairs and method != "gaussian":
                    differences = [good[i][key] - hill[i][key] for i in pairs]
                    row[f"{key}_over_gaussian"] = bootstrap(
                        differences, groups=[photo_of(i) for i in pairs]
                    )
        found[method] = row
    return found


def methods_in_order(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Those that worked, best first by insertion - deletion."""
    working = [method for method, row in rows.items() if row["images"]]
    return sorted(working, key=lambda method: -rows[method][JUDGES[0]].mean)


def verdict(difference: Interval | None) -> str:
    """In a word: does it beat the Gaussian?"""
    if difference is None or math.isnan(difference.low):
        return ""
    return "better" if difference.low > 0 else "worse" if difference.high < 0 else "not better"


def markdown(results: Results) -> str:
    """The table, best first by insertion - deletion, the controls where they fall.

    Cost: no pass of the model.

    Example::

        >>> from captum_cnn_ext.bench import Results, markdown
        >>> markdown(Results({"model": "tiny", "layer": "0"})).splitlines()[0]
        '# tiny, layer 0'
    """
    rows = summarize(results)
    settings, machine = results.settings, results.machine
    images = {i for cells in results.cells.values() for i in cells}
    photos = {photo_of(i) for i in images}
    lines = [
        f"# {settings.get('model')}, layer {settings.get('layer')}",
        "",
        f"{len(images)} images from {len(photos)} photos; {_in_words(settings)}. On "
        f"{machine.get('device')}, {machine.get('threads')} CPU thread(s), "
        f"Python {machine.get('python')}, {_in_words(machine.get('versions', {}))}, "
        f"commit {machine.get('commit')}.",
        "",
        "Means with 95 % intervals from resampled photos. *Passes*: median time in forward passes "
        "of one image. *vs Gaussian*: the interval of the difference, image by image, by "
        "insertion - deletion and by ROAD."
        + (f" {len(photos)} photos are few: the intervals are too narrow." * (len(photos) < 10)),
        "",
    ]
    table = [["method", "passes", "peak MiB", "vs Gaussian", *FIGURES.values()]]
    for method in methods_in_order(rows):
        row = rows[method]
        words = [verdict(row.get(f"{key}_over_gaussian")) for key in JUDGES]
        peak = "" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**20:.0f}"
        name = f"*{method}*" if method in CONTROLS else method
        said = name, f"{row['passes']:.1f}", peak, ", ".join(w for w in words if w)
        table.append([*said, *(str(row[key]) for key in FIGURES)])
    lines += markdown_table(table)
    for method, row in rows.items():
        if row["failed"]:
            lines += ["", f"{method} failed on {row['failed']} image(s): {row['error'][0]}"]
    return "\n".join(lines) + "\n"


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown; the first row is its headings."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]


def _in_words(settings: Mapping[str, Any]) -> str:
    said = {name: value for name, value in settings.items() if name not in ("model", "layer")}
    lists = {n: " ".join(map(str, v)) for n, v in said.items() if isinstance(v, (list, tuple))}
    pairs = {**said, **lists}.items()
    return ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in pairs if value is not None
    )


def draw(results: Results) -> Figure:
    """Cost against faithfulness, one panel for each of the two judges.

    Means are differences to the centred Gaussian, image by image: scores differ far more between
    photos than between methods.

    Cost: no pass of the model.

    Raises:
        ValueError: there are no results, or none of the Gaussian.
    """
    rows = {m: r for m, r in summarize(results).items() if r["images"]}
    if "gaussian" not in rows:
        raise ValueError("results: expected the method 'gaussian', to which others are compared")
    hill = Interval(0.0, 0.0, 0.0)
    quality = {
        f"{FIGURES[key]} over the Gaussian": {
            m: (found.mean, found.low, found.high)
            for m, row in rows.items()
            for found in [row.get(f"{key}_over_gaussian", hill)]
        }
        for key in JUDGES
    }
    figure, _ = show_cost_quality(
        {m: max(row["passes"], 0.01) for m, row in rows.items()},
        quality,
        controls=[name for name in CONTROLS if name in rows],
        title=f"{results.settings.get('model')}: what a map costs and what it is worth",
        use_pyplot=False,
    )
    return figure
