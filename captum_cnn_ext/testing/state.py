"""What a call must leave as it found it: the model, its gradients, the user's tensors, the process.

Example::

    >>> import torch
    >>> from captum_cnn_ext.testing import nothing_left_behind
    >>> model = torch.nn.Conv2d(1, 1, 3)
    >>> with nothing_left_behind(model):
    ...     _ = model.eval()
    Traceback (most recent call last):
    AssertionError: changed by the call: training flags
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_state_dict_hooks",
)
WHOLE = 10_000  # numbers of a tensor that are compared one by one; of more, their sum

GROUPS = {
    "parameters": "values, identity and requires_grad of the model's parameters",
    "gradients": "the .grad of the model's parameters",
    "buffers": "the model's buffers, such as the statistics of batch norms",
    "training flags": "which modules are in training mode",
    "hooks": "hooks on the model's modules and parameters",
    "model attributes": "attributes of the model's modules",
    "inputs": "values, .grad, requires_grad and hooks of the user's tensors",
    "random numbers": "the generators of torch, of its devices, of NumPy and of Python",
    "process": "grad mode, autocast, default dtype, determinism",
}
"""What is looked at, and what belongs to it."""


def _values(tensor: Tensor) -> Any:
    found = tensor.detach().cpu().double()
    if found.numel() >= WHOLE:
        return float(found.sum())
    return found.nan_to_num(nan=12345.0).tolist()


def _tensor(tensor: Tensor) -> tuple[Any, ...]:
    return id(tensor), tensor._version, tensor.requires_grad, _values(tensor)


def _gradient(tensor: Tensor) -> Any:
    return None if tensor.grad is None else _values(tensor.grad)


def state(model: nn.Module, tensors: tuple[Tensor, ...] = ()) -> Mapping[str, Any]:
    """Everything of `GROUPS`, to be compared with what it is later."""
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    hooks = {
        name: {h: list(getattr(module, h)) for h in _HOOKS if getattr(module, h, None)}
        for name, module in modules.items()
    }
    on_parameters = {name: list(p._backward_hooks or ()) for name, p in parameters.items()}
    numpy_state: Any = np.random.get_state()  # noqa: NPY002
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "parameters": {name: _tensor(p) for name, p in parameters.items()},
        "gradients": {name: _gradient(p) for name, p in parameters.items()},
        "buffers": {name: (id(b), _values(b)) for name, b in model.named_buffers()},
        "training flags": {name: module.training for name, module in modules.items()},
        "hooks": (hooks, on_parameters),
        "model attributes": {name: sorted(vars(module)) for name, module in modules.items()},
        "inputs": [(*_tensor(t), _gradient(t), list(t._backward_hooks or ())) for t in tensors],
        "random numbers": (
            torch.get_rng_state().cpu().numpy().tobytes(),
            [one.cpu().numpy().tobytes() for one in devices],
            random.getstate(),
            (numpy_state[1].tobytes(), numpy_state[2]),
        ),
        "process": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.is_autocast_enabled("cuda"),
            torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
        ),
    }


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The groups of `GROUPS` in which two states differ."""
    return [group for group in GROUPS if before[group] != after[group]]


@contextmanager
def nothing_left_behind(model: nn.Module, *tensors: Tensor) -> Iterator[None]:
    """Fail when the block changes the model, the tensors or the process, also when it raises.

    Args:
        model: whose parameters, gradients, buffers, training flags, hooks and attributes are
            compared.
        *tensors: of the user, such as the inputs: values, ``.grad`` and flags.

    Raises:
        AssertionError: names what has changed.
    """
    before = state(model, tensors)
    try:
        yield
    finally:
        found = changed(before, state(model, tensors))
        if found:
            raise AssertionError(f"changed by the call: {', '.join(found)}")
