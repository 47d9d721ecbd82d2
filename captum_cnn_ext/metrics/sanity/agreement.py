"""Do two methods say the same?"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.metrics.maps import as_image, as_maps


def rank_correlation(one: Tensor, two: Tensor) -> Tensor:
    r"""Spearman's correlation of pixels' ranks, (N,); equal values share their mean rank.

    0 where a map is constant.

    Cost: no pass of the model.

    Args:
        one, two: maps (N, H, W), or (N, ...) of the same shape.

    Raises:
        ArgumentError: the shapes differ.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import rank_correlation
        >>> a = torch.rand(1, 5, 5)
        >>> torch.allclose(rank_correlation(a, a.exp()), torch.ones(1))
        True
    """
    if one.shape != two.shape:
        raise ArgumentError(f"maps: expected one shape, got {tuple(one.shape)}, {tuple(two.shape)}")
    return pearson(*(_centred_ranks(maps.flatten(1)) for maps in (one, two)))


def pearson(one: Tensor, two: Tensor) -> Tensor:
    """(N,) the correlation of what is in each row, 0 where that is constant."""
    a, b = (values.flatten(1).double() for values in (one, two))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    scale = a.square().sum(1).sqrt() * b.square().sum(1).sqrt()
    return torch.where(scale > 0, (a * b).sum(1) / scale, 0).to(torch.float32)


def _centred_ranks(values: Tensor) -> Tensor:
    values = values.contiguous()
    ordered = values.sort(1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    ranks = (below + up_to).double()
    return ranks - ranks.mean(1, keepdim=True)


def agreement(maps: Mapping[str, Any], inputs: Any) -> Tensor:
    """Spearman's correlation of every two methods, (N, M, M) in the mapping's order.

    Cost: no pass of the model.

    Args:
        maps: attributions of the same images under the methods' names, see :func:`as_maps`.
        inputs: the images (N, C, H, W).

    Raises:
        ArgumentError: shapes that do not fit.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import agreement
        >>> x = torch.zeros(1, 3, 8, 8)
        >>> a = torch.rand(1, 1, 8, 8)
        >>> agreement({"a": a, "its opposite": -a}, x)[0].round().int().tolist()
        [[1, -1], [-1, 1]]
    """
    image = as_image(inputs)
    ranks = [_centred_ranks(as_maps(given, image).flatten(1)) for given in maps.values()]
    unit = torch.stack([r / r.square().sum(1, keepdim=True).sqrt().clamp(min=1) for r in ranks], 1)
    return (unit @ unit.transpose(1, 2)).to(torch.float32)
