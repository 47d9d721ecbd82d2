"""From a network's outputs to probabilities and to the class that is explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import ArgumentError
from captum_cnn_ext._engine.judging.targets import as_target, select_score
from captum_cnn_ext._numbers import whole
from captum_cnn_ext.insights.report.context import Predicted

SUM_TOLERANCE = 1e-3


def predicted(outputs: Tensor) -> Predicted:
    """Outputs (N, K) as probabilities, and in words how.

    Raises:
        ArgumentError: the outputs are no class scores (N, K), or not finite.
    """
    if outputs.ndim != 2:
        raise ArgumentError(
            f"model: expected outputs (N, classes), got {tuple(outputs.shape)}; wrap it in a "
            "module that returns one score for each class"
        )
    outputs = outputs.detach().float()
    if not outputs.isfinite().all():
        raise ArgumentError("model: its outputs for these images are not finite numbers")
    if outputs.shape[1] == 1:
        rule = "The network has one output; its sigmoid is shown as a probability."
        return Predicted(outputs, outputs.sigmoid(), rule)
    sums = outputs.sum(1)
    if (outputs >= 0).all() and ((sums - 1).abs() < SUM_TOLERANCE).all():
        rule = "The outputs are positive and sum to 1 already; they are shown as they are."
        return Predicted(outputs, outputs, rule)
    rule = "Probabilities are the softmax of the network's outputs (logits)."
    return Predicted(outputs, outputs.softmax(1), rule)


def explained_classes(outputs: Tensor, target: Any, photos: int) -> list[int]:
    """The class explained for each photo: the strongest, or the one that was asked for.

    Raises:
        ArgumentError: not one integer, or not one for each photo.
        TargetError: the network has no such class.
    """
    if target is None:
        return [int(index) for index in outputs.argmax(1)]
    target = as_target(target)
    if isinstance(target, Tensor):
        target = target.tolist()
    targets = list(target) if isinstance(target, Sequence) else [target] * photos
    if len(targets) != photos or None in map(whole, targets):
        raise ArgumentError(
            f"target={target!r}: expected a class index, or one for each of {photos} photo(s)"
        )
    select_score(outputs, torch.tensor(targets, device=outputs.device))
    return [index % outputs.shape[1] for index in targets]
