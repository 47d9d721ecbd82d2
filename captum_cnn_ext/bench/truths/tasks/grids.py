"""Grids of four pictures: does the map for a class lie on the picture of that class?

GridPG shows a classifier four of its pictures at once. DiFull takes the pictures apart: each output
sees one cell only, so that evidence outside of it is impossible. Rao, Bohle, Schiele, *Towards
Better Understanding Attribution Methods*, 2022, arXiv:2205.10435.
"""

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from captum_cnn_ext import metrics
from captum_cnn_ext.bench.truths.drawing import normalized
from captum_cnn_ext.bench.truths.networks import LAST, MIDDLE, Training, small_cnn
from captum_cnn_ext.bench.truths.task import Explain, Scores, Task, Trial, sure
from captum_cnn_ext.bench.truths.tasks import triggers

CELL, CLASSES = triggers.SIZE, len(triggers.CLASSES)


class Disconnected(nn.Module):
    """A network on each cell of a 2 x 2 grid alone: CLASSES outputs for each of the four cells.

    Layers ``relu2`` and ``relu4`` give the maps of the cells laid out as the picture is.
    """

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        parts = list(cast(nn.Sequential, whole))
        self.first, self.second = nn.Sequential(*parts[:4]), nn.Sequential(*parts[4:8])
        self.head = parts[-1]
        self.add_module(MIDDLE, nn.Identity())
        self.add_module(LAST, nn.Identity())
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        middle = self.get_submodule(MIDDLE)(laid_out(self.first(taken_apart(x))))
        last = self.get_submodule(LAST)(laid_out(self.second(taken_apart(middle))))
        logits: Tensor = self.head(self.pool(last).flatten(2).transpose(1, 2))
        return logits.flatten(1)


def taken_apart(maps: Tensor) -> Tensor:
    """(N, C, 2 h, 2 w) as cells (4 N, C, h, w)."""
    n, c, height, width = maps.shape
    cells = maps.reshape(n, c, 2, height // 2, 2, width // 2).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(4 * n, c, height // 2, width // 2)


def laid_out(cells: Tensor) -> Tensor:
    """The opposite of `taken_apart`."""
    n, c, height, width = cells.shape
    maps = cells.reshape(n // 4, 2, 2, c, height, width).permute(0, 3, 1, 4, 2, 5)
    return maps.reshape(n // 4, c, 2 * height, 2 * width)


def grids(pictures: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Grids of one picture a class, and the class in each cell, (count, 4)."""
    places = [(labels == label).nonzero()[:, 0] for label in range(CLASSES)]
    random = np.random.default_rng(0)
    shown = torch.from_numpy(random.permuted(np.tile(np.arange(CLASSES), (count, 1)), axis=1))
    chosen = torch.stack(
        [torch.stack([places[int(k)][n % len(places[int(k)])] for k in row])
         for n, row in enumerate(shown)]
    )  # fmt: skip
    return laid_out(pictures[chosen.flatten()]), shown


def score(trial: Trial, explain: Explain) -> Scores:
    """The share of the positive evidence in the cell."""
    assert isinstance(trial.truth, Tensor)
    maps, masks = explain(), trial.truth > 0
    return {
        "evidence in the cell": metrics.relevance_mass_accuracy(maps, masks, trial.inputs),
        "pointing game": metrics.pointing_game(maps, masks, trial.inputs, tolerance=0),
    }


def trials(seed: int, images: int, training: Training) -> list[Trial]:
    def lessons() -> tuple[Tensor, Tensor]:
        x, y = triggers.draw(3000, np.random.default_rng([seed, 50]))
        return normalized(x), y

    model = training(f"grids-{seed}", small_cnn(CLASSES, seed), lessons, steps=350, rate=6e-3)
    x, y = triggers.draw(600, np.random.default_rng([seed, 51]))
    kept, accuracy = sure(model, normalized(x), y, 120, least=0.9)
    count = -(-images // 2)
    pictures, shown = grids(normalized(x)[kept], y[kept], count)
    cell = torch.arange(count) % 4
    board = torch.arange(4).reshape(1, 1, 2, 2).float()
    where = nn.functional.interpolate(board, scale_factor=CELL)[0]
    masks = where == cell[:, None, None]
    named = shown[torch.arange(count), cell]
    about = {"accuracy": accuracy}
    return [
        Trial("GridPG", model, pictures, named, masks, score, about=about),
        Trial("DiFull", Disconnected(model), pictures, cell * CLASSES + named, masks, score,
              about=about),
    ]  # fmt: skip


TASK = Task(
    "grids",
    "Which of four pictures shows the class?",
    "the share of the positive evidence that lies in the cell (GridPG and DiFull)",
    trials,
)
