"""Does the map order patches as the score does when each alone is deleted?"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.metrics.faithfulness.curves import Blank, blank_images
from captum_cnn_ext.metrics.faithfulness.scoring import Scoring
from captum_cnn_ext.metrics.maps import as_image, as_maps
from captum_cnn_ext.metrics.sanity.agreement import rank_correlation


def patch_drops(
    forward_func: Callable[..., Any],
    inputs: Any,
    target: Any = None,
    *,
    grid: int = 4,
    blank: Blank = 0.0,
    score: str = "logit",
    additional_forward_args: Any = None,
    internal_batch_size: int | None = None,
) -> Tensor:
    r"""By how much the score falls without each patch, (N, grid, grid).

    .. math:: d_p = f(x) - f(x \setminus p)

    Cost: grid^2 + 1 forward passes for each image.

    Args:
        forward_func: the model, or any function of the images.
        inputs: images (N, C, H, W).
        target: the score, in any of Captum's forms, or a function of
            the model's output, as those of `captum_cnn_ext.targets` are.
        grid: patches along each side.
        blank: what a deleted patch shows: a number (0 is the mean colour of a normalised image),
            ``"mean"``, ``"blur"`` or images.
        score: ``"probability"`` (softmax over classes, of one output the sigmoid; a model that
            ends in either is taken as it is) or ``"logit"``.
        additional_forward_args: further arguments of the model.
        internal_batch_size: at most so many images in one pass; None chooses.

    Raises:
        ArgumentError: shapes, blank or score that do not fit, or more patches than pixels.
        TargetError: the output has no such target.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import patch_drops
        >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        >>> patch_drops(lambda x: x.sum((1, 2, 3)), x, grid=2).tolist()
        [[[1.0, 2.0], [3.0, 4.0]]]
    """
    image = as_image(inputs)
    grid = as_count("grid", grid, 1, min(image.shape[2:]))
    empty = blank_images(blank, image)
    patches = _patches(grid, image)
    whole = torch.zeros_like(patches[:1])
    deleted = torch.cat([whole, patches])  # the first version is the whole image

    def version(n: int, part: slice) -> Tensor:
        return torch.where(deleted[part, None], empty[n], image[n])

    scores = Scoring(
        forward_func, image, target, additional_forward_args, score, internal_batch_size
    ).versions(len(deleted), version)
    return (scores[:, :1] - scores[:, 1:]).reshape(-1, grid, grid)


def _patches(grid: int, image: Tensor) -> Tensor:
    """(grid^2, H, W): where each patch is; sizes differ by a pixel where they must."""
    height, width = image.shape[2:]
    row = torch.arange(height, device=image.device) * grid // height
    column = torch.arange(width, device=image.device) * grid // width
    number = row[:, None] * grid + column
    return number == torch.arange(grid * grid, device=image.device)[:, None, None]


def patch_sums(maps: Tensor, grid: int) -> Tensor:
    """What a map (N, H, W) gives each patch: (N, grid, grid)."""
    one_hot = F.one_hot(_patches(grid, maps.unsqueeze(1)).int().argmax(0), grid * grid)
    sums = torch.einsum("nhw,hwp->np", maps, one_hot.to(maps))
    return sums.reshape(-1, grid, grid)


def single_deletion(
    forward_func: Callable[..., Any],
    inputs: Any,
    attributions: Any,
    target: Any = None,
    *,
    grid: int = 4,
    **options: Any,
) -> Tensor:
    r"""Spearman's correlation of a map's sums over patches with the score's drops, (N,), -1 to 1.

    .. math:: \rho\left(\textstyle\sum_{i \in p} m_i,\; f(x) - f(x \setminus p)\right)
        \text{ over patches } p

    The score knows nothing of an image with a hole unless it was trained with holes; the authors
    fine-tune it so, and deleting a patch is then a fair question.

    Cost: grid^2 + 1 forward passes for each image.

    Reference: Hesse, Schaub-Meyer, Roth, *Benchmarking the Attribution Quality of Vision Models*,
    2024, arXiv:2407.11910.

    Args:
        forward_func, inputs, target, grid, options: as :func:`patch_drops`.
        attributions: of any method, see :func:`as_maps`; the sign is kept.

    Raises:
        ArgumentError, TargetError: as :func:`patch_drops`.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import single_deletion
        >>> x = torch.rand(1, 1, 8, 8)
        >>> single_deletion(lambda x: x.sum((1, 2, 3)), x, x)
        tensor([1.])
    """
    drops = patch_drops(forward_func, inputs, target, grid=grid, **options)
    sums = patch_sums(as_maps(attributions, as_image(inputs)), grid)
    return rank_correlation(sums.flatten(1), drops.to(sums).flatten(1))
