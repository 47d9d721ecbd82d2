"""Leave everything as it was found: random numbers and the buffers that training mode moves."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def state_as_found(model: nn.Module | None, tensors: Iterable[Tensor]) -> Iterator[None]:
    """Restore torch's random state and the model's buffers when the block ends, however it ends.

    A network in evaluation mode costs nothing here. In training mode a forward pass moves running
    statistics and draws dropout masks; both are put back.
    """
    accelerators = {t.device for t in tensors if t.device.type not in ("cpu", "meta")}
    device_type = next((device.type for device in accelerators), "cuda")
    indices = [device.index or 0 for device in accelerators]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in (model.modules() if model is not None else ())
        if module.training
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    with torch.random.fork_rng(devices=indices, device_type=device_type):
        try:
            yield
        finally:
            for module, name, buffer, value in buffers:
                module._buffers[name] = buffer
                # .data: as batch norm itself, without a new version, so that a training step
                # whose forward came before this call can still run its backward
                buffer.data.copy_(value)
