"""Where the rest of the network is affine, such as global average pooling and a linear layer.

Then no pass is needed to know what a change of the layer's tensor does to a score:
y(A + d) = y(A) + <dy/dA, d>.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.backward.activation_checkpoints import CheckpointedLayerError
from captum_cnn_ext._engine.backward.autograd_graph import (
    AVERAGING,
    LINEAR,
    RESHAPING,
    connected,
    operations_between,
)
from captum_cnn_ext._engine.backward.lost_gradient import (
    LeavesTorchError,
    gradient_end,
    values_stay,
)
from captum_cnn_ext._engine.backward.saved_tensors import differentiable
from captum_cnn_ext._engine.replay.replay import Replay
from captum_cnn_ext._engine.running.hooks import leaf_of
from captum_cnn_ext._engine.trace.operation_follower import Dependents

_TOLERANCE = 1e-3  # of the score's change; what is not affine differs by far more


def affine_gradients(
    replay: Replay, score: Callable[[Any], Tensor], *, is_ours: bool = False
) -> tuple[Tensor, ...] | None:
    """The gradient of each example's score by the layer's tensors, if the score is affine in them.

    Zeros for a tensor that the score does not use. Read from the operations of one example's
    tail, and confirmed by its score half-way to zero. None where the tail is something else, or
    where only whole forwards can be run. One row of the tail where it is not affine; three rows
    and one forward and backward of the tail where it is.

    Args:
        replay: the recorded pass.
        score: from an output for the recorded batch, or for its first example alone, to (N,).
        is_ours: it is no code of a user's, which is watched for values that leave torch.
    """
    if replay.full_forward or not all(t.is_floating_point() for t in replay.activation):
        return None
    with torch.inference_mode(False), torch.enable_grad():
        one = [t[:1].detach().clone().requires_grad_() for t in replay.activation]
        first = torch.zeros(1, dtype=torch.long, device=one[0].device)
        tail = Dependents(one)
        watched = nullcontext() if is_ours and replay.only_pytorchs else tail.following()
        try:
            with values_stay(), watched:
                alone = score(differentiable(lambda: replay(one, first)))
        except (LeavesTorchError, CheckpointedLayerError):
            return None
        if tail.left:  # what comes back from there is no constant
            return None
        kinds = {name.split("Backward")[0] for name in operations_between(one, alone)}
        if not kinds or not all(_is_affine(kind) for kind in kinds):
            return None
        if not _is_straight(replay, score, one, first, alone.detach()):
            return None
        leaves = [t.detach().clone().requires_grad_() for t in replay.activation]
        scores = score(differentiable(lambda: replay(leaves)))
        return torch.autograd.grad(scores.sum(), leaves, materialize_grads=True)


def used_tensors(
    replay: Replay, score: Callable[[Any], Tensor], root: nn.Module | None
) -> list[bool]:
    """Which of the layer's tensors have a part in the score, also one without a gradient.

    One forward pass of the tail, or two, of one example where the layer has a row for each.
    """
    rows = None
    if all(t.shape[:1] == (replay.length,) for t in replay.activation):
        rows = torch.zeros(1, dtype=torch.long, device=replay.activation[0].device)
    with torch.inference_mode(False), torch.enable_grad():
        tensors = replay.activation if rows is None else [t[:1] for t in replay.activation]
        leaves = [leaf_of(t.detach().clone()) for t in tensors]
        try:
            with values_stay():
                scores = score(differentiable(lambda: replay(leaves, rows)))
        except (LeavesTorchError, CheckpointedLayerError):
            return [True for _ in leaves]

        def used(leaf: Tensor) -> bool:
            if not leaf.requires_grad:
                return True  # it cannot be told
            if connected([leaf], scores):
                return True
            return bool(gradient_end(root, [leaf], lambda: score(replay(leaves, rows))))

        return [used(leaf) for leaf in leaves]


def _is_affine(kind: str) -> bool:
    return kind in LINEAR or kind in RESHAPING or kind.startswith(AVERAGING)


def _is_straight(
    replay: Replay,
    score: Callable[[Any], Tensor],
    one: Sequence[Tensor],
    first: Tensor,
    end: Tensor,
) -> bool:
    """Whether the score half-way is half-way: a product of two signals is not."""
    with torch.no_grad():
        start = score(replay([torch.zeros_like(t) for t in one], first))
        middle = score(replay([t.detach() / 2 for t in one], first))
    bend = (middle - (start + end) / 2).abs()
    return bool((bend <= _TOLERANCE * (end - start).abs() + 1e-6 * end.abs()).all())
