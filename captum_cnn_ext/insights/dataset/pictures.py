"""Small pictures of a data set's audit: images with maps, mean maps, reliability diagrams."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from captum_cnn_ext.insights.dataset.scores import Calibration
from captum_cnn_ext.insights.pictures import figure_picture, heat_picture
from captum_cnn_ext.insights.report.blocks import Picture
from captum_cnn_ext.render import to_rgb

Scale = Sequence[float] | None
SIDE = 160  # pixels of an image on the page along its longer side


def overlay_picture(
    image: Tensor, map_: Tensor, mean: Scale, std: Scale, title: str, caption: str
) -> Picture:
    """A network input (C, H, W) with a map (h, w) over it."""
    small = _shrunk(image)
    alt = f"{title} with the evidence for what is predicted"
    found = heat_picture(small, map_[None], mean, std, alt=alt, title=title)
    return Picture(found.data, found.width, found.height, alt, title, caption)


def mean_picture(
    image: Tensor, map_: Tensor, mean: Scale, std: Scale, title: str, caption: str
) -> Picture:
    """A class's mean image with its mean map over it."""
    large = torch.nn.functional.interpolate(
        image[None], size=(SIDE, SIDE), mode="bilinear", align_corners=False
    )[0]
    found = heat_picture(large, map_[None], mean, std, alt="", title=title)
    alt = f"mean image of {title} with the mean map over it"
    return Picture(found.data, found.width, found.height, alt, title, caption)


def _shrunk(image: Tensor) -> Tensor:
    factor = SIDE / max(image.shape[-2:])
    if factor >= 1:
        return image
    size = [max(1, round(side * factor)) for side in image.shape[-2:]]
    return torch.nn.functional.interpolate(
        image[None].float(), size=size, mode="bilinear", align_corners=False, antialias=True
    )[0]


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
