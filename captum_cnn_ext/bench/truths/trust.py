"""Which judge can be trusted? The order that each gives beside the order of the truth."""

import numpy as np

from captum_cnn_ext.bench.results import Results
from captum_cnn_ext.bench.truths.contenders import CONTROLS
from captum_cnn_ext.bench.truths.metrics_without_truth import JUDGES
from captum_cnn_ext.bench.truths.ranks import columns
from captum_cnn_ext.errors import needing
from captum_cnn_ext.metrics import Interval


def trust(results: Results) -> dict[str, dict[str, Interval]]:
    """For each judge and task: Kendall's tau of its order of methods and the truth's.

    Both orders are of the same images. Controls take no part. Intervals draw methods anew.

    Raises:
        ImportError: scipy is missing.
    """
    with needing("Kendall's tau needs scipy", "families"):
        from scipy.stats import kendalltau
    found: dict[str, dict[str, Interval]] = {name: {} for name in JUDGES}
    for task, column in columns(results).items():
        methods = [m for m in column.methods if m not in CONTROLS]
        for judge, more in JUDGES.items():
            pairs = [_true_and_said(results, m, task, judge) for m in methods]
            true, given = np.array([pair for pair in pairs if pair]).reshape(-1, 2).T
            if len(true) < 3:
                continue
            given = given if more else -given
            random = np.random.default_rng(0)
            drawn = [
                kendalltau(true[c], given[c]).statistic
                for c in random.integers(len(true), size=(200, len(true)))
            ]
            low, high = np.quantile(np.nan_to_num(drawn), [0.025, 0.975])  # no order is tau 0
            tau = float(np.nan_to_num(kendalltau(true, given).statistic))
            found[judge][task] = Interval(tau, float(low), float(high))
    return {judge: tasks for judge, tasks in found.items() if tasks}


def _true_and_said(
    results: Results, method: str, task: str, judge: str
) -> tuple[float, float] | None:
    """A method's mean score and a judge's mean figure, on the images that were judged."""
    true: list[float] = []
    said: list[float] = []
    for item, cell in results.cells[method].items():
        if item.rsplit("/", 1)[0] == task:
            for trial, figures in cell.get("judges", {}).items():
                true += next(iter(cell["scores"][trial].values()))[: len(figures[judge])]
                said += figures[judge]
    return (float(np.mean(true)), float(np.mean(said))) if said else None
