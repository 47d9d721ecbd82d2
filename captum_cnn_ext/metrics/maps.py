"""Any attribution as one number for each pixel."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext._engine.judging.inputs import as_tensors, check_examples
from captum_cnn_ext._engine.wide_numbers import wide
from captum_cnn_ext.errors import ArgumentError


def as_image(inputs: Any) -> Tensor:
    """The one image tensor (N, C, H, W) that metrics of maps change."""
    tensors = as_tensors(inputs)
    if len(tensors) > 1 or tensors[0].ndim != 4 or not tensors[0].is_floating_point():
        raise ArgumentError(
            "inputs: expected one floating point tensor (N, C, H, W), got "
            f"{', '.join(f'{tuple(t.shape)} {t.dtype}' for t in tensors)}; other inputs of the "
            "model go into additional_forward_args"
        )
    check_examples(tensors)
    return tensors[0]


def as_maps(attributions: Any, inputs: Any) -> Tensor:
    """An attribution as (N, H, W): summed over channels, upsampled to the input's size.

    A map of a layer (N, 1, h, w) is upsampled linearly between pixel centres
    (``align_corners=False``), as ``LayerAttribution.interpolate(..., "bilinear")`` does. The sign
    is kept.

    Args:
        attributions: (N, C, h, w) or (N, h, w) of any method, ours or Captum's; a tuple of one.
        inputs: the images (N, C, H, W) that were explained.

    Returns:
        (N, H, W), detached, in at least float32, on the attribution's device.

    Cost: no pass of the model.

    Raises:
        ArgumentError: the shapes do not fit, or a value is not finite.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import as_maps
        >>> as_maps(torch.rand(2, 1, 7, 7), torch.rand(2, 3, 56, 64)).shape
        torch.Size([2, 56, 64])
    """
    image = as_image(inputs)
    given = as_tensors(attributions, "attributions")
    found = given[0].detach()
    if len(given) > 1 or found.ndim not in (3, 4) or len(found) != len(image):
        raise ArgumentError(
            f"attributions: expected ({len(image)}, C, h, w) or ({len(image)}, h, w), got "
            f"{', '.join(str(tuple(t.shape)) for t in given)}"
        )
    found = wide(found)
    if not bool(found.isfinite().all()):
        raise ArgumentError("attributions: some values are not finite")
    maps = found.sum(1, keepdim=True) if found.ndim == 4 else found.unsqueeze(1)
    size = image.shape[2:]
    if maps.shape[2:] != size:
        maps = F.interpolate(maps, list(size), mode="bilinear", align_corners=False)
    return maps[:, 0]


def unit_range(maps: Tensor) -> Tensor:
    """Each map (N, H, W) from 0 to 1; a constant one is 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low), 0)


def pixel_ranks(maps: Tensor) -> Tensor:
    """How many pixels come before each one: the strongest has 0; ties in reading order."""
    order = maps.flatten(1).argsort(stable=True, dim=1, descending=True)
    ranks = torch.empty_like(order)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return ranks.scatter_(1, order, places).reshape(maps.shape)
