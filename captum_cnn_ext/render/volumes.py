"""Attributions of volumes and videos: the strongest slice, and a strip of slices."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from torch import Tensor

from captum_cnn_ext.errors import choose
from captum_cnn_ext.render.drawing import judging, layout
from captum_cnn_ext.render.drawing.heat import heat_of, normalised, remarks, shared_scales
from captum_cnn_ext.render.drawing.images import to_rgb
from captum_cnn_ext.render.drawing.layout import AxesGrid, Sheet
from captum_cnn_ext.render.drawing.panel import PanelStyle, draw_picture

CELL_INCHES = 1.1
STRIP = 6  # slices beside the strongest
SCALE_WORDS = {
    "panel": "one scale per row",
    "column": "one scale per method",
    "figure": "one scale for all panels",
}


def show_volumes(
    volumes: Tensor,
    attributions: Mapping[str, Tensor],
    *,
    slices: int | Sequence[int] | None = None,
    mean: Sequence[float] | Tensor | None = None,
    std: Sequence[float] | Tensor | None = None,
    titles: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    method: str = "blended_heat_map",
    sign: str = "positive",
    outlier_perc: float = 2,
    interpolate_mode: str = "bilinear",
    scale: str = "panel",
    cmap: str | Colormap | None = None,
    alpha_overlay: float = 0.5,
    show_colorbar: bool = True,
    fig_size: tuple[float, float] | None = None,
    use_pyplot: bool | None = None,
) -> tuple[Figure, AxesGrid]:
    """Draw attributions of volumes or videos as slices across their first axis (frames).

    For each volume a row of its slices and a row for each method. The first column is the slice
    with the most attribution, over all methods of that volume; the strip beside it goes evenly
    through the volume. The slices of a row share one scale.

    Args:
        volumes: (N, C, D, H, W) or (C, D, H, W), 1 or 3 channels.
        attributions: name of the method -> (N, C, d, h, w) of any resolution.
        slices: the slice or slices to draw, in this order, 0 to D - 1; default the strongest and
            a strip.
        mean, std: what the preprocessing subtracted and divided by, per channel.
        titles: names beside the rows instead of those in `attributions`.
        row_titles: one text per volume, written beside its slices.
        method: "blended_heat_map", "heat_map" or "masked_image".
        sign, outlier_perc, cmap, alpha_overlay: as in `show_attributions`.
        interpolate_mode: "bilinear" (along all three axes), "nearest", "nearest-exact" or "area".
        scale: "panel" (each row has its own), "column" (each method) or "figure".
        show_colorbar: add a colour bar beside the first rows.
        fig_size: width and height in inches.
        use_pyplot: make the figure through pyplot, which shows it under a notebook's cell; None
            does so in notebooks only.

    Returns:
        the figure and its axes, (N * (1 + methods), slices).

    Raises:
        TypeError: `attributions` is no mapping, or something in it no real tensor.
        ValueError: a shape, a count, a name or a number that does not fit; the text says which.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.render import show_volumes
        >>> maps = {"Grad-CAM": torch.rand(1, 1, 4, 7, 7)}
        >>> figure, axes = show_volumes(torch.rand(1, 3, 8, 56, 56), maps, slices=[0, 4, 7])
        >>> axes.shape
        (2, 3)
    """
    style = PanelStyle(method, sign, outlier_perc, interpolate_mode, alpha_overlay, cmap)
    choose("scale", scale, tuple(SCALE_WORDS))
    if interpolate_mode == "bicubic":
        raise ValueError("interpolate_mode: got 'bicubic', expected 'bilinear' for volumes")
    batch = judging.real_tensor("volumes", volumes)
    batch = batch[None] if batch.dim() == 4 else batch
    if batch.dim() != 5 or batch.shape[1] not in judging.CHANNEL_COUNTS:
        raise ValueError(
            f"volumes: got shape {tuple(volumes.shape)}, expected (N, C, D, H, W) or (C, D, H, W) "
            "with 1 or 3 channels"
        )
    count, _, depth, height, width = batch.shape
    judging.named_tensors("attributions", attributions)
    names = judging.labels("titles", titles, len(attributions), "method(s)")
    names = names or [str(key) for key in attributions]
    row_names = judging.labels("row_titles", row_titles, count, "volume(s)")
    row_names = row_names or ["input" if count == 1 else f"input {n}" for n in range(count)]
    maps = [
        judging.maps_of(f"attributions[{k!r}]", v, batch.shape) for k, v in attributions.items()
    ]
    heats = [heat_of(one, (depth, height, width), sign, interpolate_mode) for one in maps]
    scales = shared_scales(heats, scale, outlier_perc)
    panels = [
        normalised(heat, shared, sign).cpu().numpy()
        for heat, shared in zip(heats, scales, strict=True)
    ]
    given = volumes if volumes.dim() == 5 else volumes[None]
    photos = to_rgb(given.flatten(2, 3), mean=mean, std=std)  # stretched as wholes
    photos = photos.reshape(count, depth, height, width, 3)
    strongest = sum(np.nan_to_num(np.abs(panel)).sum((2, 3)) for panel in panels).argmax(1)
    if slices is None:
        strip = torch.linspace(0, depth - 1, min(STRIP, depth)).round().long().tolist()
        drawn = [[int(most), *strip] for most in strongest]
    else:
        drawn = [judging.chosen("slices", slices, depth)] * count

    above, below, beside = [], [], []
    for n in range(count):
        texts = [f"slice {place}" for place in drawn[n]]
        texts[0] += ", the strongest" if slices is None else ""
        above += [texts, *[[""] * len(texts)] * len(heats)]
        notes = [remarks(heat, sign)[n] for heat in heats]
        notes = style.with_full_color(notes, scales) if scale == "column" else notes
        below += [[note, *[""] * (len(texts) - 1)] for note in ["", *notes]]
        beside += [row_names[n], *names]
    with_bar = show_colorbar and style.has_colors
    sheet = Sheet(
        rows=len(above),
        columns=len(above[0]),
        panel=layout.panel_size((height, width), CELL_INCHES),
        gap=0.06,
        note=style.note(scale, SCALE_WORDS),
        fig_size=fig_size,
        left=layout.side_room(),
        right=layout.BAR_ROOM if with_bar else layout.EDGE,
    )
    figure, axes = sheet.draw(above, below, use_pyplot, label_size=7.0)
    for n in range(count):
        first = n * (1 + len(heats))
        for column, place in enumerate(drawn[n]):
            draw_picture(axes[first, column], photos[n, place])
            for row, panel in enumerate(panels, first + 1):
                style.draw(axes[row, column], photos[n, place], panel[n, place])
    for row, text in enumerate(beside):
        layout.label_left(figure, axes[row, 0], text)
    if with_bar:
        style.shared_bar(figure, axes[1:, -1], scale, scales)
    return figure, axes
