"""The objective about a class, alone or over all other classes."""

import warnings
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer as AnyLayer
from captum_cnn_ext._engine.judging.captum_compat import TargetType
from captum_cnn_ext._engine.judging.output_targets import is_function
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.judging.targets import as_target, select_score
from captum_cnn_ext._numbers import as_number
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.synthesis.objectives.algebra import (
    Batch,
    Objective,
    Place,
    View,
    module_or_name,
    on,
)


def Target(
    target: TargetType = None,
    layer: AnyLayer | None = None,
    *,
    margin: float = 0.0,
    batch: Batch = None,
) -> Objective:
    r"""The score of a class as the model gives it, which should be a logit.

    With a margin, less what the other classes score,
    :math:`s_c - m \log \sum_{k \ne c} e^{s_k}`: an image of this class and of no other.

    A model that ends in a softmax is noticed and a warning says so: a probability rises as well by
    making every other class less likely, and its gradient vanishes. Name the layer before the
    softmax as ``layer`` then.

    Reference: Simonyan, Vedaldi, Zisserman, *Deep Inside Convolutional Networks*, 2013,
    arXiv:1312.6034.

    Args:
        target: in any of Captum's forms, a list or a tensor (N,) has a class for each image; or a
            function of the model's output, as those of `captum_cnn_ext.targets` are.
        layer: take the scores from this layer's output instead of the model's.
        margin: :math:`m` from 0 to 1; a half tells apart classes that look alike.
        batch: as in :func:`Channel`.

    Raises:
        TargetError: (when used) the output has no such target; an ``IndexError``.
        ArgumentError: the margin is not from 0 to 1, or is asked for where the target is no class
            of scores (N, C).

    Example::

        >>> from captum_cnn_ext.synthesis import Target
        >>> print(Target(285) - 0.5 * Target(281))
        target 285 - 0.5 target 281
        >>> print(Target(285, margin=0.5))
        target 285 over all others
    """
    place = None if layer is None else Place(module_or_name(layer))
    target, margin = as_target(target), as_number("margin", margin, 0, 1)
    if margin and is_function(target):
        raise ArgumentError(f"margin={margin}: the target {target} is no class that has others")

    def output(view: View) -> Any:
        if place is not None:
            return view.at(place)
        return view.output if is_function(target) else output_tensor(view.output)

    def score(view: View) -> Tensor:
        scores = output(view)
        found = select_score(scores, target)
        return found - margin * _of_others(scores, target) if margin else found

    def check(view: View) -> None:
        scores = output(view)
        if not is_function(target) and scores.ndim == 2 and _are_probabilities(scores.detach()):
            warnings.warn(
                f"target={target!r}: the scores are probabilities (every row of them is positive "
                "and sums to 1). Maximise the logits: name the layer before the softmax, "
                "Target(target, layer=...).",
                stacklevel=2,
            )

    several = target if isinstance(target, (list, Tensor)) else None
    images = (
        1 if several is None or (isinstance(several, Tensor) and not several.ndim) else len(several)
    )
    name = f"target {target}" if images == 1 else f"{images} targets"
    name += " over all others" if margin else ""
    only, least = on(batch, score)
    places = () if place is None else (place,)
    return Objective(only, places, place is None, max(images, least), name, check)


def _of_others(scores: Tensor, target: TargetType) -> Tensor:
    """The log of the sum of the exponentials of all other classes, ``(N,)``."""
    try:
        classes = torch.as_tensor(target, device=scores.device).reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        classes = torch.zeros(0)
    if scores.ndim != 2 or classes.numel() not in {1, len(scores)}:
        raise ArgumentError(
            f"margin: expected scores (N, C) and a class for each image; got scores "
            f"{tuple(scores.shape)} and the target {target!r}"
        )
    if scores.shape[1] == 1:
        return torch.zeros_like(scores[:, 0])
    own = classes.expand(len(scores))[:, None] % scores.shape[1]
    return scores.scatter(1, own, -torch.inf).logsumexp(1)


def _are_probabilities(scores: Tensor) -> bool:
    if scores.shape[1] < 2 or not scores.is_floating_point():
        return False
    return bool((scores >= 0).all() and ((scores.float().sum(1) - 1).abs() < 1e-3).all())
