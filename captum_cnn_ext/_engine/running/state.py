"""Leave everything as it was found: random numbers, and the buffers that training mode moves."""

import importlib
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from captum_cnn_ext._engine.module_walk import modules_in
from captum_cnn_ext._engine.running.undo import Undo
from captum_cnn_ext._engine.warn_user import warn_user

_warned = ContextVar("_warned", default=False)  # by a block around this one


@contextmanager
def state_as_found(
    model: nn.Module | None, values: Iterable[Any], *, eager: bool = True
) -> Iterator[None]:
    """Restore torch's random state, whether gradients are on, and the model's buffers at the end.

    Random numbers of an accelerator are those of the devices of the tensors among ``values``.

    Modules that were compiled in place (``module.compile()``) run their own code in the block,
    where hooks are called, unless ``eager`` is False.

    A network in evaluation mode costs nothing here. In training mode a forward pass moves running
    statistics and draws dropout masks; both are put back, and a warning says what that means,
    once for blocks in one another.
    """
    devices = {value.device for value in values if isinstance(value, Tensor)}
    accelerators = {device for device in devices if device.type not in ("cpu", "meta")}
    device_type = next((device.type for device in accelerators), "cuda")
    indices = [device.index or 0 for device in accelerators]
    undo = Undo()
    undo.later(partial(torch.set_grad_enabled, torch.is_grad_enabled()))
    undo.later(partial(torch.set_rng_state, torch.get_rng_state()))
    warned = _warned.get()
    for module in modules_in(model):
        if eager and vars(module).get("_compiled_call_impl") is not None:
            # compiled code calls no hooks that come later: the module's own code runs meanwhile
            undo.later(partial(vars(module).update, _compiled_call_impl=module._compiled_call_impl))
            module._compiled_call_impl = None
        if getattr(module, "training", False):  # in_training, without a call for each module
            if not warned and isinstance(module, (_BatchNorm, _DropoutNd)):
                _warn_of_training_mode(module)
                warned = True
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    undo.later(partial(_put_back, module, name, buffer, buffer.clone()))
    undo.later(partial(_warned.set, _warned.get()))
    _warned.set(warned)
    accelerator = torch.random.fork_rng(devices=indices, device_type=device_type)
    with undo, undo, accelerator if indices else nullcontext():
        yield


def imported(name: str) -> ModuleType:
    """Import a module; some, such as scikit-learn, draw from Python's random numbers meanwhile."""
    state = random.getstate()
    try:
        return importlib.import_module(name)
    finally:
        random.setstate(state)


def _warn_of_training_mode(module: nn.Module) -> None:
    warn_user(
        f"the model is in training mode ({type(module).__name__}): what is computed is that of "
        "random dropout and of this batch's statistics, not of the network in use. Its running "
        "statistics are put back; call model.eval() first."
    )


def _put_back(module: nn.Module, name: str, buffer: Tensor, value: Tensor) -> None:
    module._buffers[name] = buffer
    # .data: as batch norm itself, without a new version, so that a training step whose forward
    # came before this call can still run its backward
    buffer.data.copy_(value)
