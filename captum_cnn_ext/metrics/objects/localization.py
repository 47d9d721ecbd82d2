"""Does the map lie where a person says the object is?"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.to_device import as_tensor
from captum_cnn_ext._numbers import as_number, as_size
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.metrics.maps import as_image, as_maps


def box_masks(boxes: Any, size: int | Sequence[int]) -> Tensor:
    """Boxes (N, 4) as left, top, right, bottom in pixels, the last two excluded: (N, H, W).

    Cost: no pass of the model.

    Raises:
        ArgumentError: another shape.

    Example::

        >>> from captum_cnn_ext.metrics import box_masks
        >>> box_masks([[1, 0, 3, 1]], (2, 4)).int().tolist()
        [[[0, 1, 1, 0], [0, 0, 0, 0]]]
    """
    given = as_tensor(boxes)
    if given.ndim != 2 or given.shape[1] != 4:
        raise ArgumentError(f"boxes: expected shape (N, 4), got {tuple(given.shape)}")
    height, width = as_size(size)
    left, top, right, bottom = (given[:, i, None, None] for i in range(4))
    y = torch.arange(height, device=given.device)[:, None]
    x = torch.arange(width, device=given.device)
    return (y >= top) & (y < bottom) & (x >= left) & (x < right)


def object_masks(masks: Tensor, maps: Tensor) -> Tensor:
    if not isinstance(masks, Tensor) or masks.shape != maps.shape:
        found = tuple(masks.shape) if isinstance(masks, Tensor) else type(masks).__name__
        raise ArgumentError(
            f"masks: expected a tensor of shape {tuple(maps.shape)}, True on the object, got "
            f"{found}; box_masks makes one from boxes"
        )
    return masks.to(maps.device, torch.bool)


def pointing_game(
    attributions: Any, masks: Tensor, inputs: Any, *, tolerance: float = 15
) -> Tensor:
    """1 where a map's strongest pixel lies on the object or close to it, (N,).

    Cost: no pass of the model.

    Reference: Zhang, Bargal, Lin, Brandt, Shen, Sclaroff, *Top-down Neural Attention by Excitation
    Backprop*, 2016, arXiv:1608.00507 (15 pixels of tolerance).

    Args:
        attributions: of any method, see :func:`as_maps`.
        masks: (N, H, W), True on the object.
        inputs: the images (N, C, H, W).
        tolerance: how many pixels beside the object still hit.

    Raises:
        ArgumentError: shapes that do not fit.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import box_masks, pointing_game
        >>> x = torch.zeros(1, 3, 40, 40)
        >>> spot = torch.zeros(1, 1, 40, 40)
        >>> spot[0, 0, 5, 30] = 1
        >>> [float(pointing_game(spot, box_masks([[0, 0, 20, 20]], (40, 40)), x, tolerance=t))
        ...  for t in (10, 11)]
        [0.0, 1.0]
    """
    maps, reach = as_maps(attributions, as_image(inputs)), as_number("tolerance", tolerance, 0)
    objects = object_masks(masks, maps)
    width = maps.shape[2]
    peak = maps.flatten(1).argmax(1)
    y = torch.arange(maps.shape[1], device=maps.device)[:, None]
    x = torch.arange(width, device=maps.device)
    far = (y - (peak // width)[:, None, None]) ** 2 + (x - (peak % width)[:, None, None]) ** 2
    return (objects & (far <= reach**2)).flatten(1).any(1).to(maps.dtype)


def energy_in_box(attributions: Any, masks: Tensor, inputs: Any) -> Tensor:
    r"""The share of a map's positive part that lies on the object, (N,).

    .. math:: \sum_{p \in \text{object}} \mathrm{relu}(m_p) \Big/ \sum_p \mathrm{relu}(m_p)

    0 where nothing is positive.

    Cost: no pass of the model.

    Reference: Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu, *Score-CAM: Score-Weighted Visual
    Explanations for Convolutional Neural Networks*, 2020, arXiv:1910.01279.

    Args and errors: as :func:`pointing_game`.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import box_masks, energy_in_box
        >>> even = torch.ones(1, 1, 8, 8)
        >>> float(energy_in_box(even, box_masks([[0, 0, 4, 4]], (8, 8)), torch.zeros(1, 3, 8, 8)))
        0.25
    """
    maps = as_maps(attributions, as_image(inputs)).relu()
    total = maps.sum((1, 2))
    return torch.where(total > 0, (maps * object_masks(masks, maps)).sum((1, 2)) / total, 0)
