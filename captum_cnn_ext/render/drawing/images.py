"""Network inputs back to pictures that a screen can show."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from captum_cnn_ext._numbers import as_numbers
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.render.drawing import judging

OUTLINES = 200  # of a box, so many would fill the picture's longer side


def per_channel(name: str, value: Sequence[float] | Tensor, like: Tensor) -> Tensor:
    """Return `value` for each channel of `like` (N, C, ...)."""
    numbers = torch.tensor(as_numbers(name, value), dtype=like.dtype, device=like.device)
    if numbers.numel() not in (1, like.shape[1]):
        raise ArgumentError(
            f"{name}: got {numbers.numel()} value(s) for {like.shape[1]} channel(s), "
            "expected one for each"
        )
    return numbers.reshape(1, -1, *[1] * (like.dim() - 2))


def _stretch(batch: Tensor) -> Tensor:
    """Bring each picture that leaves [0, 1] onto it: minimum to 0, maximum to 1."""
    low = batch.amin(dim=(1, 2, 3), keepdim=True)
    high = batch.amax(dim=(1, 2, 3), keepdim=True)
    spread = high - low
    stretched = torch.where(spread > 0, (batch - low) / spread.clamp_min(1e-30), 0.5)
    return torch.where((low < 0) | (high > 1), stretched, batch)


def to_rgb(
    images: Tensor,
    *,
    mean: Sequence[float] | Tensor | None = None,
    std: Sequence[float] | Tensor | None = None,
) -> npt.NDArray[np.float32]:
    """Turn network inputs into RGB pictures: `images * std + mean`, cut to [0, 1].

    Without `mean` and `std`, a picture within [0, 1] stays as it is, a `torch.uint8` one is
    divided by 255, and one with values outside [0, 1] is stretched from its minimum to its
    maximum. Values that are not finite become black. Grey pictures get three equal channels; of
    other numbers of channels, as satellites and scanners have, the mean over them is drawn in
    grey.

    Args:
        images: (N, C, H, W) or (C, H, W), any device and dtype.
        mean: per channel, what the preprocessing subtracted, on the [0, 1] scale.
        std: per channel, what the preprocessing divided by.

    Returns:
        float32 array in [0, 1], (N, H, W, 3), or (H, W, 3) for a single picture.

    Raises:
        TypeError: `images` is no real tensor.
        ValueError: no pictures, or `mean`, `std` do not fit their channels.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.render import to_rgb
        >>> pixel = torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1)
        >>> to_rgb(pixel, mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5]).tolist()
        [[[0.0, 0.5, 1.0]]]
    """
    batch = judging.picture_batch("images", images)
    if images.dtype == torch.uint8:
        batch = batch / 255
    batch = judging.finite_or_zero(batch)
    if mean is None and std is None:
        batch = _stretch(batch)
    if std is not None:
        batch = batch * per_channel("std", std, batch)
    if mean is not None:
        offset = per_channel("mean", mean, batch)
        if bool((offset.abs() > 1).any()):
            raise ArgumentError(
                f"mean: got {mean!r}, expected values on the [0, 1] scale of a "
                "picture; divide mean and std by 255"
            )
        batch = batch + offset
    batch = batch.clamp(0, 1)
    if batch.shape[1] not in judging.CHANNEL_COUNTS:
        batch = batch.mean(1, keepdim=True)
    rgb = batch.expand(-1, 3, -1, -1).movedim(1, -1)
    pictures: npt.NDArray[np.float32] = rgb.to(torch.float32).cpu().numpy()
    return pictures if images.dim() == 4 else pictures[0]


def full_colors(maps: Tensor, scale: str) -> Tensor:
    """Magnitude of full colour for each of the first dimension; 1 where all is zero."""
    tops = judging.finite_or_zero(maps).abs().flatten(1).amax(1)
    tops = tops.max().expand(len(tops)) if scale == "layer" else tops
    return torch.where(tops > 0, tops, 1)


def around_grey(values: Tensor, outlier_perc: float) -> Tensor:
    """0 as 0.5; the magnitude that few values exceed as 0 and 1; a picture of zeros is grey."""
    values = judging.finite_or_zero(values)
    moved = values.abs()[values != 0].double()
    if not moved.numel():
        return torch.full_like(values, 0.5)
    full = moved.quantile(1 - outlier_perc / 100) if len(moved) < 2**24 else moved.max()
    return (0.5 + values / (2 * full.to(values))).clamp(0, 1)


def outlined(picture: Image.Image, boxes: Any) -> Image.Image:
    """A copy of a picture with boxes outlined in white between black, a pixel for each pixel.

    For pictures of any size that are to be kept: no figure, no axes, no resampling.

    Args:
        picture: a PIL image of any kind; the copy is RGB.
        boxes: (K, 4) as left, top, right, bottom in its pixels, one box, or None.

    Raises:
        ValueError: boxes of another shape.

    Example:
        >>> from PIL import Image
        >>> from captum_cnn_ext.render import outlined
        >>> drawn = outlined(Image.new("RGB", (40, 30)), (5, 5, 20, 20))
        >>> drawn.getpixel((5, 10)), drawn.getpixel((12, 12))
        ((255, 255, 255), (0, 0, 0))
    """
    (found,) = judging.box_lists("boxes", [boxes], 1)
    drawn = picture.convert("RGB")
    drawn = drawn.copy() if drawn is picture else drawn
    pen, width = ImageDraw.Draw(drawn), max(1, round(max(drawn.size) / OUTLINES))
    for box in found:
        left, top, right, bottom = (round(edge) for edge in box)
        for outside, color in ((width, "black"), (-width, "black"), (0, "white")):
            corner = left - outside, top - outside
            end = right - 1 + outside, bottom - 1 + outside
            if end[0] >= corner[0] and end[1] >= corner[1]:
                pen.rectangle((*corner, *end), outline=color, width=width)
    return drawn
