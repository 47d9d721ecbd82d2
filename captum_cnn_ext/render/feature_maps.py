"""Activations of a layer as a grid of maps."""

from collections.abc import Sequence

import torch
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from torch import Tensor

from captum_cnn_ext._numbers import as_count_or_none
from captum_cnn_ext.errors import choose
from captum_cnn_ext.render.drawing import judging, layout, wording
from captum_cnn_ext.render.drawing.images import full_colors
from captum_cnn_ext.render.drawing.layout import AxesGrid
from captum_cnn_ext.render.drawing.panel import draw_picture

SORTS = ("index", "max", "mean", "norm")
SCALES = ("map", "layer")
SCALE_NOTES = {  # by scale, and by whether any value of the layer is negative
    ("map", False): "each map from 0 to its own maximum",
    ("map", True): "each map on its own scale, 0 in the middle",
    ("layer", False): "all maps from 0 to the maximum of the layer",
    ("layer", True): "all maps on one scale, 0 in the middle",
}
CELL_INCHES = 1.0
LABEL_SIZE = 7.0


def show_feature_maps(
    maps: Tensor,
    *,
    channels: int | Sequence[int] | Tensor | None = None,
    first: int | None = 64,
    sort: str = "index",
    scale: str = "map",
    cmap: str | Colormap | None = None,
    title: str | None = None,
    show_titles: bool = True,
    fig_size: tuple[float, float] | None = None,
    use_pyplot: bool | None = None,
) -> tuple[Figure, AxesGrid]:
    """Draw the feature maps of one image in a grid, each with its channel and its maximum.

    Where no value of the layer is negative, colours go from 0 to the maximum of the map (or of
    the layer); otherwise they are centred on 0, and reach as far down as up. A constant map is
    titled "dead"; values that are not finite are magenta and counted in the title.

    Args:
        maps: (C, H, W) or (1, C, H, W), as a layer returns them.
        channels: which to draw, in this order; default the first `first` after sorting.
        first: most maps drawn when `channels` is not given; None for all.
        sort: "index" (as they come), or strongest first by "max", "mean" or "norm" (L2).
        scale: "map" gives each map its own scale, "layer" one to all, with a colour bar.
        cmap: colour map; default viridis, for signed maps RdBu_r.
        title: text above; default says how many of the channels are shown.
        show_titles: write channel and maximum over each map.
        fig_size: width and height in inches; default 1-inch cells.
        use_pyplot: make the figure through pyplot, which shows it under a notebook's cell; None
            does so in notebooks only.

    Returns:
        the figure and its axes (rows, columns) of a near-square grid; unused cells are blank.

    Raises:
        TypeError: `maps` is no real tensor, or a channel no integer.
        ValueError: more than one image, or a shape, a name or an index that does not fit.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.render import show_feature_maps
        >>> figure, axes = show_feature_maps(torch.rand(6, 7, 7), sort="max", first=4)
        >>> axes.shape, figure.get_suptitle()
        ((2, 2), '4 of 6 channels shown, by max')
    """
    choose("sort", sort, SORTS)
    choose("scale", scale, SCALES)
    first = as_count_or_none("first", first)
    layer = _one_image(maps)
    shown = _by_strength(layer, judging.chosen("channels", channels, len(layer)), sort)
    shown = shown[:first] if channels is None else shown
    finite = layer.isfinite()
    signed = bool((layer[finite] < 0).any())
    colors = judging.color_map("cmap", cmap, "RdBu_r" if signed else "viridis")
    colors = colors.with_extremes(bad=layout.MARK_COLOR)

    heading = wording.how_many(len(shown), len(layer), "channel")
    heading += f", by {sort}" if sort != "index" else ""
    note = ("channel: maximum; " if show_titles else "") + SCALE_NOTES[scale, signed]
    page = layout.headed(title, heading, note)
    page |= {"fig_size": fig_size}
    page |= {"right": layout.BAR_ROOM if scale == "layer" else layout.EDGE}
    texts = _titles(layer, shown) if show_titles else [""] * len(shown)
    figure, axes = layout.square_page(
        texts, LABEL_SIZE, CELL_INCHES, layer.shape[1:], page, use_pyplot
    )

    pictures = torch.where(finite, layer, float("nan"))[shown].cpu().numpy()
    tops = full_colors(layer, scale)[shown].tolist()
    for cell, picture, top in zip(axes.flat, pictures, tops, strict=False):
        draw_picture(cell, picture, cmap=colors, vmin=-top if signed else 0, vmax=top)
    if scale == "layer":
        layout.color_bar(figure, axes[:, -1], colors, -tops[0] if signed else 0.0, tops[0])
    return figure, axes


def _one_image(maps: Tensor) -> Tensor:
    layer = judging.real_tensor("maps", maps)
    if layer.dim() == 4 and layer.shape[0] == 1:
        layer = layer[0]
    if layer.dim() == 4:
        raise ValueError(f"maps: got {layer.shape[0]} images, expected one; pick maps[i]")
    if layer.dim() != 3:
        hint = {
            2: "; of a signal's layer draw maps[:, None]",
            5: "; of a volume's layer draw one slice, maps[0, :, d]",
        }.get(layer.dim(), "")
        raise ValueError(
            f"maps: got shape {tuple(maps.shape)}, expected (C, H, W) or (1, C, H, W){hint}"
        )
    return layer


def _by_strength(layer: Tensor, channels: list[int], sort: str) -> list[int]:
    if sort == "index":
        return channels
    values = judging.finite_or_zero(layer[channels]).flatten(1)
    strength = {
        "max": values.amax(1),
        "mean": values.mean(1),
        "norm": values.norm(dim=1),
    }[sort]
    return [channels[place] for place in strength.argsort(descending=True, stable=True).tolist()]


def _titles(layer: Tensor, channels: list[int]) -> list[str]:
    """Channel and maximum of each map, or why there is nothing to see in it."""
    picked = layer[channels]
    values = judging.finite_or_zero(picked).flatten(1)
    broken = (~picked.isfinite()).flatten(1).sum(1)
    constant = (values.amax(1) == values.amin(1)) & (broken == 0)
    if values.shape[1] == 1:  # a single pixel is always constant
        constant &= values[:, 0] == 0
    texts = []
    facts = torch.stack([values.amax(1), broken.to(values), constant.to(values)], 1).tolist()
    for channel, (top, missing, dead) in zip(channels, facts, strict=True):
        text = wording.number(top, 3)
        if dead:
            text = f"dead ({text})" if top else "dead"
        if missing:
            text = f"{missing:.0f} not finite"
        texts.append(f"{channel}: {text}")
    return texts
