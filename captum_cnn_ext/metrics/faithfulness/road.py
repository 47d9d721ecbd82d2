"""ROAD: remove pixels by interpolating over them, so that the hole itself says nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.running.batching import fitting, rows_at_once
from captum_cnn_ext._engine.to_device import to_device
from captum_cnn_ext._numbers import as_count, as_number, as_numbers, as_seed
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.metrics.faithfulness.scoring import Scoring
from captum_cnn_ext.metrics.maps import as_image, as_maps, pixel_ranks

_SOLVERS_TENSORS = 12  # as large as the images, at a time


@dataclass(frozen=True)
class Road:
    """Scores after removing a share of the pixels.

    Args:
        shares: (P,) the share removed.
        most_relevant_first: (N, P).
        least_relevant_first: (N, P).
    """

    shares: Tensor
    most_relevant_first: Tensor
    least_relevant_first: Tensor

    __repr__ = brief

    @property
    def score(self) -> Tensor:
        """(N,) half the mean of (least first - most first): the higher the better."""
        return (self.least_relevant_first - self.most_relevant_first).mean(1) / 2


def impute(
    images: Tensor, removed: Tensor, tolerance: float = 1e-4, most_steps: int = 2000
) -> Tensor:
    r"""Fill removed pixels so that each is the weighted mean of its neighbours.

    .. math:: x_i = \sum_{j \in N(i)} w_{ij} x_j \Big/ \sum_{j \in N(i)} w_{ij}

    over the eight neighbours inside the image, 1/6 for edges and 1/12 for corners. The linear
    system is solved on the images' device, all images and channels at once, by conjugate gradients
    from a coarse-to-fine first guess. Where nothing is left the image's mean is put.

    Cost: no pass of the model.

    Reference: Rong, Leemann, Borisov, Kasneci, Kasneci, *A Consistent and Efficient Evaluation
    Strategy for Attribution Methods*, 2022, arXiv:2202.00449.

    Args:
        images: (N, C, H, W).
        removed: (N, H, W), True where a pixel is taken away.
        tolerance: of the residual, relative to the right-hand side's.
        most_steps: of the solver, after which the best so far is taken.

    Returns:
        (N, C, H, W); pixels that were not removed are unchanged.

    Raises:
        ArgumentError: shapes that do not fit.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import impute
        >>> ramp = torch.arange(5.0).expand(1, 1, 5, 5)
        >>> hole = torch.zeros(1, 5, 5, dtype=torch.bool)
        >>> hole[0, 2, 2] = True
        >>> round(float(impute(ramp, hole)[0, 0, 2, 2]), 3)
        2.0
    """
    if removed.shape != (len(images), *images.shape[2:]):
        raise ArgumentError(
            f"removed: expected shape {(len(images), *images.shape[2:])}, got "
            f"{tuple(removed.shape)}"
        )
    tolerance = as_number("tolerance", tolerance, 0)
    most_steps = as_count("most_steps", most_steps)
    hole = removed.to(images.device, torch.bool).unsqueeze(1)
    known = (~hole).to(images.dtype)
    weight = _neighbours(torch.ones_like(images[:1, :1]))
    inside = hole.to(images.dtype)
    right = _neighbours(images * known) * inside

    def system(values: Tensor) -> Tensor:
        """(D - W) x on the removed pixels: symmetric and positive."""
        return (weight * values - _neighbours(values)) * inside

    x = _first_guess(images, known) * inside
    residual = (right - system(x)) * inside
    norms = (v.square().sum((2, 3), keepdim=True).sqrt() for v in (right, residual))
    bound = tolerance * torch.maximum(*norms)  # where the right side is 0, the first guess is off
    z = residual / weight
    direction = z
    product = (residual * z).sum((2, 3), keepdim=True)
    for step in range(most_steps):
        if step % 8 == 0:  # a channel that is done stays: more steps would divide rounding errors
            going = residual.square().sum((2, 3), keepdim=True).sqrt() > bound
            if not bool(going.any()):
                break
        image = system(direction)
        curvature = (direction * image).sum((2, 3), keepdim=True)
        length = torch.where(going & (curvature > 0), product / curvature, 0)
        x = x + length * direction
        residual = residual - length * image
        z = residual / weight
        new = (residual * z).sum((2, 3), keepdim=True)
        direction = z + torch.where(going & (product > 0), new / product, 0) * direction
        product = new
    nothing_left = known.sum((1, 2, 3), keepdim=True) == 0
    x = torch.where(nothing_left, images.mean((2, 3), keepdim=True), x)
    return torch.where(hole, x, images)


def _neighbours(values: Tensor) -> Tensor:
    """The weighted sum of the eight neighbours, as in the paper: edges 1/6, corners 1/12.

    (1 2 1)/12 down, (1 2 1) across, less the middle: a few sums, cheaper than a convolution.
    """
    down = 2 * values
    down[..., 1:, :] += values[..., :-1, :]
    down[..., :-1, :] += values[..., 1:, :]
    across = 2 * down
    across[..., 1:] += down[..., :-1]
    across[..., :-1] += down[..., 1:]
    return across.sub_(values, alpha=4).div_(12)


def _first_guess(images: Tensor, known: Tensor) -> Tensor:
    """Means of what is known, each pixel from the finest grid that knows anything there."""
    if min(images.shape[2:]) < 2:
        mean = (images * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(1)
        return torch.where(known > 0, images, mean)
    size = images.shape[2:]
    share = F.avg_pool2d(known, 2, ceil_mode=True)
    mean = F.avg_pool2d(images * known, 2, ceil_mode=True) / share.clamp(min=1e-6)
    coarse = _first_guess(mean, (share > 0).to(images.dtype))
    smooth = F.interpolate(coarse, list(size), mode="bilinear", align_corners=False)
    return torch.where(known > 0, images, smooth)


def road(
    forward_func: Callable[..., Any],
    inputs: Any,
    attributions: Any,
    target: Any = None,
    *,
    shares: Sequence[float] = (0.2, 0.4, 0.6, 0.8),
    noise: float = 0.01,
    tolerance: float = 1e-3,
    seed: int = 0,
    score: str = "probability",
    additional_forward_args: Any = None,
    internal_batch_size: int | None = None,
    show_progress: bool = False,
) -> Road:
    r"""The score after the most, and after the least, relevant pixels are interpolated away.

    .. math:: \frac{1}{2P} \sum_p f(x \setminus \text{least } p) - f(x \setminus \text{most } p)

    A map that is right keeps the score high on the left and low on the right. Unlike with
    insertion and deletion, the shape of the hole is hard to see for the network.

    Cost: two forward passes for each image and share, and two linear systems.

    Reference: Rong, Leemann, Borisov, Kasneci, Kasneci, *A Consistent and Efficient Evaluation
    Strategy for Attribution Methods*, 2022, arXiv:2202.00449.

    Args:
        forward_func: the model, or any function of the images.
        inputs: images (N, C, H, W).
        attributions: of any method, see :func:`as_maps`.
        target: the score, in any of Captum's forms, or a function of
            the model's output, as those of `captum_cnn_ext.targets` are.
        shares: how much is removed, each between 0 and 1.
        noise: standard deviation added to what is filled in, as in the authors' code.
        tolerance: of the linear systems, see :func:`impute`. On a photo of 224 pixels 1e-3 is off
            by 0.007 of the pixels' standard deviation, less than the noise.
        seed: of the noise.
        score: ``"probability"`` (softmax over classes, of one output the sigmoid; a model that
            ends in either is taken as it is) or ``"logit"``.
        additional_forward_args: further arguments of the model.
        internal_batch_size: at most so many images in one pass; None chooses.
        show_progress: draw a progress bar.

    Raises:
        ArgumentError: shapes, shares or score that do not fit.
        TargetError: the output has no such target.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import road
        >>> x = torch.rand(2, 3, 8, 8)
        >>> road(lambda x: x[:, 0].amax((1, 2)), x, x[:, :1], score="logit").score.shape
        torch.Size([2])
    """
    image = as_image(inputs)
    shares = as_numbers("shares", shares, above=0, below=1)
    noise, seed = as_number("noise", noise, 0), as_seed("seed", seed)
    tolerance = as_number("tolerance", tolerance, 0)
    ranks = pixel_ranks(as_maps(attributions, image)).to(image.device)
    pixels = ranks[0].numel()
    counts = torch.tensor([round(share * pixels) for share in shares], device=image.device)

    def fill(rows: slice) -> tuple[Tensor, Tensor]:
        """What is removed of images (n, 2P, H, W), and those filled in, (n, 2P, C, H, W)."""
        own = ranks[rows].unsqueeze(1)
        bounds = counts[:, None, None]
        removed = torch.cat([own < bounds, own >= pixels - bounds], 1)
        whole = image[rows].unsqueeze(1).expand(-1, 2 * len(counts), *image.shape[1:])
        filled = impute(whole.flatten(0, 1), removed.flatten(0, 1), tolerance)
        return removed, filled.reshape(whole.shape)

    # the solver asks the device from time to time whether all is done: of many images at once
    held = _SOLVERS_TENSORS * 2 * len(counts) * image[:1].nbytes
    at_once = rows_at_once(2 * len(counts) * image[:1].nbytes, image.device, 1, held)
    ready: dict[int, tuple[Tensor, Tensor]] = {}

    def version(n: int, part: slice) -> Tensor:
        nonlocal at_once
        if n not in ready:  # images come in their order
            ready.clear()
            found, at_once = fitting(lambda count: fill(slice(n, n + count)), at_once)
            ready.update(enumerate(zip(*found, strict=True), n))
        removed, filled = (tensor[part] for tensor in ready[n])
        generator = torch.Generator().manual_seed(seed + n)
        each = torch.randn(2 * len(counts), *image.shape[1:], generator=generator, device="cpu")[
            part
        ]
        each = to_device(each, image.device, image.dtype)
        return torch.where(removed[:, None], filled + noise * each, filled)

    scores = Scoring(
        forward_func, image, target, additional_forward_args, score, internal_batch_size,
        show_progress, "ROAD",
    ).versions(2 * len(counts), version)  # fmt: skip
    most, least = scores[:, : len(counts)], scores[:, len(counts) :]
    return Road(counts.to(scores) / pixels, most, least)
