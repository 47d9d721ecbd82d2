"""Numbers with room for sums, differences and products: in at least single precision."""

import torch
from torch import Tensor


def wide(tensor: Tensor) -> Tensor:
    """The tensor itself, or in single precision where it has half precision or integers."""
    return tensor.to(wide_dtype(tensor.dtype))


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of :func:`wide`."""
    return torch.promote_types(dtype, torch.float32)


def widest(tensor: Tensor) -> Tensor:
    """The tensor in double precision, or in single precision on Metal, which has no other."""
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)
