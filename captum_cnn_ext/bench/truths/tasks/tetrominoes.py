"""Tetrominoes: a T or an L decides, in four ways and on three backgrounds.

After Clark, Bunse, Haufe and others, *XAI-TRIS: Non-linear image benchmarks to quantify false
positive post-hoc attribution of feature importance*, 2024, arXiv:2306.12816, drawn anew. The two
shapes of ``xor`` stand side by side: a network that takes means over positions can learn it.
"""

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext import metrics
from captum_cnn_ext.bench.truths.drawing import Generator, photo_crops
from captum_cnn_ext.bench.truths.networks import Training, small_cnn
from captum_cnn_ext.bench.truths.task import Explain, Scores, Task, Trial, sure

SIZE, BLOCK = 32, 4
SHAPES = {"T": [[1, 1, 1], [0, 1, 0]], "L": [[1, 0], [1, 0], [1, 1]]}
SIGNALS = ("linear", "multiplicative", "rigid", "xor")
BACKGROUNDS = ("white", "correlated", "photo")
PLACES = {"T": (2, 1), "L": (2, 5)}  # in blocks, where a shape does not move
ATTEMPTS = 4  # to train a network, each from another start
SMOOTH = 1.5  # pixels, of the correlated background
STRENGTH = {"linear": 2.0, "multiplicative": 4.0, "rigid": 3.0, "xor": 4.0}


def stamp(shape: str, row: int, column: int, turns: int = 0) -> Tensor:
    """(SIZE, SIZE) from 0 to 1, blocks of a shape at a place."""
    blocks = torch.rot90(torch.tensor(SHAPES[shape]), turns)
    board = torch.zeros(SIZE // BLOCK, SIZE // BLOCK)
    board[row : row + blocks.shape[0], column : column + blocks.shape[1]] = blocks.float()
    return board.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)


def backgrounds(kind: str, count: int, random: Generator) -> Tensor:
    """(count, SIZE, SIZE) of mean 0 and standard deviation 1."""
    if kind == "photo":
        found = photo_crops(count, SIZE, random).mean(1)
    else:
        found = torch.from_numpy(random.normal(size=(count, SIZE, SIZE))).float()
    if kind == "correlated":
        place = torch.arange(-5, 6)
        line = torch.exp(-0.5 * (place / SMOOTH) ** 2)
        for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
            padding = (5, 0) if shape[2] == -1 else (0, 5)
            found = F.conv2d(found[:, None], line.reshape(shape), padding=padding)[:, 0]
    found = found - found.mean((1, 2), keepdim=True)
    return found / found.std((1, 2), keepdim=True).clamp(min=1e-3)


def draw(signal: str, ground: str, count: int, random: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Images, classes (T is 0; for xor, the same sign is 0) and masks of what decides."""
    noise = backgrounds(ground, count, random)
    labels = torch.from_numpy(random.integers(2, size=count))
    marks = torch.zeros(count, SIZE, SIZE)
    for mark, label in zip(marks, labels, strict=True):
        shape = "TL"[int(label)]
        if signal == "xor":
            one = float(random.choice([-1, 1]))
            mark += one * stamp("T", *PLACES["T"])
            mark += (one if label == 0 else -one) * stamp("L", *PLACES["L"])
        elif signal == "rigid":
            row, column = (int(v) for v in random.integers(SIZE // BLOCK - 2, size=2))
            mark += stamp(shape, row, column, int(random.integers(4)))
        else:
            mark += stamp(shape, *PLACES[shape])
    strength = STRENGTH[signal]
    found = (
        noise * (1 - strength * marks) if signal == "multiplicative" else (noise + strength * marks)
    )
    return found.unsqueeze(1).repeat(1, 3, 1, 1), labels, marks != 0


def score(trial: Trial, explain: Explain) -> Scores:
    """By magnitudes: precision among as many pixels as the mask has, and how far mass lies off."""
    assert isinstance(trial.truth, Tensor)
    maps, masks, x = explain(), trial.truth > 0, trial.inputs
    far = metrics.earth_movers_distance(maps, masks, x, grid=SIZE // BLOCK, sign="absolute")
    return {
        "precision": metrics.relevance_rank_accuracy(maps, masks, x, sign="absolute"),
        "1 - earth mover's distance": 1 - far,
    }


def trials(seed: int, images: int, training: Training) -> list[Trial]:
    scenes = list(itertools.product(SIGNALS, BACKGROUNDS))
    each = -(-images // len(scenes))
    return [_trial(signal, ground, seed, each, training) for signal, ground in scenes]


def _trial(signal: str, ground: str, seed: int, images: int, training: Training) -> Trial:
    number = SIGNALS.index(signal) * len(BACKGROUNDS) + BACKGROUNDS.index(ground)
    x, y, masks = draw(signal, ground, 128, np.random.default_rng([seed, 30 + number]))
    for attempt in range(ATTEMPTS):
        model = training(
            f"tetrominoes-{signal}-{ground}-{seed}-{attempt}",
            small_cnn(2, seed + 1000 * attempt, (8, 16, 24, 32)),
            lambda: draw(signal, ground, 2000, np.random.default_rng([seed, 10 + number]))[:2],
            steps=300,
            rate=5e-3,
            seed=attempt,
        )
        try:
            kept, accuracy = sure(model, x, y, images)
            break
        except RuntimeError:  # some starts learn nothing
            if attempt == ATTEMPTS - 1:
                raise
    about = {"accuracy": accuracy}
    return Trial(f"{signal}, {ground}", model, x[kept], y[kept], masks[kept], score, about=about)


TASK = Task(
    "tetrominoes",
    "Which blocks make the T or the L that decides?",
    "the share of the strongest magnitudes that lie on the shape (precision), over four ways in "
    "which it decides and three backgrounds",
    trials,
)
