"""Weights of a convolution as pictures."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from captum_cnn_ext._numbers import as_count_or_none
from captum_cnn_ext.errors import choose
from captum_cnn_ext.render.drawing import judging, layout, wording
from captum_cnn_ext.render.drawing.images import full_colors
from captum_cnn_ext.render.drawing.layout import AxesGrid, Sheet
from captum_cnn_ext.render.drawing.panel import draw_picture

SCALES = ("filter", "layer")
SCALE_NOTES = {"filter": "each filter on its own scale", "layer": "one scale for the layer"}
SIGNED_COLORS = "RdBu_r"
TILE_INCHES = 0.6
STRIP_INCHES = 7.0  # a strip of many tiles is about this long, until its tiles are smallest
SMALLEST_TILE = 0.17
NUMBER_INCHES = 0.3  # room that the number of an input channel takes
BORDER_COLOR = "0.45"  # between the tiles of a strip, darker than its frame
LABEL_SIZE = 7.0


def show_filters(
    weight: Tensor | Any,
    *,
    filters: int | Sequence[int] | Tensor | None = None,
    channels: int | Sequence[int] | Tensor | None = None,
    scale: str = "filter",
    first: int | None = 64,
    title: str | None = None,
    fig_size: tuple[float, float] | None = None,
    use_pyplot: bool | None = None,
) -> tuple[Figure, AxesGrid]:
    """Draw the filters of a convolution, 0 always in the middle of the colours.

    A layer on three channels shows each filter as an RGB tile (0 is grey, 1 or -1 times the
    scale is full or no light). A depthwise layer shows a grid of tiles, any other layer one
    strip per filter with a tile per input channel: positive red, negative blue, 0 white. The
    scale is the largest magnitude of the filter, or with `scale` "layer" of the layer.

    Args:
        weight: (out, in, height, width), or (out, in, length) drawn one pixel high, or a module
            with such a `weight`.
        filters: which filters to draw; default the first `first`.
        channels: which input channels to draw; default the first `first`. Naming channels of
            an RGB layer draws strips.
        scale: "filter" or "layer".
        first: most filters and most input channels drawn unless named; None for all.
        title: text above; default says how many of the filters are shown.
        fig_size: width and height in inches; default small tiles of fixed size.
        use_pyplot: make the figure through pyplot, which shows it under a notebook's cell; None
            does so in notebooks only.

    Returns:
        the figure and its axes: (rows, columns) of a near-square grid of tiles, unused cells
        blank; for strips (filters, 1), each strip an image (height, channels * width).

    Raises:
        TypeError: no tensor, or an index that is no integer.
        ValueError: a shape that is no 1-D or 2-D convolution's, a name or an index that does not
            fit.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.render import show_filters
        >>> figure, axes = show_filters(torch.nn.Conv2d(16, 8, 3), filters=[0, 5])
        >>> axes[0, 0].images[0].get_array().shape  # 16 slices side by side
        (3, 48)
    """
    choose("scale", scale, SCALES)
    first = as_count_or_none("first", first)
    kernel = _kernel(weight)
    rows = judging.chosen("filters", filters, kernel.shape[0])
    rows = rows[:first] if filters is None else rows
    slices = judging.chosen("channels", channels, kernel.shape[1])
    in_color = kernel.shape[1] == 3 and channels is None
    in_strips = not in_color and kernel.shape[1] > 1
    slices = slices[:first] if in_strips and channels is None else slices

    heading = wording.how_many(len(rows), kernel.shape[0], "filter")
    note = "grey is 0" if in_color else "positive red, 0 white, negative blue"
    if in_strips:
        heading += ", " + wording.how_many(len(slices), kernel.shape[1], "input channel")
        note = f"rows: filters, columns: input channels; {note}"
    with_bar = scale == "layer" and not in_color
    page = layout.headed(title, heading, f"{note}; {SCALE_NOTES[scale]}")
    page |= {"fig_size": fig_size, "right": layout.BAR_ROOM if with_bar else layout.EDGE}
    tiles = kernel[rows][:, slices]
    if in_strips:
        figure, cells = _strip_page(tiles, rows, slices, page, use_pyplot)
    else:
        names = [str(index) for index in rows]
        figure, cells = layout.square_page(
            names, LABEL_SIZE, TILE_INCHES, tiles.shape[2:], page, use_pyplot
        )

    tops = full_colors(kernel, scale)[rows]
    if in_color:
        _draw_in_color(cells, tiles, tops)
    else:
        _draw_signed(cells, tiles.movedim(1, 2).flatten(2), tops)
    if with_bar:
        layout.color_bar(
            figure, cells[:, -1], colormaps[SIGNED_COLORS], -tops[0].item(), tops[0].item()
        )
    return figure, cells


def _kernel(weight: Any) -> Tensor:
    """Return the weight as (out, in, height, width)."""
    tensor = weight if isinstance(weight, Tensor) else getattr(weight, "weight", weight)
    kernel = judging.real_tensor("weight", tensor)
    kernel = kernel.unsqueeze(2) if kernel.dim() == 3 else kernel
    if kernel.dim() != 4:
        raise ValueError(
            f"weight: got shape {tuple(kernel.shape)}, expected (out, in, height, width) "
            "or (out, in, length), the weight of a 2-D or 1-D convolution"
        )
    return kernel


def _strip_page(
    tiles: Tensor,
    filters: list[int],
    slices: list[int],
    page: dict[str, Any],
    use_pyplot: bool | None,
) -> tuple[Figure, AxesGrid]:
    """Make one empty strip per filter, its tiles numbered above the first strip."""
    count, (height, width) = len(slices), tiles.shape[2:]
    inches = min(max(STRIP_INCHES / count, SMALLEST_TILE), TILE_INCHES)
    tile_width, tile_height = layout.panel_size((height, width), inches)
    panel = (count * tile_width, tile_height)
    sheet = Sheet(len(filters), 1, panel, gap=0.04, left=0.4, head=0.2, **page)
    empty = [[""]] * len(filters)
    figure, cells = sheet.draw(empty, empty, use_pyplot)
    borders = np.arange(1, count) * width - 0.5
    for index, strip in zip(filters, cells[:, 0], strict=True):
        strip.vlines(borders, -0.5, height - 0.5, color=BORDER_COLOR, linewidth=0.7)
        style = {"rotation": 0, "ha": "right", "va": "center", "labelpad": 4}
        strip.set_ylabel(str(index), fontsize=LABEL_SIZE, **style)
    every = math.ceil(NUMBER_INCHES * count / sheet.panel_width)
    middles = [(place + 0.5) * width - 0.5 for place in range(0, count, every)]
    numbers = [str(index) for index in slices[::every]]
    cells[0, 0].xaxis.tick_top()
    cells[0, 0].set_xticks(middles, numbers, fontsize=LABEL_SIZE)
    cells[0, 0].tick_params(length=2, pad=1)
    return figure, cells


def _draw_in_color(cells: AxesGrid, tiles: Tensor, tops: Tensor) -> None:
    light = tiles / tops[:, None, None, None] / 2 + 0.5
    pictures = light.clamp(0, 1).movedim(1, -1).cpu().numpy()
    pictures[np.isnan(pictures).any(-1)] = to_rgb(layout.MARK_COLOR)
    for cell, picture in zip(cells.flat, pictures, strict=False):
        draw_picture(cell, picture)


def _draw_signed(cells: AxesGrid, pictures: Tensor, tops: Tensor) -> None:
    colors = colormaps[SIGNED_COLORS].with_extremes(bad=layout.MARK_COLOR)
    aspect = "auto" if pictures.shape[1] == 1 else "equal"
    for cell, picture, top in zip(cells.flat, pictures.cpu().numpy(), tops.tolist(), strict=False):
        draw_picture(cell, picture, cmap=colors, vmin=-top, vmax=top, aspect=aspect)
