"""Single deletion: a network that knows deleted patches, and by how much each really counts.

IDSDS: Hesse, Schaub-Meyer, Roth, *Benchmarking the Attribution Quality of Vision Models*, 2024,
arXiv:2407.11910, with one shape on a photo in place of ImageNet.
"""

import numpy as np
import torch
from torch import Tensor

from captum_cnn_ext import metrics
from captum_cnn_ext.bench.truths.drawing import normalized
from captum_cnn_ext.bench.truths.networks import Training, small_cnn
from captum_cnn_ext.bench.truths.task import Explain, Scores, Task, Trial, sure
from captum_cnn_ext.bench.truths.tasks import triggers
from captum_cnn_ext.metrics.faithfulness.single_deletion import patch_sums

GRID = 4
CELL = triggers.SIZE // GRID


def holed(images: Tensor, random: np.random.Generator) -> Tensor:
    """Each patch grey in one of eight images."""
    gone = torch.from_numpy(random.uniform(size=(len(images), 1, GRID, GRID)) < 1 / 8)
    return torch.where(gone.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3), 0, images)


def score(trial: Trial, explain: Explain) -> Scores:
    """Spearman's correlation of what patches get with how much the score falls without them."""
    assert isinstance(trial.truth, Tensor)
    got, true = (patch_sums(maps, GRID).flatten(1) for maps in (explain(), trial.truth))
    return {"rank correlation": metrics.rank_correlation(got, true)}


def trials(seed: int, images: int, training: Training) -> list[Trial]:
    def lessons() -> tuple[Tensor, Tensor]:
        random = np.random.default_rng([seed, 70])
        x, y = triggers.draw(3000, random)
        return holed(normalized(x), random), y

    model = training(
        f"deletion-{seed}", small_cnn(len(triggers.CLASSES), seed), lessons, steps=350, rate=6e-3
    )
    x, y = triggers.draw(8 * images, np.random.default_rng([seed, 71]))
    x = normalized(x)
    kept, accuracy = sure(model, x, y, images)
    drops = metrics.patch_drops(model, x[kept], y[kept], grid=GRID)
    truth = drops.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)
    about = {"accuracy": accuracy}
    return [Trial("deletion", model, x[kept], y[kept], truth, score, about=about)]


TASK = Task(
    "deletion",
    "By how much would the score fall without each patch?",
    "Spearman's correlation with the drops when each of 16 patches alone is deleted (IDSDS, -1 to "
    "1)",
    trials,
)
