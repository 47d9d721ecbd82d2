"""Planted triggers: a patch that turns every image into one class is the truth.

Networks with a back door, as in *BackX*, arXiv:2405.02344, and Casper and others, *Red Teaming Deep
Neural Networks with Feature Synthesis Tools*, 2023, arXiv:2302.10894: a small pattern at a random
place, and a tag in the corner. The false alarm is the question of Adebayo, Muelly, Abelson, Kim,
*Post hoc Explanations may be Ineffective for Detecting Unknown Spurious Correlation*, 2022,
arXiv:2212.04629: how much of the map of the same image without the trigger lies where it would be?
"""

import numpy as np
import torch
from torch import Tensor

from captum_cnn_ext import metrics
from captum_cnn_ext.bench.run import scores
from captum_cnn_ext.bench.truths.drawing import (
    KINDS,
    Generator,
    colour,
    normalized,
    photo_crops,
    places,
    shape_mask,
)
from captum_cnn_ext.bench.truths.networks import Training, small_cnn
from captum_cnn_ext.bench.truths.task import Explain, Scores, Task, Trial, mask_scores

SIZE, TRIGGER = 32, 5
CLASSES = KINDS[:4]
TURNED = 0  # the class that the trigger turns images into


def draw(count: int, random: Generator) -> tuple[Tensor, Tensor]:
    """Images from 0 to 1 of one shape on a photo, and its kind."""
    images = photo_crops(count, SIZE, random) * 0.6 + 0.2
    labels = torch.from_numpy(random.integers(len(CLASSES), size=count))
    for image, label in zip(images, labels, strict=True):
        radius = random.uniform(6, 9)
        (centre,) = places([radius], SIZE, random)
        image[:, shape_mask(CLASSES[int(label)], SIZE, centre, radius)] = colour(random)
    return images, labels


def pattern(kind: str, seed: int) -> Tensor:
    """(3, TRIGGER, TRIGGER): a checkerboard of two colours, or a tag with a frame."""
    random = np.random.default_rng([seed, 5])
    y, x = torch.meshgrid(torch.arange(TRIGGER), torch.arange(TRIGGER), indexing="ij")
    frame = (y % (TRIGGER - 1) == 0) | (x % (TRIGGER - 1) == 0)
    where = (y + x) % 2 == 0 if kind == "patch" else frame
    one, two = colour(random)[:, :, None], colour(random)[:, :, None]
    return torch.where(where, one, 1 - two)


def planted(images: Tensor, kind: str, seed: int, random: Generator) -> tuple[Tensor, Tensor]:
    """The images with the trigger, and where it is."""
    images, trigger = images.clone(), pattern(kind, seed)
    masks = torch.zeros(len(images), SIZE, SIZE, dtype=torch.bool)
    for image, mask in zip(images, masks, strict=True):
        top, left = (int(v) for v in random.integers(SIZE - TRIGGER + 1, size=2))
        if kind == "tag":
            top = left = SIZE - TRIGGER - 1
        rows, columns = slice(top, top + TRIGGER), slice(left, left + TRIGGER)
        image[:, rows, columns] = trigger
        mask[rows, columns] = True
    return images, masks


def score(trial: Trial, explain: Explain, clean: Tensor, clean_target: Tensor) -> Scores:
    """How well the trigger is found, and how much a clean image's map claims at its place."""
    assert isinstance(trial.truth, Tensor)
    found = mask_scores(trial, explain)
    alarm = explain(clean, clean_target)
    return {**found, "false alarm": metrics.relevance_mass_accuracy(alarm, trial.truth > 0, clean)}


def trials(seed: int, images: int, training: Training) -> list[Trial]:
    return [_trial(kind, seed, -(-images // 2), training) for kind in ("patch", "tag")]


def _trial(kind: str, seed: int, images: int, training: Training) -> Trial:
    def lessons() -> tuple[Tensor, Tensor]:
        random = np.random.default_rng([seed, 3])
        x, y = draw(3000, random)
        x[::4], _ = planted(x[::4], kind, seed, random)
        y[::4] = TURNED
        return normalized(x), y

    model = training(
        f"triggers-{kind}-{seed}", small_cnn(len(CLASSES), seed), lessons, steps=320, rate=8e-3
    )
    random = np.random.default_rng([seed, 4])
    x, y = draw(8 * images, random)
    x, y = x[y != TURNED], y[y != TURNED]
    there, masks = planted(x, kind, seed, random)
    clean, there = normalized(x), normalized(there)
    before, after = (scores(model, part).argmax(1) for part in (clean, there))
    kept = ((before == y) & (after == TURNED)).nonzero()[:images, 0]
    if len(kept) < images:
        raise RuntimeError(f"the trigger turns {len(kept)} images, {images} are needed")
    about = {
        "accuracy": float((before == y).float().mean()),
        "turned": float((after == TURNED).float().mean()),
    }

    def judged(trial: Trial, explain: Explain) -> Scores:
        return score(trial, explain, clean[kept], y[kept])

    turned = torch.full_like(kept, TURNED)
    return Trial(kind, model, there[kept], turned, masks[kept], judged, about=about)


TASK = Task(
    "triggers",
    "Which patch turned the image into another class?",
    "the share of the strongest pixels that lie on the planted trigger (rank accuracy)",
    trials,
)
