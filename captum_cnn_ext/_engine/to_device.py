"""Numbers of the host on their way to a device."""

from typing import Any

import torch
from torch import Tensor

_WAITING = ("cpu", "mps")  # the CPU copies at once; Metal may read the memory later


def to_device(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of the host on ``device``, without waiting for what the device still has to do.

    CUDA takes a copy of the memory first, so that it may change or go as soon as this returns.
    Not for the way back: the host would read values that are not there yet.
    """
    return tensor.to(device, dtype, non_blocking=device.type not in _WAITING)


def as_tensor(given: Any, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of numbers, or the tensor given, where it is.

    ``torch.as_tensor`` alone moves a tensor to the default device, where one is set.
    """
    device = given.device if isinstance(given, Tensor) else None
    return torch.as_tensor(given, dtype=dtype, device=device)
