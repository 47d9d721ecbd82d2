"""Which judge can be trusted? Metrics that need no truth, beside the order of the truth.

For each method on a few images: the metrics that people use where no truth is known.
"""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from captum_cnn_ext import metrics
from captum_cnn_ext.bench.truths.task import Explain, Trial
from captum_cnn_ext.metrics.sanity.randomization import redraw

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
    forgetful = copy.deepcopy(model)
    redraw(forgetful.parameters(), torch.Generator().manual_seed(0))
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
    return {name: [round(v, 4) for v in values.tolist()] for name, values in found.items()}


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
        noise = (
            NOISE
            * (x.amax() - x.amin())
            * (torch.rand(x.shape, generator=generator, device="cpu") - 0.5)
        )
        change = (explain(x + noise, target) - maps).flatten(1).norm(dim=1) / size
        worst = torch.maximum(worst, change)
    return worst
