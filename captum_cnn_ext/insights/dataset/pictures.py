"""Small pictures of a data set's audit: images with maps, mean maps, reliability diagrams."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

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

Scale = Sequence[float] | None
SIDE = 160  # pixels of an image on the page along its longer side


def overlay_picture(
    image: Tensor, map_: Tensor, mean: Scale, std: Scale, title: str, caption: str
) -> Picture:
    """A network input (C, H, W) with the positive part of a map (h, w) over it.

    In grey with the colours of `heat_picture`, which draws a figure and takes twenty times as long.
    """
    grey = as_pixels(_sized(image), mean, std).mean(-1, keepdims=True)
    up = F.interpolate(map_[None, None], grey.shape[:2], mode="bilinear", align_corners=False)
    heat = up[0, 0].clamp_min(0).numpy()
    ranked = np.sort(heat.ravel())
    sums = ranked.cumsum()
    full = ranked[min(int((sums < sums[-1] * (1 - STRONGEST_SHARE / 100)).sum()), len(sums) - 1)]
    colors = colormaps[HEAT_COLORS](np.clip(heat / max(float(full), 1e-30), 0, 1))[..., :3]
    blended = HEAT_OPACITY * colors + (1 - HEAT_OPACITY) * grey
    shown = Image.fromarray((255 * blended).astype(np.uint8))
    alt = f"{title} with the evidence for what is predicted"
    return Picture(encoded(shown), *shown.size, alt, title, caption)


def mean_picture(
    image: Tensor, map_: Tensor, mean: Scale, std: Scale, title: str, caption: str
) -> Picture:
    """A class's mean image with its mean map over it."""
    found = overlay_picture(image, map_, mean, std, title, caption)
    return dataclasses.replace(found, alt=f"mean image of {title} with the mean map over it")


def _sized(image: Tensor) -> Tensor:
    """The image with its longer side as all others have it."""
    factor = SIDE / max(image.shape[-2:])
    size = [max(1, round(side * factor)) for side in image.shape[-2:]]
    given = image[None].float()
    return F.interpolate(given, size, mode="bilinear", align_corners=False, antialias=True)[0]


def boxed_picture(
    image: Tensor,
    box: tuple[int, int, int, int] | None,
    mean: Scale,
    std: Scale,
    title: str,
    caption: str,
) -> Picture:
    """A network input (C, H, W) as a picture, with a frame around (top, left, bottom, right)."""
    shown = Image.fromarray((255 * as_pixels(image, mean, std)).astype(np.uint8))
    factor = SIDE / max(shown.size)
    size = (max(1, round(shown.width * factor)), max(1, round(shown.height * factor)))
    shown = shown.resize(size, Image.Resampling.BICUBIC)
    if box is not None:
        top, left, bottom, right = (round(side * factor) for side in box)
        draw = ImageDraw.Draw(shown)
        draw.rectangle((left - 1, top - 1, right, bottom), outline="black", width=1)
        draw.rectangle((left - 2, top - 2, right + 1, bottom + 1), outline="white", width=1)
    frame = "" if box is None else ", with a frame around what is given"
    return Picture(encoded(shown), *shown.size, f"{title}{frame}", title, caption)


def patch_picture(patch: Tensor, mean: Scale, std: Scale, title: str) -> Picture:
    """A part of a network input in the middle of a square, as large as the others."""
    shown = Image.fromarray((255 * as_pixels(patch, mean, std)).astype(np.uint8))
    factor = SIDE / max(shown.size)
    size = (max(1, round(shown.width * factor)), max(1, round(shown.height * factor)))
    square = Image.new("RGB", (SIDE, SIDE), "gray")
    place = ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2)
    square.paste(shown.resize(size, Image.Resampling.BICUBIC), place)
    return Picture(encoded(square), SIDE, SIDE, f"patch that excites {title}", title)


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


def as_pixels(image: Tensor, mean: Scale, std: Scale) -> np.ndarray:
    """A network input as RGB in [0, 1] (H, W, 3)."""
    if mean is None or std is None:
        return to_rgb(image)
    return to_rgb(image, mean=list(mean), std=list(std))
