"""Attributions along signals: lines with the attribution as a band of colour behind them."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from torch import Tensor

from captum_cnn_ext.errors import choose
from captum_cnn_ext.render.drawing import judging, layout, wording
from captum_cnn_ext.render.drawing.heat import heat_of, normalised, shared_scales
from captum_cnn_ext.render.drawing.images import per_channel, to_rgb
from captum_cnn_ext.render.drawing.layout import AxesGrid, Sheet
from captum_cnn_ext.render.drawing.panel import SCALE_WORDS, PanelStyle

MOST_LINES = 8  # more channels are drawn as an image
WIDTH_INCHES = 3.6
LINE_INCHES = 0.5  # height of one channel among several
LEAST_INCHES = 1.0
BAND_POINTS = 6.0
NAME_SIZE = 6.5
ROOM = 1.15  # of a channel, in heights of the tallest


def show_signals(
    signals: Tensor,
    attributions: Mapping[str, Tensor],
    *,
    channel_names: Sequence[str] | None = None,
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
    """Draw attributions of signals: one row per signal, one column per method.

    Up to 8 channels are lines one above another, all on one scale, with the attribution as a band
    of colour along each; more are an image, a row for each channel. An attribution with as many
    channels as the signal colours each by its own, any other is summed over its channels.

    Args:
        signals: (N, C, L) or (C, L).
        attributions: name of the method -> (N, C or 1, l) of any resolution.
        channel_names: beside each channel, such as ["I", "II", "III"]; default the numbers of
            lines.
        mean, std: what the preprocessing subtracted and divided by, per channel.
        titles: column titles instead of the names in `attributions`.
        row_titles: one text per signal, written beside it.
        method: "blended_heat_map" (lines, or the heat over a grey image of the signal),
            "heat_map" (an image of the heat alone) or "masked_image".
        sign, outlier_perc, interpolate_mode, scale, alpha_overlay: as in `show_attributions`.
        cmap: colour map; default Reds behind lines and inferno in images, for sign "all" RdBu_r.
        show_colorbar: add a colour bar beside the first row.
        fig_size: width and height in inches.
        use_pyplot: make the figure through pyplot, which shows it under a notebook's cell; None
            does so in notebooks only.

    Returns:
        the figure and its axes, (N, methods).

    Raises:
        TypeError: `attributions` is no mapping, or something in it no real tensor.
        ValueError: a shape, a count, a name or a number that does not fit; the text says which.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.render import show_signals
        >>> maps = {"Grad-CAM": torch.rand(2, 1, 32), "Saliency": torch.rand(2, 3, 256)}
        >>> figure, axes = show_signals(torch.randn(2, 3, 256), maps, channel_names=["x", "y", "z"])
        >>> axes.shape
        (2, 2)
    """
    batch = judging.real_tensor("signals", signals)
    batch = batch[None] if batch.dim() == 2 else batch
    if batch.dim() != 3:
        raise ValueError(
            f"signals: got shape {tuple(signals.shape)}, expected (N, C, L) or (C, L); "
            "show_attributions draws images and volumes"
        )
    count, channels, length = batch.shape
    lines = method == "blended_heat_map" and channels <= MOST_LINES
    on_white = "Reds" if lines and cmap is None and sign != "all" else cmap
    style = PanelStyle(method, sign, outlier_perc, interpolate_mode, alpha_overlay, on_white)
    choose("scale", scale, tuple(SCALE_WORDS))
    judging.named_tensors("attributions", attributions)
    names = judging.labels("titles", titles, len(attributions), "method(s)")
    row_names = judging.labels("row_titles", row_titles, count, "signal(s)")
    beside = judging.labels("channel_names", channel_names, channels, "channel(s)")
    if beside is None and lines and channels > 1:
        beside = [str(number) for number in range(channels)]
    heats = []
    for key, value in attributions.items():
        maps = judging.maps_of(f"attributions[{key!r}]", value, batch.shape)
        maps = maps if maps.shape[1] == channels else maps.sum(1, keepdim=True)
        heats.append(heat_of(maps[:, None], (channels, length), sign, interpolate_mode))
    scales = shared_scales(heats, scale, outlier_perc)
    drawn = judging.finite_or_zero(batch)
    if std is not None:
        drawn = drawn * per_channel("std", std, batch)
    if mean is not None:
        drawn = drawn + per_channel("mean", mean, batch)
    greys = to_rgb(_stretched(drawn)[:, None])

    with_bar = show_colorbar and style.has_colors
    room = max((wording.text_width(name, NAME_SIZE) for name in beside or []), default=0.0)
    sheet = Sheet(
        rows=count,
        columns=len(heats),
        panel=(WIDTH_INCHES, max(LEAST_INCHES, LINE_INCHES * min(channels, MOST_LINES / 2 + 1))),
        gap=0.12,
        note=style.note(scale) + (" Channels on one scale." if lines and channels > 1 else ""),
        fig_size=fig_size,
        left=(layout.side_room() if row_names else layout.EDGE) + room + 0.05 * bool(room),
        right=layout.BAR_ROOM if with_bar else layout.EDGE,
    )
    above, below = style.texts(names or list(map(str, attributions)), heats, scale, scales)
    figure, axes = sheet.draw(above, below, use_pyplot)
    for column, (heat, shared) in enumerate(zip(heats, scales, strict=True)):
        panels = normalised(heat, shared, sign).cpu().numpy()
        for row in range(count):
            cell = axes[row, column]
            if lines:
                places = _draw_lines(cell, drawn[row].cpu().numpy(), panels[row], style)
            else:
                places = list(range(channels))
                style.draw(cell, greys[row], panels[row])
                cell.set_aspect("auto")
            if beside is not None and column == 0:
                cell.set_yticks(places, labels=beside, fontsize=NAME_SIZE)
                cell.tick_params(axis="y", length=0, pad=2)
    for row, text in enumerate(row_names or []):
        layout.label_left(figure, axes[row, 0], text)
    if with_bar:
        style.shared_bar(figure, axes[:, -1], scale, scales)
    return figure, axes


def _stretched(signals: Tensor) -> Tensor:
    """Each signal (C, L) of a batch from its minimum, 0, to its maximum, 1."""
    low, high = signals.amin((1, 2), keepdim=True), signals.amax((1, 2), keepdim=True)
    return (signals - low) / (high - low).clamp_min(1e-30)


def _draw_lines(
    axes: Axes, signal: npt.NDArray[np.float32], heat: npt.NDArray[np.float32], style: PanelStyle
) -> Sequence[float]:
    """One line (L,) for each channel, the first at the top; returns where each has its middle."""
    low, high = signal.min(1), signal.max(1)
    step = float((high - low).max()) * ROOM or 1.0
    middles = [-channel * step for channel in range(len(signal))]
    heights = signal - ((low + high) / 2 - np.array(middles))[:, None]
    place = np.arange(signal.shape[1], dtype=np.float64)
    before = np.maximum(place - 0.5, 0)  # a piece of line around each position
    after = np.minimum(place + 0.5, place[-1])
    pieces = [
        np.stack([[x, np.interp(x, place, line)] for x in (before, place, after)]).transpose(
            2, 0, 1
        )
        for line in heights
    ]
    bands = LineCollection(
        list(np.concatenate(pieces)), linewidths=BAND_POINTS, cmap=style.colors, antialiaseds=False
    )
    bands.set_array(np.ma.masked_invalid(heat.reshape(-1)))
    bands.set_clim(*style.limits)
    axes.add_collection(bands)
    for line in heights:
        axes.plot(place, line, color="0.15", linewidth=0.7)
    axes.set_xlim(-0.5, len(place) - 0.5)
    axes.set_ylim(middles[-1] - step * 0.58, step * 0.58)
    return middles
