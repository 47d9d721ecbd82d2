"""What the network still says when it sees the image only where the map is strong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.metrics.faithfulness.curves import Blank, blank_images
from captum_cnn_ext.metrics.faithfulness.scoring import Scoring
from captum_cnn_ext.metrics.maps import as_image, as_maps, unit_range


@dataclass(frozen=True)
class Confidence:
    """Scores of the whole image and of the image masked by its map, both (N,)."""

    whole: Tensor
    masked: Tensor

    __repr__ = brief

    @property
    def average_drop(self) -> Tensor:
        """(N,) max(0, whole - masked) / whole, 0 where the whole image scores 0."""
        lost = (self.whole - self.masked).clamp(min=0)
        return torch.where(self.whole == 0, 0, lost / self.whole)

    @property
    def increase(self) -> Tensor:
        """(N,) 1 where the masked image scores higher."""
        return (self.masked > self.whole).to(self.whole.dtype)


def confidence(
    forward_func: Callable[..., Any],
    inputs: Any,
    attributions: Any,
    target: Any = None,
    *,
    blank: Blank = 0.0,
    score: str = "probability",
    additional_forward_args: Any = None,
    internal_batch_size: int | None = None,
) -> Confidence:
    r"""The score of the image, and of the image masked by its map.

    .. math:: x' = m \odot x + (1 - m) \odot b, \quad m = \mathrm{minmax}(\mathrm{map})

    Cost: two forward passes for each image.

    Reference: Chattopadhyay, Sarkar, Howlader, Balasubramanian, *Grad-CAM++: Improved Visual
    Explanations for Deep Convolutional Networks*, 2018, arXiv:1710.11063.

    Args:
        forward_func: the model, or any function of the images.
        inputs: images (N, C, H, W), as the model takes them.
        attributions: of any method, see :func:`as_maps`; a constant map shows nothing.
        target: the score, in any of Captum's forms, or a function of
            the model's output, as those of `captum_cnn_ext.targets` are.
        blank: what is seen where the map is 0: a number (0 is the mean colour of a normalised
            image), ``"mean"``, ``"blur"`` or images.
        score: ``"probability"`` (softmax over classes, of one output the sigmoid; a model that
            ends in either is taken as it is) or ``"logit"``.
        additional_forward_args: further arguments of the model.
        internal_batch_size: at most so many images in one pass; None chooses.

    Raises:
        ArgumentError: shapes, blank or score that do not fit.
        TargetError: the output has no such target.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import confidence
        >>> x = torch.ones(1, 3, 4, 4)
        >>> left = torch.zeros(1, 1, 4, 4)
        >>> left[..., :1] = 1
        >>> confidence(lambda x: x.mean((1, 2, 3)), x, left, score="logit").average_drop
        tensor([0.7500])
    """
    image = as_image(inputs)
    mask = unit_range(as_maps(attributions, image)).to(image)
    empty = blank_images(blank, image)

    def version(n: int, part: slice) -> Tensor:
        masked = mask[n] * image[n] + (1 - mask[n]) * empty[n]
        return torch.stack([image[n], masked])[part]

    scores = Scoring(
        forward_func, image, target, additional_forward_args, score, internal_batch_size
    ).versions(2, version)
    return Confidence(scores[:, 0], scores[:, 1])


def average_drop(
    forward_func: Callable[..., Any],
    inputs: Any,
    attributions: Any,
    target: Any = None,
    **options: Any,
) -> Tensor:
    """The share of the score that is lost behind the map's mask, (N,), from 0 (best) to 1.

    Args, cost, reference and errors: as :func:`confidence`, whose ``average_drop`` it is.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import average_drop
        >>> x = torch.ones(1, 3, 4, 4)
        >>> everywhere = torch.ones(1, 1, 4, 4)
        >>> everywhere[..., 0, 0] = 0
        >>> average_drop(lambda x: x.mean((1, 2, 3)), x, everywhere, score="logit")
        tensor([0.0625])
    """
    return confidence(forward_func, inputs, attributions, target, **options).average_drop


def increase_in_confidence(
    forward_func: Callable[..., Any],
    inputs: Any,
    attributions: Any,
    target: Any = None,
    **options: Any,
) -> Tensor:
    """1 where the image behind the map's mask scores higher than the whole image, (N,).

    Args, cost, reference and errors: as :func:`confidence`, whose ``increase`` it is.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import increase_in_confidence
        >>> x = torch.ones(1, 3, 4, 4)
        >>> increase_in_confidence(lambda x: -x.mean((1, 2, 3)), x, x, score="logit")
        tensor([1.])
    """
    return confidence(forward_func, inputs, attributions, target, **options).increase
