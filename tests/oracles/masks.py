"""Maps from scores of randomly masked images."""

import models
import references_masks
import torch

from captum_cnn_ext._engine.judging import detections
from captum_cnn_ext.attr import DRise, Rise
from captum_cnn_ext.attr.pixels import masked_input_base, random_masks
from oracles import Oracle, home

MASKS = {"n_samples": 20, "cells": 2}


def rise(model, layer, x, targets, call):
    """Of the probabilities, each example by itself."""
    maps = []
    for n, target in enumerate(targets):

        def score(image, target=target):
            return model(image.clone()).softmax(1)[0, target].detach()

        maps.append(references_masks.rise(score, x[n : n + 1], *MASKS.values()))
    return torch.stack(maps)[:, None]


@torch.no_grad()
def d_rise(model, layer, x, targets, call):
    """Of the second object that a detector finds in each image."""
    detector, maps = models.as_detector(model), []
    for n, plain in enumerate(detector(x.clone())):
        box, label = plain["boxes"][1], plain["labels"][1]

        def score(image, box=box, label=label):
            return references_masks.similarity(box, label, detector(image.clone())[0])

        maps.append(references_masks.rise(score, x[n : n + 1], *MASKS.values()))
    return torch.stack(maps)[:, None]


def without_shift(right):
    def wrong(self, numbers):
        still = random_masks.RandomMasks(self.size, self.bits, self.shifts * 0, self.probability)
        return right(still, numbers)

    return wrong


WRONG_MASKS = {
    "no shift": (random_masks.RandomMasks, "of", without_shift),
    "inverted masks": (random_masks.RandomMasks, "of", lambda right: lambda *a: 1 - right(*a)),
    "not divided by p": (
        random_masks.RandomMasks,
        "weighted",
        lambda right: lambda self, scores: right(self, scores) * self.probability,
    ),
    "a swapped baseline": (
        masked_input_base,
        "_blended",
        lambda right: lambda x, baseline, mask: right(x, baseline, 1 - mask),
    ),
}
ORACLES = [
    Oracle(Rise, rise, WRONG_MASKS, ("functional", "residual"), arguments=MASKS),
    Oracle(
        DRise,
        d_rise,
        WRONG_MASKS
        | {
            "squared overlap": (detections, "box_iou", lambda right: lambda *a: right(*a).square()),
            "squared similarity": (
                home(DRise),
                "similarities",
                lambda right: lambda *a: right(*a).square(),
            ),
        },
        ("functional", "residual"),
        arguments={"target": 1, **MASKS},
        tolerance=1e-5,
        make=lambda model, layer: DRise(models.as_detector(model)),
    ),
]
