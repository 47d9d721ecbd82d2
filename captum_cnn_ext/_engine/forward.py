"""Run a model on changed inputs, and leave it as it was found."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from captum_cnn_ext._engine.arguments import observed_module, without_reducer
from captum_cnn_ext._engine.inputs import check_devices
from captum_cnn_ext._engine.one_image import one_image_norms
from captum_cnn_ext._engine.state import state_as_found


def run_forward(forward_func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """``forward_func(*args)`` with buffers and random numbers put back afterwards.

    The tensors are the caller's own copies: a model may write into its input.
    """
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    root = observed_module(forward_func)
    check_devices(root, tensors)
    with state_as_found(root, tensors, eager=False), one_image_norms(tensors):
        return without_reducer(forward_func)(*args)
