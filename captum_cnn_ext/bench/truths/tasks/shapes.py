"""Shapes on photos: one kind decides the class, others only stand there.

After the scenes of *How to Evaluate and Refine your CAM*, 2026, arXiv:2605.14641, drawn anew:
shapes in three sizes on photos, one or two of the kind that decides, two of other kinds.
"""

import numpy as np
import torch
from torch import Tensor

from captum_cnn_ext.bench.truths.drawing import (
    Generator,
    colour,
    normalized,
    photo_crops,
    places,
    shape_mask,
)
from captum_cnn_ext.bench.truths.networks import Training, small_cnn
from captum_cnn_ext.bench.truths.task import Task, Trial, sure

SIZE = 48
CLASSES = ("circle", "triangle", "plus")
OTHERS = ("bar", "square")
RADII = (5.0, 7.0, 9.0)


def draw(count: int, random: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Images, classes and masks of the shapes that decide."""
    images = photo_crops(count, SIZE, random) * 0.6 + 0.2
    labels = torch.from_numpy(random.integers(len(CLASSES), size=count))
    masks = torch.zeros(count, SIZE, SIZE, dtype=torch.bool)
    for image, label, mask in zip(images, labels, masks, strict=True):
        kinds = [CLASSES[int(label)]] * int(random.integers(1, 3))
        kinds += list(random.choice(OTHERS, 2))
        radii = random.choice(RADII, len(kinds)).tolist()
        for kind, radius, place in zip(kinds, radii, places(radii, SIZE, random), strict=True):
            here = shape_mask(kind, SIZE, place, radius)
            image[:, here] = colour(random)
            if kind in CLASSES:
                mask |= here
    return normalized(images), labels, masks


def trials(seed: int, images: int, training: Training) -> list[Trial]:
    model = training(
        f"shapes-{seed}",
        small_cnn(len(CLASSES), seed),
        lambda: draw(4000, np.random.default_rng([seed, 0]))[:2],
        steps=700,
        rate=8e-3,
    )
    x, y, masks = draw(8 * images, np.random.default_rng([seed, 1]))
    kept, accuracy = sure(model, x, y, images)
    return [
        Trial("shapes", model, x[kept], y[kept], masks[kept], about={"accuracy": accuracy}),
    ]


TASK = Task(
    "shapes",
    "Which of the shapes on the photo decides?",
    "the share of the strongest pixels that lie on the shapes that decide (rank accuracy)",
    trials,
)
