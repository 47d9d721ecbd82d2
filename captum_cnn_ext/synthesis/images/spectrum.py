"""Colours and frequencies of natural images: with them gradient ascent draws no noise."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Olah 2017: the square root of the colour covariance of ImageNet, scaled below to a largest
# column of 1. Its columns are brightness, and two opponent colours.
_COLOR = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


def colored(plain: Tensor) -> Tensor:
    """Decorrelated colours (N, 3, H, W) as RGB; other channels, and signals, stay as they are.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis.images.spectrum import colored, decorrelated
        >>> x = torch.rand(1, 3, 2, 2)
        >>> torch.allclose(decorrelated(colored(x)), x, atol=1e-5)
        True
    """
    return _mixed(_matrix(plain), plain) if _has_colors(plain) else plain


def decorrelated(image: Tensor) -> Tensor:
    """The inverse of :func:`colored`."""
    if not _has_colors(image):
        return image
    return _mixed(torch.linalg.inv(_matrix(image).double()).to(image), image)


def falloff(sizes: Sequence[int], decay: float, like: Tensor, lowest: float = 1.0) -> Tensor:
    r"""The amplitudes of a 1/f spectrum for ``rfftn``: :math:`1 / \max(f, l/\max(H, W))^{decay}`.

    Returns:
        (H, W // 2 + 1) for an image, f in cycles per pixel and over all axes.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis.images.spectrum import falloff
        >>> falloff((4, 4), 1.0, torch.zeros(1))[0]
        tensor([4., 4., 2.])
    """
    along = [torch.fft.fftfreq(size, dtype=torch.float64) for size in sizes[:-1]]
    along.append(torch.fft.rfftfreq(sizes[-1], dtype=torch.float64))
    grids = torch.meshgrid(*(f.square() for f in along), indexing="ij")
    frequency = torch.stack(grids).sum(0).sqrt()
    scale: Tensor = frequency.clamp_min(lowest / max(sizes)).pow(-decay)
    return scale.to(like)


def pixels_moved(sizes: Sequence[int], decay: float, lowest: float = 1.0) -> float:
    """How far pixels move, as a root mean square, where all of a spectrum with :func:`falloff`
    moves by 1, but for a factor that all sizes share.

    Example::

        >>> from captum_cnn_ext.synthesis.images.spectrum import pixels_moved
        >>> small, large = (pixels_moved((side, side), 2.2, 6.0) for side in (28, 224))
        >>> round(large / small, 1)
        12.4
    """
    scale = falloff(sizes, decay, torch.zeros((), dtype=torch.float64, device="cpu"), lowest)
    return math.sqrt(float(scale.square().sum()) / math.prod(sizes))


def to_unit(plain: Tensor) -> Tensor:
    """From any number to [0, 1]: sigmoid after the colours."""
    return colored(plain).sigmoid()


def from_unit(image: Tensor, margin: float = 1e-4) -> Tensor:
    """The inverse of :func:`to_unit`; values nearer to 0 or 1 than ``margin`` come that near."""
    return decorrelated(image.clamp(margin, 1 - margin).logit())


def _has_colors(image: Tensor) -> bool:
    """Three channels of an image or a video; those of a signal are no colours."""
    return image.ndim > 3 and image.shape[1] == 3


def _matrix(like: Tensor) -> Tensor:
    matrix = torch.tensor(_COLOR, dtype=like.dtype, device=like.device)
    largest: Tensor = matrix.norm(dim=0).max()
    return matrix / largest


def _mixed(matrix: Tensor, image: Tensor) -> Tensor:
    return torch.einsum("dc,nc...->nd...", matrix, image)
