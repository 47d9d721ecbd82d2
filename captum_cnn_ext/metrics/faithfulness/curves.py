"""Insertion and deletion: the score while pixels come or go in the order of a map."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._notebook import drawn_by
from captum_cnn_ext._numbers import as_count, as_number
from captum_cnn_ext.errors import ArgumentError, choose
from captum_cnn_ext.metrics.faithfulness.scoring import Scoring
from captum_cnn_ext.metrics.maps import as_image, as_maps, pixel_ranks

Blank = str | float | Tensor


@dataclass(frozen=True)
class Curve:
    """The score of each image after each step.

    Args:
        fractions: (S + 1,) the share of pixels changed, from 0 to 1.
        scores: (N, S + 1).
    """

    fractions: Tensor
    scores: Tensor

    __repr__ = brief
    _repr_png_ = drawn_by("show_curves", lambda curve: ({"": curve},))

    @property
    def area(self) -> Tensor:
        """(N,) the area under each curve by trapezoids: its mean height."""
        return torch.trapezoid(self.scores, self.fractions, dim=1)


def blank_images(blank: Blank, image: Tensor, parameter: str = "blank") -> Tensor:
    """What an image is without its information: (N, C, H, W).

    ``"blur"`` is a Gaussian of standard deviation 0.045 of the longer side (10 pixels of 224),
    ``"mean"`` each channel's mean over the image.

    Raises:
        ArgumentError: another word, or a tensor that does not fit.
    """
    if isinstance(blank, Tensor):
        fits = blank.ndim == 4 and len(blank) in (1, len(image))
        if not fits or blank.shape[1:] != image.shape[1:]:
            raise ArgumentError(
                f"{parameter}: expected shape {tuple(image.shape)}, got {tuple(blank.shape)}"
            )
        return blank.to(image).expand_as(image)
    if blank == "mean":
        return image.mean((2, 3), keepdim=True).expand_as(image)
    if blank == "blur":
        return _blurred(image)
    if isinstance(blank, str):
        choose(parameter, blank, ("blur", "mean"))
    return torch.full_like(image, as_number(parameter, blank))


def _blurred(image: Tensor) -> Tensor:
    sigma = 0.045 * max(image.shape[2:])
    for dim in (2, 3):
        reach = min(math.ceil(3 * sigma), image.shape[dim] - 1)
        place = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
        kernel = torch.exp(-0.5 * (place / sigma) ** 2)
        shape = (1, 1, -1, 1) if dim == 2 else (1, 1, 1, -1)
        pads = (0, 0, reach, reach) if dim == 2 else (reach, reach, 0, 0)
        flat = F.pad(image.flatten(0, 1).unsqueeze(1), pads, mode="reflect")
        image = F.conv2d(flat, (kernel / kernel.sum()).reshape(shape)).reshape(image.shape)
    return image


def _mixed(start: Tensor, end: Tensor, ranks: Tensor, counts: Tensor) -> Callable[..., Tensor]:
    """Version k of image n: its counts[k] strongest pixels from ``end``, the others ``start``."""

    def version(n: int, part: slice) -> Tensor:
        changed = ranks[n] < counts[part, None, None]
        return torch.where(changed[:, None], end[n], start[n])

    return version


def _counts(steps: int, image: Tensor) -> Tensor:
    """How many pixels have changed after each step, 0 and all included."""
    pixels = image.shape[2] * image.shape[3]
    steps = as_count("steps", steps, 1, pixels)
    return torch.tensor([round(k * pixels / steps) for k in range(steps + 1)], device=image.device)


def insertion(
    forward_func: Callable[..., Any],
    inputs: Any,
    attributions: Any,
    target: Any = None,
    *,
    steps: int = 24,
    blank: Blank = "blur",
    score: str = "probability",
    additional_forward_args: Any = None,
    internal_batch_size: int | None = None,
    show_progress: bool = False,
) -> Curve:
    r"""The score while the strongest pixels of a map are put into a blank image.

    .. math:: \mathrm{area} = \int_0^1 f(x_{\text{blank}} \leftarrow \text{strongest share } s)\, ds

    The higher the area, the earlier the map named what the score needs. The signed map decides
    the order; equal pixels come in reading order.

    Cost: ``steps + 1`` forward passes for each image.

    Reference: Petsiuk, Das, Saenko, *RISE: Randomized Input Sampling for Explanation of Black-box
    Models*, 2018, arXiv:1806.07421.

    Args:
        forward_func: the model, or any function of the images.
        inputs: images (N, C, H, W).
        attributions: of any method, see :func:`as_maps`.
        target: the score that is followed, in any of Captum's forms, or a function of
            the model's output, as those of `captum_cnn_ext.targets` are.
        steps: in how many equal parts the pixels come.
        blank: ``"blur"``, ``"mean"``, a number or images.
        score: ``"probability"`` (softmax over classes, of one output the sigmoid; a model that
            ends in either is taken as it is) or ``"logit"`` (the output as it is).
        additional_forward_args: further arguments of the model.
        internal_batch_size: at most so many images in one pass; None chooses.
        show_progress: draw a progress bar.

    Raises:
        ArgumentError: shapes, steps, blank or score that do not fit.
        TargetError: the output has no such target.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import insertion
        >>> brightness = lambda x: x.mean((1, 2, 3))
        >>> x = torch.rand(2, 3, 8, 8)
        >>> curve = insertion(brightness, x, x, steps=4, blank=0.0, score="logit")
        >>> curve.scores.shape, bool((curve.area > 0.5 * brightness(x)).all())
        (torch.Size([2, 5]), True)
    """
    image = as_image(inputs)
    return _curve(
        forward_func, image, blank_images(blank, image), image, attributions, target, steps, score,
        additional_forward_args, internal_batch_size, show_progress, "insertion",
    )  # fmt: skip


def deletion(
    forward_func: Callable[..., Any],
    inputs: Any,
    attributions: Any,
    target: Any = None,
    *,
    steps: int = 24,
    blank: Blank = "mean",
    score: str = "probability",
    additional_forward_args: Any = None,
    internal_batch_size: int | None = None,
    show_progress: bool = False,
) -> Curve:
    r"""The score while the strongest pixels of a map are taken out of the image.

    .. math:: \mathrm{area} = \int_0^1 f(x \leftarrow \text{blank at the strongest share } s)\, ds

    The lower the area, the earlier the map named what the score needs.

    Cost: ``steps + 1`` forward passes for each image.

    Reference: Petsiuk, Das, Saenko, *RISE: Randomized Input Sampling for Explanation of Black-box
    Models*, 2018, arXiv:1806.07421.

    Args and errors: as :func:`insertion`; ``blank`` is ``"mean"`` by default.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import deletion
        >>> brightness = lambda x: x.mean((1, 2, 3))
        >>> x = torch.rand(2, 3, 8, 8)
        >>> curve = deletion(brightness, x, x, steps=4, blank=0.0, score="logit")
        >>> bool((curve.area < 0.5 * brightness(x)).all())
        True
    """
    image = as_image(inputs)
    return _curve(
        forward_func, image, image, blank_images(blank, image), attributions, target, steps, score,
        additional_forward_args, internal_batch_size, show_progress, "deletion",
    )  # fmt: skip


def _curve(
    forward_func: Callable[..., Any],
    image: Tensor,
    start: Tensor,
    end: Tensor,
    attributions: Any,
    target: Any,
    steps: int,
    score: str,
    extra: Any,
    size: int | None,
    show_progress: bool,
    description: str,
) -> Curve:
    counts = _counts(steps, image)
    ranks = pixel_ranks(as_maps(attributions, image)).to(image.device)
    scoring = Scoring(forward_func, image, target, extra, score, size, show_progress, description)
    scores = scoring.versions(len(counts), _mixed(start, end, ranks, counts))
    return Curve(counts.to(scores) / counts[-1], scores)


def insertion_and_deletion(
    forward_func: Callable[..., Any],
    inputs: Any,
    attributions: Any,
    target: Any = None,
    *,
    steps: int = 24,
    insertion_blank: Blank = "blur",
    deletion_blank: Blank = "mean",
    score: str = "probability",
    additional_forward_args: Any = None,
    internal_batch_size: int | None = None,
    show_progress: bool = False,
) -> tuple[Curve, Curve]:
    """Both curves in one sweep: the whole image, which both contain, is scored once.

    Cost: ``2 steps + 1`` forward passes for each image (49 for 24 steps).

    Args and errors: as :func:`insertion` and :func:`deletion`.

    Reference: as :func:`insertion`.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import insertion_and_deletion
        >>> x = torch.rand(1, 3, 8, 8)
        >>> up, down = insertion_and_deletion(lambda x: x.mean((1, 2, 3)), x, x, score="logit")
        >>> torch.equal(up.scores[:, -1], down.scores[:, 0])
        True
    """
    image = as_image(inputs)
    counts = _counts(steps, image)
    ranks = pixel_ranks(as_maps(attributions, image)).to(image.device)
    added = _mixed(blank_images(insertion_blank, image, "insertion_blank"), image, ranks, counts)
    removed = _mixed(image, blank_images(deletion_blank, image, "deletion_blank"), ranks, counts)

    def version(n: int, part: slice) -> Tensor:
        """Insertion's versions, the whole image last, then deletion's without it."""
        first = added(n, slice(part.start, min(part.stop, len(counts))))
        after = max(part.start - len(counts), 0), part.stop - len(counts)
        if after[1] <= 0:
            return first
        second = removed(n, slice(after[0] + 1, after[1] + 1))
        return torch.cat([first, second]) if part.start < len(counts) else second

    scoring = Scoring(
        forward_func, image, target, additional_forward_args, score, internal_batch_size,
        show_progress, "insertion and deletion",
    )  # fmt: skip
    scores = scoring.versions(2 * len(counts) - 1, version)
    fractions = counts.to(scores) / counts[-1]
    up, down = scores[:, : len(counts)], scores[:, len(counts) - 1 :]
    return Curve(fractions, up), Curve(fractions, down)
