"""What a task is: networks, images, the truth of each image, and a score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from captum_cnn_ext import metrics
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.bench.run import scores
from captum_cnn_ext.bench.truths.networks import LAST, MIDDLE, Training

Scores = dict[str, Tensor]  # by name, a number for each image (N,)


class Explain(Protocol):
    """A method as a task's score calls it: maps (N, H, W)."""

    def __call__(
        self,
        inputs: Tensor | None = None,
        target: Tensor | None = None,
        model: nn.Module | None = None,
    ) -> Tensor:
        """Of the trial's own images, classes and network where others are not given."""


def mask_scores(trial: Trial, explain: Explain, sign: str = "signed") -> Scores:
    """How well maps find a mask: rank and mass accuracy, overlap at half height, the strongest."""
    assert isinstance(trial.truth, Tensor)
    maps, masks, x = explain(), trial.truth > 0, trial.inputs
    return {
        "rank accuracy": metrics.relevance_rank_accuracy(maps, masks, x, sign=sign),
        "mass accuracy": metrics.relevance_mass_accuracy(maps, masks, x, sign=sign),
        "IoU at 0.5": metrics.mask_iou(maps, masks, x, sign=sign),
        "pointing game": metrics.pointing_game(
            maps.abs() if sign == "absolute" else maps, masks, x, tolerance=0
        ),
    }


@dataclass(frozen=True)
class Trial:
    """A network and images whose truth is known.

    Args:
        name: of this trial among those of its task.
        model: the network, in evaluation mode.
        inputs: the images that are explained, (N, C, H, W).
        target: the class that each is explained for, (N,).
        truth: the maps (N, H, W) that a perfect method gives, or a function that gives them as
            ``Explain`` does.
        score: of (trial, explain): numbers for each image; the first is the one of the table.
        layers: the last and the middle layer for CAMs.
        about: what is reported beside the scores, such as the network's accuracy.
    """

    name: str
    model: nn.Module
    inputs: Tensor
    target: Tensor
    truth: Tensor | Explain
    score: Callable[[Trial, Explain], Scores] = mask_scores
    layers: tuple[str, str] = (LAST, MIDDLE)
    about: dict[str, float] = field(default_factory=dict)

    __repr__ = brief

    def perfect(
        self,
        inputs: Tensor | None = None,
        target: Tensor | None = None,
        model: nn.Module | None = None,
    ) -> Tensor:
        """The truth, called as a method is."""
        if isinstance(self.truth, Tensor):
            return self.truth.float()
        return self.truth(inputs, target, model)


@dataclass(frozen=True)
class Task:
    """A question with a known answer.

    Args:
        name: in tables and on the command line.
        question: in plain words.
        score: what the table's figure is, in plain words.
        trials: of (seed, images, training): trials with so many images each.
    """

    name: str
    question: str
    score: str
    trials: Callable[[int, int, Training], list[Trial]]

    __repr__ = brief


def sure(
    model: nn.Module, images: Tensor, labels: Tensor, count: int, least: float = 0.7
) -> tuple[Tensor, float]:
    """The places of the first ``count`` images that the network is right and sure about, and its
    accuracy on all.

    Raises:
        RuntimeError: there are not so many: the network has not learnt the task.
    """
    chances = torch.cat([scores(model, part) for part in torch.split(images, 64)]).softmax(1)
    right = chances.argmax(1) == labels
    kept = (right & (chances.amax(1) >= least)).nonzero()[:count, 0]
    accuracy = float(right.float().mean())
    if len(kept) < count:
        raise RuntimeError(
            f"the network is right and sure about {len(kept)} of {len(images)} images, {count} are "
            f"needed (accuracy {accuracy:.2f})"
        )
    return kept, accuracy
