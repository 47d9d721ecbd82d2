"""What is held against an image: penalties, edited gradients, projections after a step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext._engine.backward.residual_branches import hold_back_branches
from captum_cnn_ext._numbers import as_count, as_number
from captum_cnn_ext.errors import choose
from captum_cnn_ext.synthesis.spatial_axes import spread_over

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
GRADIENT_NORMS = ("rms", "l2", "mean")


class Regularizer:
    """The base: what is not overridden does nothing.

    Penalties work with every parameterisation; projections (``on_pixels``) change pixels and need
    :class:`Pixels`.

    Example::

        >>> from captum_cnn_ext.synthesis import regularizers
        >>> class Darker(regularizers.Regularizer):
        ...     def penalty(self, image):
        ...         return image.flatten(1).mean(1)
    """

    on_pixels = False

    def penalty(self, image: Tensor) -> Tensor | None:
        """What is subtracted from each image's objective, (N,)."""
        return None

    def edit_gradient(self, gradient: Tensor) -> Tensor:
        """The gradient (N, ...) of the objective as the optimiser shall get it."""
        return gradient

    def edit_backward(self, images: Tensor, seen: Sequence[Tensor]) -> None:
        """Put hooks on a step's graph, from the images as transformed to what the network gave."""

    def project(self, pixels: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The pixels (N, C, H, W) as they shall be after step ``step`` (0, 1, ...)."""
        return pixels


@dataclass(frozen=True)
class LpDecay(Regularizer):
    r"""Penalty :math:`w \, \mathrm{mean} |x - m|^p`: away from grey costs.

    Reference: Simonyan, Vedaldi, Zisserman, *Deep Inside Convolutional Networks*, 2013,
    arXiv:1312.6034 (p = 2).
    """

    weight: float
    p: float = 2.0
    middle: float = 0.5

    def __post_init__(self) -> None:
        as_number("weight", self.weight)
        as_number("p", self.p, above=0)
        as_number("middle", self.middle)

    def penalty(self, image: Tensor) -> Tensor:
        return self.weight * (image - self.middle).abs().pow(self.p).flatten(1).mean(1)


@dataclass(frozen=True)
class TotalVariation(Regularizer):
    r"""Penalty :math:`w \, \mathrm{mean} (\Delta_x^2 + \Delta_y^2)^{\beta / 2}`.

    Of a signal or a volume the sum is over its own axes.

    Reference: Mahendran, Vedaldi, *Understanding Deep Image Representations by Inverting Them*,
    2014, arXiv:1412.0035.
    """

    weight: float
    beta: float = 2.0

    def __post_init__(self) -> None:
        as_number("weight", self.weight)
        as_number("beta", self.beta, above=0)

    def penalty(self, image: Tensor) -> Tensor:
        sizes = [size - 1 for size in image.shape[2:]]
        here = _part(image, [0] * len(sizes), sizes)
        squares = torch.zeros_like(here)
        for axis in range(len(sizes)):
            after = _part(image, [int(a == axis) for a in range(len(sizes))], sizes)
            squares = squares + (after - here).square()
        if self.beta != 2:  # a slope of its own at 0 where beta < 2
            squares = (squares + torch.finfo(image.dtype).eps).pow(self.beta / 2)
        return self.weight * squares.flatten(1).mean(1)


@dataclass(frozen=True)
class OutOfRange(Regularizer):
    r"""Penalty :math:`w \, \mathrm{mean}\, d(x)^2`, d the distance to [low, high]."""

    weight: float
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        as_number("weight", self.weight)
        as_number("low", self.low)
        as_number("high", self.high)

    def penalty(self, image: Tensor) -> Tensor:
        beyond = image - image.clamp(self.low, self.high)
        return self.weight * beyond.square().flatten(1).mean(1)


@dataclass(frozen=True)
class NormalizeGradient(Regularizer):
    """Each image's gradient divided by its size, so that a step is as long for every unit.

    Reference: Chollet, *How Convolutional Neural Networks See the World*, 2016, Keras blog.

    Args:
        how: ``"rms"``, ``"l2"`` or ``"mean"`` (of absolute values).
        epsilon: added to the size.
    """

    how: str = "rms"
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        choose("how", self.how, GRADIENT_NORMS)
        as_number("epsilon", self.epsilon, 0)

    def edit_gradient(self, gradient: Tensor) -> Tensor:
        flat = gradient.flatten(1)
        if self.how == "mean":
            size = flat.abs().mean(1)
        else:
            size = flat.norm(dim=1) / (math.sqrt(flat.shape[1]) if self.how == "rms" else 1)
        return gradient / (size + self.epsilon).reshape(-1, *[1] * (gradient.ndim - 1))


@dataclass(frozen=True)
class ClipGradient(Regularizer):
    """Each image's gradient at most so long (L2)."""

    norm: float = 1.0

    def __post_init__(self) -> None:
        as_number("norm", self.norm, above=0)

    def edit_gradient(self, gradient: Tensor) -> Tensor:
        size = gradient.flatten(1).norm(dim=1).reshape(-1, *[1] * (gradient.ndim - 1))
        factor: Tensor = self.norm / size.clamp_min(self.norm)
        return gradient * factor


@dataclass(frozen=True)
class SkipGradient(Regularizer):
    r"""Of the gradient of a residual sum x + f(x), only ``share`` goes back through f.

    .. math:: \nabla_x = (1 + \gamma \, f'(x)) \, \nabla_{x + f(x)}

    What a gradient says through the skip connections, other networks say too more often than what
    it says through a branch. Sums are found in the graph of each step: additions of x and of what
    is computed from it with weights, also of several branches, x + f(x) + g(x), and in place. Not
    seen are sum([x, f(x)]), torch.stack, x - f(x), a scaled x, additions in place into a view, and
    those in a compiled, scripted or checkpointed (reentrant) part; a network without any sum is
    left as it is. Skip connections with a layer of their own stay whole on both sides.

    Reference: Wu, Wang, Xia, Bailey, Ma, *Skip Connections Matter: On the Transferability of
    Adversarial Examples Generated with ResNets*, 2020, arXiv:2002.05990.

    Cost: no pass; at each step a walk over the graph, a small part of a pass (0.3 ms for ResNet-18,
    1 to 10 ms for ViT-B).

    Args:
        share: what is left of a branch's gradient, from 0 (the skip connections alone) to 1 (all).

    Raises:
        ArgumentError: a share that is not from 0 to 1.

    Example::

        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.synthesis import Target, maximize
        >>> from captum_cnn_ext.synthesis.regularizers import SkipGradient
        >>> held = [SkipGradient(0.3)]
        >>> model = resnet18().eval()
        >>> maximize(model, Target(3), image=64, steps=2, regularizers=held).images.shape
        torch.Size([1, 3, 64, 64])
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        as_number("share", self.share, 0, 1)

    def edit_backward(self, images: Tensor, seen: Sequence[Tensor]) -> None:
        hold_back_branches(images, seen, self.share)


@dataclass(frozen=True)
class Decay(Regularizer):
    r"""After each step :math:`x \leftarrow m + (1 - \theta)(x - m)`.

    Reference: Yosinski, Clune, Nguyen, Fuchs, Lipson, *Understanding Neural Networks Through Deep
    Visualization*, 2015, arXiv:1506.06579; so are the three below.
    """

    rate: float
    middle: float = 0.5
    on_pixels = True

    def __post_init__(self) -> None:
        as_number("rate", self.rate, 0, 1)
        as_number("middle", self.middle)

    def project(self, pixels: Tensor, gradient: Tensor, step: int) -> Tensor:
        return self.middle + (1 - self.rate) * (pixels - self.middle)


@dataclass(frozen=True)
class BlurEvery(Regularizer):
    """A Gaussian blur of ``sigma`` pixels after every ``steps`` steps."""

    steps: int = 4
    sigma: float = 1.0
    on_pixels = True

    def __post_init__(self) -> None:
        as_count("steps", self.steps)
        as_number("sigma", self.sigma, above=0)

    def project(self, pixels: Tensor, gradient: Tensor, step: int) -> Tensor:
        return pixels if (step + 1) % self.steps else blurred(pixels, self.sigma)


@dataclass(frozen=True)
class ClipSmallNorms(Regularizer):
    """After each step the ``percent`` of positions with the least colour become grey."""

    percent: float
    middle: float = 0.5
    on_pixels = True

    def __post_init__(self) -> None:
        as_number("percent", self.percent, 0, 100)
        as_number("middle", self.middle)

    def project(self, pixels: Tensor, gradient: Tensor, step: int) -> Tensor:
        strength = (pixels - self.middle).norm(dim=1)
        return _greyed(pixels, strength, self.percent, self.middle)


@dataclass(frozen=True)
class ClipSmallContributions(Regularizer):
    """After each step the ``percent`` of positions that add least to the objective become grey.

    What a position adds is estimated to first order, :math:`|\\sum_c (x_c - m) g_c|`.
    """

    percent: float
    middle: float = 0.5
    on_pixels = True

    def __post_init__(self) -> None:
        as_number("percent", self.percent, 0, 100)
        as_number("middle", self.middle)

    def project(self, pixels: Tensor, gradient: Tensor, step: int) -> Tensor:
        strength = ((pixels - self.middle) * gradient).sum(1).abs()
        return _greyed(pixels, strength, self.percent, self.middle)


def blurred(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur, the border's pixels repeated beyond it; cut at 3 sigma.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis.regularizers import blurred
        >>> bool((blurred(torch.ones(1, 3, 5, 5), 1.0) - 1).abs().max() < 1e-6)
        True
    """
    sigma = as_number("sigma", sigma, above=0)
    radius = max(1, math.ceil(3 * sigma))
    place = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (place / sigma).square())
    kernel = kernel / kernel.sum()
    axes = image.ndim - 2
    padded = F.pad(image, (radius, radius) * axes, mode="replicate").flatten(0, 1)[:, None]
    for axis in range(axes):
        form = [1] * image.ndim
        form[2 + axis] = len(kernel)
        padded = _CONVOLUTIONS[axes](padded, kernel.reshape(form))
    return padded.reshape(image.shape)


def penalties(regularizers: Sequence[Regularizer], image: Tensor) -> Tensor | None:
    """All penalties of an image together, (N,), or None."""
    found = [p for p in (r.penalty(image) for r in regularizers) if p is not None]
    return torch.stack(found).sum(0) if found else None


def _greyed(pixels: Tensor, strength: Tensor, percent: float, middle: float) -> Tensor:
    """``pixels`` with the weakest ``percent`` of positions (N, ...) set to ``middle``."""
    limit = spread_over(strength.flatten(1).quantile(percent / 100, dim=1), strength)
    return torch.where((strength < limit)[:, None], middle, pixels)


def _part(image: Tensor, starts: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """The box of an image (N, C, ...) that begins at ``starts``."""
    for dim, (start, size) in enumerate(zip(starts, sizes, strict=True), 2):
        image = image.narrow(dim, start, size)
    return image
