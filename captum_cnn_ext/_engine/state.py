"""Leave everything as it was found: random numbers, and the buffers that training mode moves."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.undoing import Undo


@contextmanager
def state_as_found(
    model: nn.Module | None, tensors: Iterable[Tensor], *, eager: bool = True
) -> Iterator[None]:
    """Restore torch's random state, whether gradients are on, and the model's buffers at the end.

    Modules that were compiled in place (``module.compile()``) run their own code in the block,
    where hooks are called, unless ``eager`` is False.

    A network in evaluation mode costs nothing here. In training mode a forward pass moves running
    statistics and draws dropout masks; both are put back.
    """
    accelerators = {t.device for t in tensors if t.device.type not in ("cpu", "meta")}
    device_type = next((device.type for device in accelerators), "cuda")
    indices = [device.index or 0 for device in accelerators]
    undo = Undo()
    undo.later(partial(torch.set_grad_enabled, torch.is_grad_enabled()))
    undo.later(partial(torch.set_rng_state, torch.get_rng_state()))
    for module in model.modules() if model is not None else ():
        if eager and vars(module).get("_compiled_call_impl") is not None:
            # compiled code calls no hooks that come later: the module's own code runs meanwhile
            undo.later(partial(vars(module).update, _compiled_call_impl=module._compiled_call_impl))
            module._compiled_call_impl = None
        if module.training:
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    undo.later(partial(_put_back, module, name, buffer, buffer.clone()))
    accelerator = torch.random.fork_rng(devices=indices, device_type=device_type)
    with undo, undo, accelerator if indices else nullcontext():
        yield


def _put_back(module: nn.Module, name: str, buffer: Tensor, value: Tensor) -> None:
    module._buffers[name] = buffer
    # .data: as batch norm itself, without a new version, so that a training step whose forward
    # came before this call can still run its backward
    buffer.data.copy_(value)
