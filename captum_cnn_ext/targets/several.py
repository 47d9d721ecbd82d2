"""Scores made of other targets' scores: one against another, several at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.output_targets import (
    fixed_target,
    is_linear,
    needs_fixing,
    parts_of,
)
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.judging.targets import as_target, select_score
from captum_cnn_ext._numbers import as_number, as_numbers
from captum_cnn_ext.errors import ArgumentError, TargetError, choose
from captum_cnn_ext.targets.base import Target


@dataclass(frozen=True, eq=False, repr=False)
class Difference(Target):
    r"""Why this class rather than that one? The difference of two scores.

    .. math:: y = y_a - y_b

    What speaks for both cancels out: what is left tells them apart.

    Reference: the contrastive explanation of Prabhushankar, Kwon, Temel, AlRegib, *Contrastive
    Explanations in Neural Networks*, 2020, arXiv:2008.00178, without its loss.

    Args:
        a: a class, or a target of this module.
        b: what it is compared with.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext import attr, targets
        >>> cam = attr.LayerHiResCam(resnet18().eval(), "layer4")
        >>> cam.attribute(torch.rand(2, 3, 64, 64), targets.Difference(281, 285)).shape
        torch.Size([2, 1, 2, 2])
    """

    a: Any
    b: Any

    def __post_init__(self) -> None:
        for name in ("a", "b"):
            object.__setattr__(self, name, _one(name, getattr(self, name)))

    @property
    def is_fixed(self) -> bool:
        """Whether both mean the same in every output."""
        return not (needs_fixing(self.a) or needs_fixing(self.b))

    @property
    def is_linear(self) -> bool:
        """Whether both are classes, or sums of their scores."""
        return is_linear(self.a) and is_linear(self.b)

    def fixed(self, output: Any) -> list[Any]:
        """The differences of what the two mean in this output."""
        pairs = zip(*(_fixed(t, output) for t in (self.a, self.b)), strict=True)
        return [Difference(a, b) for a, b in pairs]

    def parts(self, output: Any) -> list[Any]:
        """The parts of both, in the output for one example."""
        return [*parts_of(self.a, output), *parts_of(self.b, output)]

    def __call__(self, output: Any) -> Tensor:
        """The difference for each example, (N,)."""
        return select_score(output, self.a) - select_score(output, self.b)

    def said(self, class_name: Callable[[int], str]) -> str:
        """In words."""
        return f"{_words(self.a, class_name)} against {_words(self.b, class_name)}"


@dataclass(frozen=True, eq=False, repr=False)
class Several(Target):
    r"""What speaks for any of these labels? The sum of several scores.

    .. math:: y = \sum_{t} w_t\, y_t

    For multi-label networks: without ``targets`` they are the labels that the network gives each
    image, whose scores are above a threshold; in changed images they stay those of the unchanged.

    Args:
        targets: classes or targets of this module; None is every class above the threshold.
        weights: one for each of them; None is 1.
        above: the threshold of a label; 0 is a probability of one half where scores are logits.
        reduction: "sum" or "mean".

    Raises:
        TargetError: (when used) an example has no label above the threshold.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext import attr, targets
        >>> cam = attr.LayerHiResCam(resnet18().eval(), "layer4")
        >>> cam.attribute(torch.rand(2, 3, 64, 64), targets.Several([281, 285])).shape
        torch.Size([2, 1, 2, 2])
        >>> cam.attribute(torch.rand(2, 3, 64, 64), targets.Several()).shape
        torch.Size([2, 1, 2, 2])
    """

    targets: Sequence[Any] | None = None
    weights: Sequence[float] | None = field(default=None, kw_only=True)
    above: float = field(default=0.0, kw_only=True)
    reduction: str = field(default="sum", kw_only=True)

    def __post_init__(self) -> None:
        choose("reduction", self.reduction, ("sum", "mean"))
        as_number("above", self.above)
        if self.targets is None:
            if self.weights is not None:
                raise ArgumentError("weights: expected targets= with them")
            return
        if isinstance(self.targets, (str, Tensor)) or not len(self.targets):
            raise ArgumentError(f"targets={self.targets!r}: expected a list of classes or targets")
        each = [_one(f"targets[{i}]", t) for i, t in enumerate(self.targets)]
        object.__setattr__(self, "targets", each)
        if self.weights is not None and len(as_numbers("weights", self.weights)) != len(each):
            raise ArgumentError(
                f"weights: got {len(self.weights)} for {len(each)} targets; expected one for each"
            )

    @property
    def is_fixed(self) -> bool:
        """Whether all of them mean the same in every output."""
        return self.targets is not None and not needs_fixing(list(self.targets))

    @property
    def is_linear(self) -> bool:
        """Whether these are given classes, or sums of their scores."""
        return self.targets is not None and all(map(is_linear, self.targets))

    def fixed(self, output: Any) -> list[Any]:
        """What the targets mean in this output, or the labels that it gives each example."""
        if self.targets is None:
            rows = [row.nonzero().flatten().tolist() for row in self._labels(output)]
        else:
            each = zip(*(_fixed(t, output) for t in self.targets), strict=True)
            rows = [list(row) for row in each]
        return [replace(self, targets=row) for row in rows]

    def parts(self, output: Any) -> list[Any]:
        """The parts of each, in the output for one example."""
        if self.targets is None:
            return [self]
        return [part for target in self.targets for part in parts_of(target, output)]

    def __call__(self, output: Any) -> Tensor:
        """The sum for each example, (N,)."""
        if self.targets is None:
            pairs = zip(output_tensor(output), self._labels(output), strict=True)
            parts = [scores[labels] for scores, labels in pairs]
            return torch.stack([p.mean() if self.reduction == "mean" else p.sum() for p in parts])
        scores = torch.stack([select_score(output, target) for target in self.targets], 1)
        if self.weights is not None:
            total = scores @ scores.new_tensor(self.weights)
            return total / scores.shape[1] if self.reduction == "mean" else total
        return scores.mean(1) if self.reduction == "mean" else scores.sum(1)

    def said(self, class_name: Callable[[int], str]) -> str:
        """In words."""
        if self.targets is None:
            return f"every label above {self.above:g}"
        return " and ".join(_words(target, class_name) for target in self.targets)

    def _labels(self, output: Any) -> Tensor:
        scores = output_tensor(output)
        if scores.ndim != 2:
            raise ArgumentError(
                f"target={self!r}: expected an output (N, classes), got {tuple(scores.shape)}"
            )
        labels = scores.detach() > self.above
        empty = (~labels.any(1)).nonzero().flatten().tolist()
        if empty:
            best = float(scores[empty[0]].max())
            raise TargetError(
                f"target={self!r}: example {empty[0]} has no label above {self.above:g}; its "
                f"highest score is {best:.3g}"
            )
        return labels


def _one(name: str, target: Any) -> Any:
    """A target for all examples."""
    target = as_target(target)
    if target is None or isinstance(target, list) or (isinstance(target, Tensor) and target.ndim):
        raise TargetError(
            f"{name}={target!r}: expected one class, or one target of captum_cnn_ext.targets"
        )
    return int(target) if isinstance(target, Tensor) else target


def _fixed(target: Any, output: Any) -> list[Any]:
    """What it means in this output, for each example."""
    if needs_fixing(target):
        found: list[Any] = fixed_target(target, output)
        return found
    return [target] * len(select_score(output, target))


def _words(target: Any, class_name: Callable[[int], str]) -> str:
    if isinstance(target, int):
        return class_name(target)
    return target.said(class_name) if isinstance(target, Target) else f"class {target}"
