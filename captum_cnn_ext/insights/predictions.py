"""From a network's outputs to probabilities and to the class that is explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import ArgumentError
from captum_cnn_ext._engine.judging.input_errors import explained
from captum_cnn_ext._engine.judging.output_targets import fixed_target
from captum_cnn_ext._engine.judging.targets import as_target, select_score
from captum_cnn_ext._engine.running.batching import choices_of
from captum_cnn_ext._numbers import whole
from captum_cnn_ext.insights.report.audited import Predicted
from captum_cnn_ext.methods import AT_ONCE
from captum_cnn_ext.targets import AnyClass, Boxes, Target

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


@dataclass(frozen=True)
class Explained:
    """What is explained in each photo.

    Attributes:
        targets: a class for each photo, or a function of the model's output.
        words: the class or target and its score, as a label says it.
        boxes: where the targets are boxes, the box of each photo.
    """

    targets: list[Any]
    words: list[str]
    boxes: list[Any] | None = None


def explained_functions(model: nn.Module, inputs: Tensor, target: Any) -> Explained | int:
    """What functions of the output mean in each photo; a class index where they mean one.

    Raises:
        TargetError: the output has no such target.
    """
    fixed, scores = [], []
    with torch.no_grad(), explained(model, (inputs,)):
        for start in range(0, len(inputs), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            output = model(inputs[rows])
            own = choices_of(as_target(target), rows, len(inputs))
            if isinstance(own, AnyClass):
                own = own.meant_by(output)
                if isinstance(own, int):
                    return own
            found = fixed_target(own, output)
            found = found if isinstance(found, list) else [found] * len(inputs[rows])
            fixed += found
            scores += select_score(output, found).tolist()
    words = [
        f"{one if isinstance(one, Target) else 'own score'} {score:.3g}"
        for one, score in zip(fixed, scores, strict=True)
    ]
    boxes = [one.overlapping if isinstance(one, Boxes) else None for one in fixed]
    return Explained(fixed, words, boxes if any(boxes) else None)


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
