"""Attributions over the images they explain."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from torch import Tensor

from captum_cnn_ext.errors import choose
from captum_cnn_ext.render.drawing import judging, layout, wording
from captum_cnn_ext.render.drawing.heat import (
    heat_of,
    normalised,
    outlier_scale,
    remarks,
    shared_scales,
)
from captum_cnn_ext.render.drawing.images import to_rgb
from captum_cnn_ext.render.drawing.layout import AxesGrid, Sheet
from captum_cnn_ext.render.drawing.panel import HEAT_METHODS, SCALE_WORDS, PanelStyle, draw_picture
from captum_cnn_ext.render.signals import show_signals
from captum_cnn_ext.render.volumes import show_volumes

PANEL_INCHES = 2.0


def overlay(
    image: Any,
    attribution: Any,
    *,
    method: str = "blended_heat_map",
    sign: str = "positive",
    alpha_overlay: float = 0.5,
    cmap: str | Colormap | None = None,
    outlier_perc: float = 2,
    interpolate_mode: str = "bilinear",
    mean: Sequence[float] | Tensor | None = None,
    std: Sequence[float] | Tensor | None = None,
    show_colorbar: bool = False,
    title: str | None = None,
    boxes: Any = None,
    fig_size: tuple[float, float] = (4, 4),
    plt_fig_axis: tuple[Figure, Axes] | None = None,
    use_pyplot: bool | None = None,
) -> tuple[Figure, Axes]:
    """Draw one attribution over the image it explains.

    The attribution is summed over its channels, brought to the size of the image, reduced to
    `sign` and divided by its scale: the magnitude at which the sorted magnitudes sum up to
    (100 - outlier_perc) % of their total, as in Captum. Full colour is this scale and beyond.
    Values that are not finite are magenta; a remark under the picture counts them, or says
    that there is nothing to see.

    Args:
        image: (C, H, W) or (1, C, H, W); `to_rgb` says how it becomes colour. A
            PIL image, or a NumPy array, which may be (H, W, C) and of bytes.
        attribution: (h, w), (C, h, w) or (1, C, h, w) of any resolution; a tensor or an array.
        method: "blended_heat_map" (over the grey image), "heat_map", "masked_image" (image times
            attribution) or "original_image".
        sign: "positive", "negative", "absolute_value" or "all" (positive red, negative blue).
        alpha_overlay: opacity of the heat in a blended heat map, 0 to 1.
        cmap: colour map; default inferno, for sign "all" RdBu_r.
        outlier_perc: share of the total attribution beyond full colour, 0 up to 100.
        interpolate_mode: mode of `torch.nn.functional.interpolate`.
        mean, std: what the preprocessing subtracted and divided by, per channel.
        show_colorbar: add a colour bar with the attribution's own numbers.
        title: text above; long text is wrapped.
        boxes: what is outlined: boxes (K, 4) as left, top, right, bottom in the image's pixels,
            one box, or None.
        fig_size: width and height in inches.
        plt_fig_axis: draw into this figure and axes instead of a new figure; a colour bar goes
            to the right of the axes, into room that you leave there.
        use_pyplot: make the figure through pyplot, which shows it under a notebook's cell; None
            does so in notebooks only.

    Returns:
        the figure and its axes.

    Raises:
        TypeError: `image` or `attribution` is no real tensor, array or picture.
        ValueError: a shape, a name or a number that does not fit; the text says which.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.render import overlay
        >>> figure, axes = overlay(torch.rand(3, 8, 8), torch.eye(2), title="diagonal")
        >>> len(axes.images)  # the grey image and the heat above it
        2
    """
    methods = (*HEAT_METHODS, "original_image")
    style = PanelStyle(
        method, sign, outlier_perc, interpolate_mode, alpha_overlay, cmap, methods=methods
    )
    image, attribution = judging.array_picture(image), judging.array_tensor(attribution)
    picture = judging.one_picture("image", image)
    maps = judging.map_batch("attribution", attribution, picture)
    height, width = picture.shape[-2:]
    heat = heat_of(maps, (height, width), sign, interpolate_mode)
    scale = outlier_scale(heat.values.flatten(1), outlier_perc)
    photo = to_rgb(image, mean=mean, std=std).reshape(height, width, 3)
    (outlines,) = judging.box_lists("boxes", [boxes], 1)
    remark = "" if method == "original_image" else remarks(heat, sign)[0]

    with_bar = show_colorbar and style.has_colors
    if plt_fig_axis is None:
        right = layout.BAR_ROOM if with_bar else layout.EDGE
        sheet = Sheet(1, 1, panel=fig_size, gap=0, fig_size=fig_size, right=right)
        figure, grid = sheet.draw([[title or ""]], [[remark]], use_pyplot)
        axes: Axes = grid[0, 0]
    else:
        figure, axes = plt_fig_axis
        room = axes.get_position().width * figure.get_size_inches()[0]
        layout.bare(axes)
        layout.label(
            axes,
            wording.wrap(title or "", layout.LABEL_SIZE, room),
            wording.wrap(remark, layout.NOTE_SIZE, room),
        )
    style.draw(axes, photo, normalised(heat, scale, sign)[0].cpu().numpy())
    style.draw_boxes(axes, outlines)
    if with_bar:
        style.color_bar(figure, [axes], scale.item())
    return figure, axes


def overlay_pixels(
    image: Tensor,
    attribution: Tensor,
    *,
    sign: str = "positive",
    alpha_overlay: float = 0.5,
    cmap: str | Colormap | None = None,
    outlier_perc: float = 2,
    interpolate_mode: str = "bilinear",
    mean: Sequence[float] | Tensor | None = None,
    std: Sequence[float] | Tensor | None = None,
) -> npt.NDArray[np.float32]:
    """What `overlay` draws as a blended heat map, a pixel for each pixel of the image.

    For pictures of any size that are to be kept: no figure, no axes, no resampling.

    Args:
        image: as in `overlay`, and so is every other argument.

    Returns:
        float32 array in [0, 1], (H, W, 3).

    Raises:
        TypeError, ValueError: as in `overlay`.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.render import overlay_pixels
        >>> overlay_pixels(torch.rand(3, 8, 8), torch.eye(2)).shape
        (8, 8, 3)
    """
    style = PanelStyle(
        "blended_heat_map", sign, outlier_perc, interpolate_mode, alpha_overlay, cmap
    )
    picture = judging.one_picture("image", image)
    maps = judging.map_batch("attribution", attribution, picture)
    height, width = picture.shape[-2:]
    heat = heat_of(maps, (height, width), sign, interpolate_mode)
    scale = outlier_scale(heat.values.flatten(1), outlier_perc)
    photo = to_rgb(image, mean=mean, std=std).reshape(height, width, 3)
    shown = normalised(heat, scale, sign)[0].cpu().numpy()
    low, high = style.limits
    colors = style.colors(np.ma.masked_invalid((shown - low) / (high - low)))[..., :3]
    grey = photo.mean(2, keepdims=True)
    blended: npt.NDArray[np.float32] = (1 - alpha_overlay) * grey + alpha_overlay * colors
    return blended.astype(np.float32)


def show_attributions(
    images: Tensor,
    attributions: Mapping[str, Tensor],
    *,
    mean: Sequence[float] | Tensor | None = None,
    std: Sequence[float] | Tensor | None = None,
    titles: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    boxes: Sequence[Any] | None = None,
    method: str = "blended_heat_map",
    sign: str = "positive",
    outlier_perc: float = 2,
    interpolate_mode: str = "bilinear",
    scale: str = "panel",
    cmap: str | Colormap | None = None,
    alpha_overlay: float = 0.5,
    show_original: bool = True,
    show_colorbar: bool = True,
    fig_size: tuple[float, float] | None = None,
    use_pyplot: bool | None = None,
) -> tuple[Figure, AxesGrid]:
    """Draw several attributions of several images: one row per image, one column per method.

    Signals (N, C, L) and volumes or videos (N, C, D, H, W) are drawn by `show_signals` and
    `show_volumes`. One or three signals would be read as one picture (C, H, W): call
    `show_signals` itself.

    Panels are made as in `overlay`. The line under the picture says in words which values are
    full colour: with `scale` "panel" each panel has its own (strengths cannot be compared
    between panels), with "column" the panels of a method share one, with "figure" all do.

    Args:
        images: (N, C, H, W) or (C, H, W); `to_rgb` says how they become colour. Or PIL images or
            NumPy arrays, one or a list of one size, which may be (H, W, C) and of bytes.
        attributions: name of the method -> (N, C, h, w) of any resolution.
        mean, std: what the preprocessing subtracted and divided by, per channel.
        titles: column titles instead of the names in `attributions`.
        row_titles: one text per image, such as "Egyptian cat 0.38", written over its photo.
        boxes: for each image what is outlined: boxes (K, 4) as left, top, right, bottom in its
            pixels, such as a detector's, one box, or None.
        method: "blended_heat_map", "heat_map" or "masked_image".
        sign: "positive", "negative", "absolute_value" or "all" (positive red, negative blue).
        outlier_perc: share of the total attribution beyond full colour, 0 up to 100.
        interpolate_mode: mode of `torch.nn.functional.interpolate`.
        scale: "panel", "column" or "figure".
        cmap: colour map; default inferno, for sign "all" RdBu_r.
        alpha_overlay: opacity of the heat in a blended heat map, 0 to 1.
        show_original: begin each row with its image in colour.
        show_colorbar: add a colour bar beside the first row.
        fig_size: width and height in inches; default 2-inch panels.
        use_pyplot: make the figure through pyplot, which shows it under a notebook's cell; None
            does so in notebooks only.

    Returns:
        the figure and its axes, (N, methods), or (N, 1 + methods) with the original images.

    Raises:
        TypeError: `attributions` is no mapping, or something in it no real tensor.
        ValueError: a shape, a count, a name or a number that does not fit; the text says which.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.render import show_attributions
        >>> maps = {"Grad-CAM": torch.rand(2, 1, 7, 7), "Saliency": torch.rand(2, 3, 32, 32)}
        >>> figure, axes = show_attributions(torch.rand(2, 3, 32, 32), maps)
        >>> axes.shape
        (2, 3)
    """
    style = PanelStyle(method, sign, outlier_perc, interpolate_mode, alpha_overlay, cmap)
    choose("scale", scale, tuple(SCALE_WORDS))
    images = judging.array_pictures(images)
    if isinstance(images, Tensor) and images.dim() in (3, 5):
        alike = images.dim() == 3 and len(images) in judging.CHANNEL_COUNTS  # one picture
        if not alike:
            draw = show_signals if images.dim() == 3 else show_volumes
            return draw(
                images, attributions, mean=mean, std=std, titles=titles, row_titles=row_titles,
                method=method, sign=sign, outlier_perc=outlier_perc, scale=scale, cmap=cmap,
                interpolate_mode=interpolate_mode, alpha_overlay=alpha_overlay,
                show_colorbar=show_colorbar, fig_size=fig_size, use_pyplot=use_pyplot,
            )  # fmt: skip
    pictures = judging.picture_batch("images", images)
    count, _, height, width = pictures.shape
    judging.named_tensors("attributions", attributions)
    names = judging.labels("titles", titles, len(attributions), "method(s)")
    row_names = judging.labels("row_titles", row_titles, count, "image(s)")
    outlines = judging.box_lists("boxes", boxes, count)
    heats = []
    for key, value in attributions.items():
        given = judging.array_tensor(value)
        maps = judging.map_batch(f"attributions[{key!r}]", given, pictures)
        heats.append(heat_of(maps, (height, width), sign, interpolate_mode))
    scales = shared_scales(heats, scale, outlier_perc)
    photos = to_rgb(images, mean=mean, std=std).reshape(count, height, width, 3)

    above, below = style.texts(names or list(map(str, attributions)), heats, scale, scales)
    if show_original:
        first = row_names or ["input"] + [""] * (count - 1)
        above = [[text, *row] for text, row in zip(first, above, strict=True)]
        below = [["", *row] for row in below]
    with_bar = show_colorbar and style.has_colors
    beside = row_names if row_names and not show_original else None
    sheet = Sheet(
        rows=count,
        columns=len(above[0]),
        panel=(PANEL_INCHES, PANEL_INCHES * height / width),
        gap=0.1,
        note=style.note(scale),
        fig_size=fig_size,
        left=layout.side_room() if beside else layout.EDGE,
        right=layout.BAR_ROOM if with_bar else layout.EDGE,
    )
    figure, axes = sheet.draw(above, below, use_pyplot)
    for column, (heat, shared) in enumerate(zip(heats, scales, strict=True), int(show_original)):
        panels = normalised(heat, shared, sign).cpu().numpy()
        for row in range(count):
            style.draw(axes[row, column], photos[row], panels[row])
            style.draw_boxes(axes[row, column], outlines[row])
    for row in range(count):
        if show_original:
            draw_picture(axes[row, 0], photos[row])
            style.draw_boxes(axes[row, 0], outlines[row])
        if beside:
            layout.label_left(figure, axes[row, 0], beside[row])
    if with_bar:
        style.shared_bar(figure, axes[:, -1], scale, scales)
    return figure, axes
