"""Maps at another size."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}  # by the number of axes of positions


def resized(maps: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Maps (n, k, *positions) at this size, by linear interpolation between positions."""
    if maps.shape[2:] == torch.Size(size):
        return maps
    mode = LINEAR[maps.ndim - 2]
    return F.interpolate(maps, tuple(size), mode=mode, align_corners=align_corners)
