"""Judge the tensors that a model is given."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from captum_cnn_ext._engine.arguments import ArgumentError


def as_tensors(inputs: Any, parameter: str = "inputs") -> tuple[Tensor, ...]:
    """Captum's inputs (one tensor or a tuple of tensors) as a tuple.

    Raises:
        TypeError: anything else.
    """
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors):
        found = ", ".join(type(tensor).__name__ for tensor in tensors)
        raise TypeError(
            f"{parameter}: expected a tensor or a tuple of tensors, batch first, got "
            f"{'a tuple of ' if isinstance(inputs, tuple) else ''}{found or 'nothing'}"
        )
    return tensors


def check_examples(tensors: Sequence[Tensor]) -> None:
    """Refuse an empty batch, where there is nothing to compute the answer's shape from."""
    if tensors and tensors[0].ndim and not len(tensors[0]):
        raise ArgumentError(
            f"inputs: expected at least one example, got shape {tuple(tensors[0].shape)}"
        )


def check_devices(root: nn.Module | None, tensors: Sequence[Tensor]) -> None:
    """Name a model and inputs that are on different devices, before torch fails somewhere inside.

    Raises:
        ArgumentError: no parameter or buffer of the model is on the first input's device.
    """
    if root is None or not tensors:
        return
    device, others = tensors[0].device, []
    for tensor in (*root.parameters(), *root.buffers()):
        if tensor.device == device:
            return
        others.append(tensor.device)
    if others and not isinstance(root, nn.DataParallel):
        what = " (meta tensors have shapes and no values)" if "meta" in map(str, others) else ""
        what = " (meta tensors have shapes and no values)" if device.type == "meta" else what
        raise ArgumentError(
            f"inputs: they are on {device}, the model {type(root).__name__} is on {others[0]}; "
            f"expected one device{what}"
        )
