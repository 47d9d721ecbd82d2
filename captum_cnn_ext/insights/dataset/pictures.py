"""Small pictures of a data set's audit: images with maps, mean maps, reliability diagrams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch.nn.functional as F
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from captum_cnn_ext.insights.dataset.scores import Calibration
from captum_cnn_ext.insights.pictures import (
    HEAT_COLORS,
    HEAT_OPACITY,
    STRONGEST_SHARE,
    encoded,
    figure_picture,
)
from captum_cnn_ext.insights.report.blocks import Picture
from captum_cnn_ext.render import to_rgb

Look = Mapping[str, Any]  # what undoes the preprocessing, as `scale` gives it
SIDE = 160  # pixels of an image on the page along its longer side


def overlay_picture(
    image: Tensor, map_: Tensor, look: Look, title: str, caption: str, alt: str = ""
) -> Picture:
    """A network input (C, H, W) with the positive part of a map (h, w) over it.

    In grey with the colours of `heat_picture`, which draws a figure and takes twenty times as long.
    """
    factor = SIDE / max(image.shape[-2:])
    size = [max(1, round(side * factor)) for side in image.shape[-2:]]
    kind: Look = {"mode": "bilinear", "align_corners": False}
    sized = F.interpolate(image[None].float(), size, antialias=True, **kind)[0]
    grey = to_rgb(sized, **look).mean(-1, keepdims=True)
    up = F.interpolate(map_[None, None], grey.shape[:2], **kind)
    heat = up[0, 0].clamp_min(0).numpy()
    ranked = np.sort(heat.ravel())
    sums = ranked.cumsum()
    full = ranked[min(int((sums < sums[-1] * (1 - STRONGEST_SHARE / 100)).sum()), len(sums) - 1)]
    colors = colormaps[HEAT_COLORS](np.clip(heat / max(float(full), 1e-30), 0, 1))[..., :3]
    blended = HEAT_OPACITY * colors + (1 - HEAT_OPACITY) * grey
    shown = Image.fromarray((255 * blended).astype(np.uint8))
    alt = alt or f"{title} with the evidence for what is predicted"
    return Picture(encoded(shown), *shown.size, alt, title, caption)


def boxed_picture(
    image: Tensor,
    box: tuple[int, int, int, int] | None,
    look: Look,
    title: str,
    caption: str = "",
    alt: str = "",
) -> Picture:
    """A network input (C, H, W) as a picture, with a frame around (top, left, bottom, right)."""
    shown, factor = _photo(image, look)
    if box is not None:
        top, left, bottom, right = (round(side * factor) for side in box)
        draw = ImageDraw.Draw(shown)
        draw.rectangle((left - 1, top - 1, right, bottom), outline="black", width=1)
        draw.rectangle((left - 2, top - 2, right + 1, bottom + 1), outline="white", width=1)
    frame = "" if box is None else ", with a frame around what is given"
    return Picture(encoded(shown), *shown.size, f"{alt or title}{frame}", title, caption)


def on_one_scale(images: Tensor, look: Look) -> Tensor:
    """Network inputs (N, C, H, W) such that their pictures can be compared, whatever is known."""
    low, high = images.min(), images.max()
    if look or (low >= 0 and high <= 1):
        return images  # else each picture would be stretched by itself
    return (images - low) / (high - low)


def patch_picture(patch: Tensor, look: Look, title: str) -> Picture:
    """A part of a network input in the middle of a square, as large as the others."""
    shown, square = _photo(patch, look)[0], Image.new("RGB", (SIDE, SIDE), "gray")
    square.paste(shown, ((SIDE - shown.width) // 2, (SIDE - shown.height) // 2))
    return Picture(encoded(square), SIDE, SIDE, f"patch that excites {title}", title)


def _photo(image: Tensor, look: Look) -> tuple[Image.Image, float]:
    """A network input with its longer side as all others have it, and by how much it grew."""
    shown = Image.fromarray((255 * to_rgb(image, **look)).astype(np.uint8))
    factor = SIDE / max(shown.size)
    size = (max(1, round(shown.width * factor)), max(1, round(shown.height * factor)))
    return shown.resize(size, Image.Resampling.BICUBIC), factor


def reliability_picture(found: Calibration) -> Picture:
    """How often predictions of each confidence are right, and how many there are."""
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    confidence, right, counts = (np.array(values) for values in zip(*found.bins, strict=True))
    top.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
    top.annotate("as sure as right", (0.05, 0.09), color="0.4", rotation=33, fontsize=8)
    top.vlines(confidence, np.minimum(confidence, right), np.maximum(confidence, right), "#c93c37")
    top.plot(confidence, right, marker="o", color="#0b5cad", linewidth=1.2, markersize=4)
    top.set(ylabel="share right", xlim=(0, 1), ylim=(0, 1.02))
    bottom.bar(confidence, counts, width=0.05, color="#8fa3b8")
    bottom.set(xlabel="confidence of the prediction", ylabel="images")
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
    return figure_picture(
        figure,
        alt="Reliability diagram: share of right predictions by confidence",
        title="Reliability diagram",
        caption="Each point is a bin of predictions. On the dashed line they are right as often "
        "as their confidence says; below it the model is too sure. Red lines are the gaps that "
        "the calibration error sums up.",
    )
