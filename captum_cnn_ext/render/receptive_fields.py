"""Receptive fields drawn on an image: boxes, and how much each pixel in them counts."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from captum_cnn_ext.render.drawing import judging, layout
from captum_cnn_ext.render.drawing.images import to_rgb
from captum_cnn_ext.render.drawing.layout import AxesGrid
from captum_cnn_ext.render.drawing.panel import draw_picture

BOX_COLOR = "#ff3030"
PANEL_INCHES = 1.8
LABEL_SIZE = 8.0
STRENGTH_POWER = 0.5  # the square root: the effective field falls off like a Gaussian


def show_receptive_fields(
    image: Tensor,
    boxes: Mapping[str, Sequence[Sequence[int]]],
    effective: Mapping[str, Tensor] | None = None,
    *,
    mean: Sequence[float] | Tensor | None = None,
    std: Sequence[float] | Tensor | None = None,
    title: str | None = None,
    fig_size: tuple[float, float] | None = None,
    use_pyplot: bool | None = None,
) -> tuple[Figure, AxesGrid]:
    """Draw one panel for each layer: the image, the box of a unit, and its effective field.

    Args:
        image: (C, H, W), a network input.
        boxes: for each panel's title ((top, bottom), (left, right)), as `ReceptiveField.box`.
        effective: for the same titles (H, W) in [0, 1]; drawn as heat by its square root.
        mean, std: as for `to_rgb`.
        title, fig_size, use_pyplot: as for the other pictures.

    Returns:
        the figure and its axes, a near-square grid.

    Raises:
        ValueError: no boxes, or an effective field of another size.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.render import show_receptive_fields
        >>> figure, axes = show_receptive_fields(torch.rand(3, 20, 20), {"a": ((2, 9), (3, 9))})
        >>> axes.shape
        (1, 1)
    """
    if not boxes:
        raise ValueError("boxes: got none, expected at least one layer")
    picture = to_rgb(judging.one_picture("image", image)[0], mean=mean, std=std)
    note = "red: the pixels that the unit can see"
    note += "; heat: how much they count (square root)" if effective else ""
    page = {"title": title or "", "note": note, "fig_size": fig_size}
    figure, axes = layout.square_page(
        list(boxes), LABEL_SIZE, PANEL_INCHES, picture.shape[:2], page, use_pyplot
    )
    for cell, (name, ((top, bottom), (left, right))) in zip(axes.flat, boxes.items(), strict=False):
        heat = (effective or {}).get(name)
        draw_picture(cell, picture if heat is None else np.repeat(picture.mean(2)[..., None], 3, 2))
        if heat is not None:
            values = judging.real_tensor("effective", heat)
            if tuple(values.shape) != picture.shape[:2]:
                raise ValueError(
                    f"effective: got {tuple(values.shape)} for {name!r}, expected "
                    f"{picture.shape[:2]}"
                )
            strength = values.clamp(0, 1).pow(STRENGTH_POWER).cpu().numpy()
            draw_picture(
                cell, strength, cmap="inferno", vmin=0, vmax=1, alpha=0.25 + 0.6 * strength
            )
        place, size = (left - 0.5, top - 0.5), (right - left, bottom - top)
        cell.add_patch(Rectangle(place, *size, fill=False, edgecolor=BOX_COLOR, linewidth=1.2))
    return figure, axes
