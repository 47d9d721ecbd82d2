"""The league as a table for people and as a picture."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from captum_cnn_ext.bench.results import Results
from captum_cnn_ext.bench.table import markdown_table
from captum_cnn_ext.bench.terminal import aligned
from captum_cnn_ext.bench.truths.contenders import CONTROLS, MIDDLE_LAYER, TRUTH
from captum_cnn_ext.bench.truths.ranks import Column, Ranking, columns, ranking
from captum_cnn_ext.bench.truths.task import Task
from captum_cnn_ext.bench.truths.trust import trust
from captum_cnn_ext.render import show_score_table

MANY = 4  # trials of a task
QUICK = 10  # passes


def markdown(results: Results, tasks: Mapping[str, Task]) -> str:
    """A row a method, a column a task: means with intervals and ranks, cost beside.

    Cost: no pass of a model.

    Example::

        >>> from captum_cnn_ext.bench import Results, truths
        >>> settings = truths.TruthSettings(images=4)
        >>> results = Results(settings.to_dict())
        >>> chosen = {n: m for n, m in truths.contenders().items() if n in ("the truth", "random")}
        >>> truths.run_truths({"built": truths.TASKS["built"]}, [0], chosen, settings, results)
        >>> print(truths.markdown(results, truths.TASKS).splitlines()[0])
        # Attribution methods judged where the truth is known
    """
    found = columns(results)
    order = _order(results, found)
    lines = [*_head(results, tasks, found), *_main(results, found, order)]
    lines += _quick_ones(results, found, order)
    lines += _trust(results)
    lines += _details(results, found, order)
    lines += _networks(results)
    for method, cells in results.cells.items():
        failed = [f"{item}: {c['error']}" for item, c in cells.items() if "error" in c]
        if failed:
            lines += ["", f"{method} does not work on {len(failed)} item(s): {failed[0]}"]
    return "\n".join(lines) + "\n"


def text(results: Results, most: int = 20) -> str:
    """The first rows of `markdown` in four columns, for a terminal."""
    found = columns(results)
    order = [m for m in _order(results, found) if m != TRUTH]
    ranked = _ranked(found)
    ranks = {task: column.ranks() for task, column in found.items()}
    rows: list[Sequence[str]] = [("method", "passes", "mean rank", "best on")]
    for method in order[:most]:
        mean = ranked.ranks.get(method, math.nan) if ranked else math.nan
        best = [task for task, ranking in ranks.items() if ranking.get(method, 0) - 1 == 1]
        rows.append((method, f"{_passes(results, method):.1f}", f"{mean:.1f}", ", ".join(best)))
    lines = [
        f"{len(results.cells)} methods and controls on {len(found)} tasks",
        "",
        aligned(rows, 2),
    ]
    left = len(order) - most
    return "\n".join(lines + [f"... and {left} more in the file"] * (left > 0))


def _versions(machine: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items())


def _ranked(found: Mapping[str, Column]) -> Ranking | None:
    return ranking(found, [TRUTH]) if found else None


def _order(results: Results, found: Mapping[str, Column]) -> list[str]:
    """By mean rank, what did not work everywhere last; the truth leads."""
    ranked = _ranked(found)
    ranks = ranked.ranks if ranked else {}
    working = [m for m in results.cells if any(m in c.methods for c in found.values())]
    return sorted(working, key=lambda m: (m != TRUTH, ranks.get(m, math.inf)))


def _head(results: Results, tasks: Mapping[str, Task], found: Mapping[str, Column]) -> list[str]:
    machine, ranked = results.machine, _ranked(found)
    lines = [
        "# Attribution methods judged where the truth is known",
        "",
        f"{len(results.cells)} methods and controls, {len(found)} tasks. On "
        f"{machine.get('device')}, {machine.get('threads')} CPU thread(s), Python "
        f"{machine.get('python')}, {_versions(machine)}, commit {machine.get('commit')}.",
        "",
        "Means with 95 % intervals from resampled seeds and images (of one seed: images only), and "
        "the rank within the task in brackets. There is no total: rows stand in the order of their "
        "mean rank, as something has to come first. *Passes*: median time of a map in forward "
        "passes of the same images. *The truth* is what a perfect method gives, *controls* know "
        "nothing of the network.",
    ]
    if ranked and not math.isnan(ranked.critical):
        lines += [
            "",
            f"Friedman's test over tasks: p = {ranked.p:.2g}. Two mean ranks differ for sure (5 %, "
            f"Nemenyi) where they are {ranked.critical:.1f} apart.",
        ]
    for name, column in found.items():
        if name in tasks:
            seeds, images = column.values.shape[1:]
            about = tasks[name]
            lines += ["", f"- **{name}**: {about.question} Score: {about.score}. {seeds} seed(s) "
                      f"of {images} images."]  # fmt: skip
    return lines


def _main(results: Results, found: Mapping[str, Column], order: list[str]) -> list[str]:
    ranked = _ranked(found)
    ranks = {task: column.ranks() for task, column in found.items()}
    rows = [["method", "passes", "mean rank", *found]]
    for method in order:
        cells = []
        for task, column in found.items():
            if method not in column.methods:
                cells.append("does not work")
                continue
            place = "" if method == TRUTH else f" ({ranks[task][method] - 1:.0f})"
            cells.append(f"{column.interval(method)}{place}")
        name = f"*{method}*" if method in CONTROLS else method
        mean = ranked.ranks.get(method) if ranked else None
        rank = "" if mean is None else f"{mean:.1f}"
        rows.append([name, f"{_passes(results, method):.1f}", rank, *cells])
    return ["", *markdown_table(rows)]


def one_row_each(found: Mapping[str, Column], order: Sequence[str]) -> dict[str, list[str]]:
    """Every method at the better of its layers, with the methods that score the same on all tasks.

    ``order`` is that of the rows, the better ones first.
    """
    rows: dict[tuple[str, ...], list[str]] = {}
    seen: set[str] = set()
    for method in order:
        plain = method.removesuffix(MIDDLE_LAYER)
        if plain in seen or method == TRUTH:
            continue
        seen.add(plain)
        means = (f"{c.interval(method).mean:.2f}" for c in found.values() if method in c.methods)
        rows.setdefault((*means,), []).append(method)
    place = {m: n for column in found.values() for n, m in enumerate(column.methods)}
    alike = [sorted(same, key=lambda m: place[m]) for same in rows.values()]  # ours before adapters
    return {same[0]: same for same in alike}


def _quick_ones(results: Results, found: Mapping[str, Column], order: list[str]) -> list[str]:
    """Ranks where they can settle more: among few methods that are not alike."""
    rows = one_row_each(found, order)
    few = [m for m in rows if m not in CONTROLS and _passes(results, m) <= QUICK]
    ranked = ranking(found, [m for m in order if m not in few]) if len(few) > 2 else None
    if not ranked or math.isnan(ranked.critical):
        return []
    lines = [
        "",
        f"## Ranks among methods of up to {QUICK} passes",
        "",
        "Each at the better of its layers, once where several score the same. Two mean ranks "
        f"differ for sure (5 %, Nemenyi) where they are {ranked.critical:.1f} apart.",
        "",
    ]
    ranks = sorted(ranked.ranks.items(), key=lambda item: item[1])
    table = [(method, f"{rank:.1f}", ", ".join(rows[method][1:])) for method, rank in ranks]
    return [*lines, *markdown_table([("method", "mean rank", "scores the same"), *table])]


def _passes(results: Results, method: str) -> float:
    """The median over items that worked."""
    known = [c["passes"] for c in results.cells[method].values() if "passes" in c]
    return statistics.median(known) if known else math.nan


def _trust(results: Results) -> list[str]:
    """Which metric without a truth gives the order that the truth gives."""
    found = trust(results)
    if not found:
        return []
    tasks = list(dict.fromkeys(task for row in found.values() for task in row))
    lines = [
        "",
        "## Which judge can be trusted?",
        "",
        "Kendall's tau between the order of methods that a metric gives, which knows no truth, and "
        "the order of the truth: 1 is the same order, 0 none, -1 the opposite. 95 % intervals from "
        "methods drawn anew; controls take no part.",
        "",
    ]
    rows = [["metric", "mean", *tasks]]
    means = {judge: statistics.mean(v.mean for v in row.values()) for judge, row in found.items()}
    for judge in sorted(found, key=lambda j: -means[j]):
        cells = (str(found[judge].get(task, "")) for task in tasks)
        rows.append([judge, f"{means[judge]:.2f}", *cells])
    return [*lines, *markdown_table(rows)]


def _details(results: Results, found: Mapping[str, Column], order: list[str]) -> list[str]:
    """For each task, every score of every trial: means only; of many trials the first score."""
    lines: list[str] = []
    for task, column in found.items():
        methods = [m for m in order if m in column.methods]
        cells = {
            m: [c["scores"] for i, c in results.cells[m].items() if i.rsplit("/", 1)[0] == task]
            for m in methods
        }
        trials = cells[methods[0]][0]
        names = [
            (trial, name)
            for trial, scores in trials.items()
            for name in list(scores)[: 1 if len(trials) > MANY else None]
        ]
        rows = [["method", *(f"{trial}: {name}" for trial, name in names)]]
        for method in methods:
            means = (
                statistics.mean(v for scores in cells[method] for v in scores[trial].get(name, [0]))
                for trial, name in names
            )
            rows.append([method, *(f"{mean:.3f}" for mean in means)])
        lines += ["", f"## {task}: every score", "", *markdown_table(rows)]
    return lines


def _networks(results: Results) -> list[str]:
    """What was judged: accuracy and hashes."""
    lines = []
    for item, cell in results.cells.get(TRUTH, {}).items():
        for trial, about in cell.get("about", {}).items():
            said = ", ".join(f"{name} {value}" for name, value in about.items())
            lines.append(f"- {item}, {trial}: {said}")
    return ["", "## Networks and images", "", *lines] if lines else []


def draw(results: Results) -> Figure:
    """A row a method, at the better of its layers; from a random map (white) to the truth (dark).

    Cost: no pass of a model.

    Raises:
        ValueError: there are no results.
    """
    found = columns(results)
    order = [m for m in _order(results, found) if m != TRUTH]
    rows = one_row_each(found, order)
    names = {m: f"{m} (and {len(s) - 1} alike)" if len(s) > 1 else m for m, s in rows.items()}
    means = {
        name: {t: c.interval(m).mean for t, c in found.items() if m in c.methods}
        for m, name in names.items()
    }
    chance = {t: c.interval("random").mean for t, c in found.items() if "random" in c.methods}
    best = {t: c.interval(TRUTH).mean for t, c in found.items() if TRUTH in c.methods}
    top = {
        t: max((m for m in order if m in c.methods), key=lambda m: c.interval(m).mean)
        for t, c in found.items()
    }
    leaders = {
        (name, t)
        for t, c in found.items()
        for m, name in names.items()
        if m in c.methods and (m == top[t] or c.difference(top[t], m).low <= 0)
    }
    figure, _ = show_score_table(
        means,
        cost={name: _passes(results, m) for m, name in names.items()},
        chance=chance,
        best=best,
        marked=leaders,
        grey=CONTROLS,
        title="Methods judged where the truth is known",
        note="White: a random map. Dark blue: the truth. Red: worse than random. Bold: the best, "
        "and what it is not told apart from.\nEach method at the better of its two layers, rows in "
        "the order of mean ranks over tasks.",
    )
    return figure
