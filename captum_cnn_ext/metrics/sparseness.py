"""How concentrated a map is."""

from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext.metrics.maps import as_image, as_maps


def sparseness(attributions: Any, inputs: Any) -> Tensor:
    r"""The Gini index of a map's magnitudes, (N,): 0 for an even map, near 1 for one pixel.

    .. math:: G = \frac{\sum_i (2 i - n - 1)\, v_{(i)}}{n \sum_i v_i}, \quad v = |m|,\; v_{(1)} \le v_{(2)} \le \dots

    0 where the map is 0.

    Cost: no pass of the model.

    Reference: Chalasani, Chen, Chowdhury, Jha, Wu, *Concise Explanations of Neural Networks using
    Adversarial Training*, 2020, arXiv:1810.06583.

    Args:
        attributions: of any method, see :func:`as_maps`.
        inputs: the images (N, C, H, W).

    Raises:
        ArgumentError: shapes that do not fit.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import sparseness
        >>> one = torch.zeros(1, 1, 10, 10)
        >>> one[0, 0, 3, 3] = 1
        >>> sparseness(one, torch.zeros(1, 3, 10, 10))
        tensor([0.9900])
    """  # noqa: E501
    values = as_maps(attributions, as_image(inputs)).abs().flatten(1).sort(1).values.double()
    n = values.shape[1]
    order = 2 * torch.arange(1, n + 1, device=values.device, dtype=values.dtype) - n - 1
    total = values.sum(1)
    found = torch.where(total > 0, (values * order).sum(1) / (n * total), 0)
    return found.to(torch.float32)
