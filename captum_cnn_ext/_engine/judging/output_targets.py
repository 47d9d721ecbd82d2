"""Targets that are functions of the model's output: what they are, and what they give."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from captum_cnn_ext.errors import TargetError


class OutputTarget(ABC):
    """Abstract: from a model's output to one score for each example, with gradients.

    Every ``target`` argument takes one for all examples, or a list with one for each.
    """

    @abstractmethod
    def __call__(self, output: Any) -> Tensor:
        """The score of each example in the model's output, shape (N,)."""

    @property
    def is_fixed(self) -> bool:
        """Whether it means the same thing in every output, as "class 3" does.

        "The first box" does not: in the output for a changed image it may be another box.
        """
        return True

    @property
    def is_linear(self) -> bool:
        """Whether it is a sum of class scores with fixed weights, whatever the output."""
        return False

    def fixed(self, output: Any) -> list["OutputTarget"]:
        """What it means in this output, one target for each example, to be used on others.

        Where images are changed (masked, blanked, on a path) the attribution classes and metrics
        call this once with the output for the unchanged images.
        """
        return [self] * len(self(output))

    def parts(self, output: Any) -> list[Any]:
        """The targets that its score is made of, in the output for one example: each of its boxes.

        They may lie on different layers of a network that finds large and small objects apart.
        """
        return [self]


class ScoredModel(nn.Module):
    """A model that returns the scores of targets: (N,) of one target, (N, T) of several.

    Its layers are those of the model in it, under their own names.
    """

    def __init__(self, model: Callable[..., Any], targets: Sequence[Any]) -> None:
        super().__init__()
        self.model = model
        self.targets = list(targets)
        self.training = bool(getattr(model, "training", False))  # the model's modes are its own

    def get_submodule(self, target: str) -> nn.Module:
        """The model's layer of that name."""
        if target and isinstance(self.model, nn.Module):
            return self.model.get_submodule(target)
        return super().get_submodule(target)

    def forward(self, *inputs: Any, **arguments: Any) -> Tensor:
        output = self.model(*inputs, **arguments)
        scores = [called(target, output) for target in self.targets]
        return scores[0] if len(scores) == 1 else torch.stack(scores, 1)


def is_function(target: Any) -> TypeGuard[Callable[[Any], Tensor] | list[Any]]:
    """Whether a target, or one of a list of them, is a function of the model's output."""
    return any(map(callable, target if isinstance(target, list) else [target]))


def is_linear(target: Any) -> bool:
    """Whether a target is a class, or a sum of class scores with fixed weights."""
    return target.is_linear if isinstance(target, OutputTarget) else not callable(target)


def parts_of(target: Any, output: Any) -> list[Any]:
    """The targets that a target's score is made of, in the output for one example."""
    if isinstance(target, list) and len(target) == 1:
        (target,) = target
    return target.parts(output) if isinstance(target, OutputTarget) else [target]


def needs_fixing(target: Any) -> bool:
    """Whether it has to be fixed by the unchanged images' output before others are scored."""
    each = target if isinstance(target, list) else [target]
    return any(isinstance(one, OutputTarget) and not one.is_fixed for one in each)


def fixed_target(target: Any, output: Any) -> Any:
    """The target as it is, or one for each example that means the same in other outputs."""
    if not needs_fixing(target):
        return target
    if not isinstance(target, list):
        return target.fixed(output)
    fixed = [t.fixed(output) if needs_fixing(t) else None for t in target]
    rows = next(len(one) for one in fixed if one is not None)
    each = target * rows if len(target) == 1 else target
    check_length(each, rows)
    found = fixed * rows if len(target) == 1 else fixed
    return [
        t if one is None else one[i] for i, (t, one) in enumerate(zip(each, found, strict=True))
    ]


def called(target: Any, output: Any) -> Tensor:
    """One function's scores, (N,).

    Raises:
        TargetError: it gives something else.
    """
    scores = target(output)
    if isinstance(scores, Tensor) and scores.ndim and scores.numel() == len(scores):
        return scores.reshape(-1)
    shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    raise TargetError(
        f"target={target!r}: the function gives {shape}; expected a tensor (N,) with one score for "
        "each example"
    )


def check_length(target: Sequence[Any] | Tensor, examples: int) -> None:
    """Refuse a list that has not one target for each example."""
    if len(target) != examples:
        raise TargetError(
            f"target: got {len(target)} targets for {examples} example(s); expected one for all of "
            f"them, or a list of length {examples}"
        )
