"""Which judge can be trusted? Metrics that need no truth, beside the order of the truth.

For each method on a few images: the metrics that people use where no truth is known.
`trust` compares the order that each gives with the order of the truth.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from captum_cnn_ext import metrics
from captum_cnn_ext.bench.results import Results
from captum_cnn_ext.bench.truths.contenders import CONTROLS
from captum_cnn_ext.bench.truths.ranks import columns
from captum_cnn_ext.bench.truths.task import Explain, Trial
from captum_cnn_ext.errors import install
from captum_cnn_ext.metrics import Interval

# by name: whether more is better
JUDGES = {
    "insertion": True,
    "deletion": False,
    "insertion - deletion": True,
    "ROAD": True,
    "average drop": False,
    "infidelity": False,
    "sensitivity": False,
    "sparseness": True,
    "parameter randomization": False,
    "random logit": False,
    "single deletion": True,
    "ARCC": True,
}
STEPS, SHARES, GRID = 16, (0.2, 0.5, 0.8), 4
NOISE, COPIES = 0.1, 2  # of sensitivity: a share of the inputs' range; how often
PERTURBATIONS = 16  # of infidelity


def judged(trial: Trial, explain: Explain, count: int) -> dict[str, list[float]]:
    """Each judge's figure for the first images of a trial. The map is judged as it is given.

    Raises:
        MethodError: what the method raises on changed images, classes or networks.
    """
    x, target, model = trial.inputs[:count], trial.target[:count], trial.model
    maps = explain(x, target)
    up, down = metrics.insertion_and_deletion(model, x, maps, target, steps=STEPS)
    masked = metrics.confidence(model, x, maps, target)
    outputs = int(model(x[:1]).shape[1])
    forgetful = _randomized(model)
    found = {
        "insertion": up.area,
        "deletion": down.area,
        "insertion - deletion": up.area - down.area,
        "ROAD": metrics.road(model, x, maps, target, shares=SHARES).score,
        "average drop": masked.average_drop,
        "infidelity": _infidelity(model, x, maps, target),
        "sensitivity": _sensitivity(explain, x, maps, target),
        "sparseness": metrics.sparseness(maps, x),
        "parameter randomization": metrics.rank_correlation(
            maps.abs(), explain(x, target, forgetful).abs()
        ),
        "random logit": metrics.random_logit(explain, x, target, classes=outputs),
        "single deletion": metrics.single_deletion(model, x, maps, target, grid=GRID),
        "ARCC": metrics.arcc(model, lambda i: explain(i, target), x, target, shares=SHARES).score,
    }
    return {name: [round(v, 5) for v in values.tolist()] for name, values in found.items()}


def _randomized(model: nn.Module) -> nn.Module:
    """A copy whose parameters are drawn anew, each with its own mean and deviation."""
    changed = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in changed.parameters():
            spread = parameter.std() if parameter.numel() > 1 else parameter.abs().mean()
            drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.copy_(parameter.mean() + spread * drawn)
    return changed


def _infidelity(model: nn.Module, x: Tensor, maps: Tensor, target: Tensor) -> Tensor:
    """Captum's, for squares set to 0, the map scaled as fits best (Yeh and others, 2019)."""
    channels = x.shape[1]
    height, width = x.shape[2] // GRID, x.shape[3] // GRID
    random = np.random.default_rng(0)

    def squares(inputs: Tensor) -> tuple[Tensor, Tensor]:
        changed = inputs.clone()
        for image in changed:
            top = int(random.integers(x.shape[2] - height + 1))
            left = int(random.integers(x.shape[3] - width + 1))
            image[:, top : top + height, left : left + width] = 0
        return inputs - changed, changed

    given = maps.unsqueeze(1).expand(-1, channels, -1, -1) / channels
    found: Tensor = metrics.infidelity(
        model, squares, x, given, target=target, n_perturb_samples=PERTURBATIONS, normalize=True
    )
    return torch.nan_to_num(found)


def _sensitivity(explain: Explain, x: Tensor, maps: Tensor, target: Tensor) -> Tensor:
    """The largest relative change of the map under a little noise (Yeh and others, 2019)."""
    generator = torch.Generator().manual_seed(0)
    size = maps.flatten(1).norm(dim=1).clamp(min=1e-12)
    worst = torch.zeros(len(x))
    for _ in range(COPIES):
        noise = NOISE * (x.amax() - x.amin()) * (torch.rand(x.shape, generator=generator) - 0.5)
        change = (explain(x + noise, target) - maps).flatten(1).norm(dim=1) / size
        worst = torch.maximum(worst, change)
    return worst


def trust(results: Results) -> dict[str, dict[str, Interval]]:
    """For each judge and task: Kendall's tau of its order of methods and the truth's.

    Both orders are of the same images. Controls take no part. Intervals draw methods anew.

    Raises:
        ImportError: scipy is missing.
    """
    try:
        from scipy.stats import kendalltau
    except ImportError as error:
        raise ImportError(f"Kendall's tau needs scipy: {install('families')}") from error
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
