"""Judge the tensors that a model is given."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]

from captum_cnn_ext._engine.module_walk import modules_in
from captum_cnn_ext.errors import ArgumentError


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


def as_baselines(baselines: Any, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Captum's baselines as tensors of the inputs' shapes, which are views where they repeat.

    One for each input: a number, or a tensor that broadcasts to the input (one example, a value
    for each channel, ...); None is 0. They are in the input's dtype, unless an input of integers
    gets a fraction: both are then floating point.

    Raises:
        ArgumentError: another number of them, or one of another form.
    """
    if baselines is None:
        baselines = (0,) * len(tensors)
    values = baselines if isinstance(baselines, tuple) else (baselines,)
    if len(values) != len(tensors):
        raise ArgumentError(
            f"baselines: expected one for each of {len(tensors)} inputs, got {len(values)}"
        )
    return tuple(map(_as_baseline, values, tensors))


def _as_baseline(value: Any, tensor: Tensor) -> Tensor:
    if isinstance(value, Real):
        value = _number_for(tensor, value)
    if not isinstance(value, Tensor):
        raise ArgumentError(f"baselines: expected a number or a tensor, got {type(value).__name__}")
    shape, found = tuple(value.shape), value.detach()
    while found.ndim > tensor.ndim and len(found) == 1:
        found = found[0]
    if found.ndim > tensor.ndim or any(
        own not in (1, size)
        for own, size in zip(found.shape[::-1], tensor.shape[::-1], strict=False)
    ):
        raise ArgumentError(
            f"baselines: expected a number, or a tensor that broadcasts to the input's shape "
            f"{tuple(tensor.shape)}, got {shape}"
        )
    dtype = tensor.dtype if tensor.is_floating_point() else torch.result_type(found, tensor)
    return found.to(tensor.device, dtype).expand(tensor.shape)


def _number_for(tensor: Tensor, value: Any) -> Tensor:
    """The number in the input's dtype, if that can hold it."""
    if tensor.dtype == torch.bool:
        holds = value in (0, 1)
    else:
        holds = tensor.is_floating_point() or float(value).is_integer()
    dtype = tensor.dtype if holds else torch.result_type(tensor, value)
    return torch.full((), value, dtype=dtype, device=tensor.device)


def check_examples(tensors: Sequence[Tensor]) -> None:
    """Refuse an empty batch, where there is nothing to compute the answer's shape from."""
    if tensors and tensors[0].ndim and not len(tensors[0]):
        raise ArgumentError(
            f"inputs: expected at least one example, got shape {tuple(tensors[0].shape)}"
        )


def check_devices(root: nn.Module | None, tensors: Sequence[Tensor]) -> None:
    """Name a model and inputs that are on different devices, before torch fails somewhere inside.

    A model that is not initialised is refused too: its first forward pass would change it.

    Raises:
        ArgumentError: no parameter or buffer of the model is on the first input's device, or some
            have no shape yet.
    """
    if root is None or not tensors:
        return
    device, others = tensors[0].device, check_initialised(root)
    if others and device not in others and not isinstance(root, nn.DataParallel):
        what = " (meta tensors have shapes and no values)" if "meta" in map(str, others) else ""
        what = " (meta tensors have shapes and no values)" if device.type == "meta" else what
        raise ArgumentError(
            f"inputs: they are on {device}, the model {type(root).__name__} is on {others[0]}; "
            f"expected one device{what}"
        )


def check_initialised(model: nn.Module) -> list[torch.device]:
    """Refuse a model with lazy layers: its first forward pass would change it.

    Returns:
        the devices of its parameters and buffers.

    Raises:
        ArgumentError: a parameter or buffer has no shape yet.
    """
    devices: dict[torch.device, None] = {}
    for module in modules_in(model):
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if isinstance(tensor, UninitializedTensorMixin):
                name = next(name for name, each in model.named_modules() if each is module)
                raise ArgumentError(
                    f"model: {type(model).__name__} is not initialised, {name or 'it'!r} "
                    f"({type(module).__name__}) takes its shape from the first input; run it once, "
                    "model(inputs), before it is explained"
                )
            if tensor is not None:
                devices[tensor.device] = None
    return list(devices)
