"""Activation checkpoints (`torch.utils.checkpoint`): where they stand in the way, and what to do.

A checkpoint runs a part of the model again in the backward pass, when no hook of ours is there. A
reentrant one also computes without gradients in the forward pass.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.checkpoint import CheckpointFunction, checkpoint

from captum_cnn_ext._engine.backward.autograd_graph import nodes_before
from captum_cnn_ext._engine.nested_tensors import tensors_of_output
from captum_cnn_ext.errors import ArgumentError

_OFF = "switch checkpoints off for explanations: they save memory in training and change no value"
_REENTRANT = (
    "a part of the model runs in torch.utils.checkpoint with use_reentrant=True, which gives "
    f"gradients to backward() only; pass use_reentrant=False, or {_OFF}"
)


class CheckpointedLayerError(ArgumentError):
    """Other values were to be put in a layer in a checkpoint, with gradients from there."""


@contextmanager
def checkpoints_explained() -> Iterator[None]:
    """Say what to do about a checkpoint that refuses the backward pass in the block.

    Raises:
        ArgumentError: it refuses; its cause is PyTorch's own error.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, ArgumentError) or "torch.utils.checkpoint" not in str(error):
            raise
        why = _REENTRANT
        if "use_reentrant=True" not in str(error):
            why = f"torch.utils.checkpoint in the model refuses this backward pass; {_OFF}"
        raise ArgumentError(f"forward_func: {why}.") from error


def passed_reentrant(output: Any) -> str:
    """Why layers in a reentrant checkpoint have no gradient; "" where the model has none."""
    ends = [tensor for tensor in tensors_of_output(output) if tensor.requires_grad]
    found = any(node.name() == "CheckpointFunctionBackward" for node in nodes_before(ends))
    return _REENTRANT if found else ""


def in_reentrant_checkpoint() -> bool:
    """Whether the code that asks runs in the forward pass of a reentrant checkpoint."""
    return _runs_within(CheckpointFunction.forward)


def refuse_in_checkpoint(layer: str) -> None:
    """Refuse to put other values in a layer that runs again without them.

    Raises:
        CheckpointedLayerError: the code that asks runs in a checkpoint.
    """
    if _runs_within(checkpoint):
        raise CheckpointedLayerError(
            f"layer {layer!r}: runs in torch.utils.checkpoint, and in the backward pass again with "
            f"its own values; {_OFF}."
        )


def _runs_within(function: Callable[..., Any]) -> bool:
    code = inspect.unwrap(function).__code__
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None
