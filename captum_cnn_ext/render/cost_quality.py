"""Cost against quality of methods, and curves of scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from captum_cnn_ext.render.drawing import layout
from captum_cnn_ext.render.drawing.layout import AxesGrid

Interval = tuple[float, float, float]  # mean, low, high
PANEL = (4.6, 4.4)
LEGEND_INCHES = 2.7
MARKERS = "osD^v"
LEAST_SPAN = 3.0  # of costs, to either side: small differences stay small


def show_cost_quality(
    cost: Mapping[str, float],
    quality: Mapping[str, Mapping[str, Interval]],
    *,
    controls: Sequence[str] = (),
    cost_label: str = "cost of one map, in forward passes",
    title: str = "",
    use_pyplot: bool | None = None,
) -> tuple[Figure, AxesGrid]:
    """Draw a panel for each quality: methods by cost (logarithmic) and mean with interval.

    Controls, which know nothing of the network, are lines across the panel with their interval as
    a band: what does not clear them is not worth its cost.

    Args:
        cost: of each method, above 0.
        quality: by the panel's name, each method's mean and the ends of its interval.
        controls: methods that are drawn as lines.
        cost_label: under the panels.
        title: over them.
        use_pyplot: make the figure through pyplot, which shows it under a notebook's cell; None
            does so in notebooks only.

    Returns:
        the figure and its axes (1, panels).

    Raises:
        ValueError: no methods, or a cost that is not above 0.

    Example:
        >>> from captum_cnn_ext.render import show_cost_quality
        >>> figure, axes = show_cost_quality(
        ...     {"a": 1.0, "b": 30.0, "random": 0.1},
        ...     {"insertion": {"a": (.4, .3, .5), "b": (.6, .5, .7), "random": (.2, .1, .3)}},
        ...     controls=["random"])
        >>> axes.shape
        (1, 1)
    """
    if not cost or not quality or not all(value > 0 for value in cost.values()):
        raise ValueError(f"cost: expected methods with costs above 0, got {dict(cost)!r}")
    width = PANEL[0] * len(quality) + LEGEND_INCHES
    figure = layout.new_figure((width, PANEL[1]), use_pyplot)
    share = LEGEND_INCHES / width
    axes = figure.subplots(
        1, len(quality), squeeze=False,
        gridspec_kw={"left": 0.07, "right": 1 - share, "bottom": 0.13, "top": 0.86, "wspace": 0.22},
    )  # fmt: skip
    methods = sorted((m for m in cost if m not in controls), key=cost.__getitem__)
    colors = colormaps["tab20"].colors  # type: ignore[attr-defined]
    handles: list[Line2D] = []
    for axis, (name, values) in zip(axes.flat, quality.items(), strict=True):
        handles = []
        for number, control in enumerate(controls):
            mean, low, high = values[control]
            style: dict[str, Any] = {"color": "0.35", "linestyle": ("--", ":", "-.")[number % 3]}
            axis.axhspan(low, high, color="0.5", alpha=0.12, linewidth=0)
            axis.axhline(mean, **style)
            handles.append(Line2D([], [], label=f"{control} (control)", **style))
        for number, method in enumerate(methods):
            mean, low, high = values[method]
            mark: dict[str, Any] = {
                "color": colors[number % 20],
                "marker": MARKERS[number % len(MARKERS)],
            }
            axis.errorbar(
                cost[method], mean, yerr=[[mean - low], [high - mean]], elinewidth=1, markersize=6,
                markeredgecolor="0.2", markeredgewidth=0.5, **mark,
            )  # fmt: skip
            handles.append(
                Line2D([], [], linestyle="", label=method, markeredgecolor="0.2",
                       markeredgewidth=0.5, **mark)
            )  # fmt: skip
        axis.set_xscale("log")
        drawn = [cost[method] for method in methods] or [1.0]
        decades = np.log10(max(drawn) / min(drawn))
        middle, half = (max(drawn) * min(drawn)) ** 0.5, max(10 ** (decades / 2) * 1.3, LEAST_SPAN)
        axis.set_xlim(middle / half, middle * half)
        marked = (1.0, 2.0, 5.0) if decades < 2 else (1.0,)
        axis.xaxis.set_major_locator(LogLocator(subs=marked, numticks=20))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())  # whose labels would lie on one another
        axis.set_title(name, fontsize=layout.TITLE_SIZE)
        axis.set_xlabel(cost_label, fontsize=layout.LABEL_SIZE)
        axis.tick_params(labelsize=layout.NOTE_SIZE)
        axis.grid(color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
    figure.legend(
        handles=handles, loc="center left", bbox_to_anchor=(1 - share + 0.01, 0.5), frameon=False,
        fontsize=layout.NOTE_SIZE, title="cheapest first", title_fontsize=layout.NOTE_SIZE,
    )  # fmt: skip
    if title:
        figure.suptitle(title, fontsize=layout.TITLE_SIZE, x=(1 - share) / 2 + 0.03, y=0.97)
    return figure, axes


def show_curves(
    curves: Mapping[str, Any],
    *,
    label: str = "score",
    xlabel: str = "share of pixels changed",
    title: str = "",
    use_pyplot: bool | None = None,
) -> tuple[Figure, AxesGrid]:
    """Draw mean curves over images, each with a band of the middle half of the images.

    Args:
        curves: by name, anything with `fractions` (S,) and `scores` (N, S), such as
            `metrics.Curve`.
        label: of the vertical axis.
        xlabel: of the horizontal axis.
        title: over the panel.
        use_pyplot: make the figure through pyplot, which shows it under a notebook's cell; None
            does so in notebooks only.

    Returns:
        the figure and its axes (1, 1).

    Raises:
        ValueError: no curves.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.metrics import Curve
        >>> from captum_cnn_ext.render import show_curves
        >>> curve = Curve(torch.linspace(0, 1, 5), torch.rand(3, 5))
        >>> figure, axes = show_curves({"insertion": curve})
        >>> axes.shape
        (1, 1)
    """
    if not curves:
        raise ValueError("curves: expected one or more, got none")
    figure = layout.new_figure((5.6, 4.0), use_pyplot)
    axes = figure.subplots(
        1, 1, squeeze=False, gridspec_kw={"left": 0.12, "right": 0.96, "bottom": 0.14, "top": 0.9}
    )
    axis, colors = axes[0, 0], colormaps["tab10"].colors  # type: ignore[attr-defined]
    for number, (name, curve) in enumerate(curves.items()):
        x = curve.fractions.detach().cpu().numpy()
        scores = curve.scores.detach().cpu().double().numpy()
        low, high = np.quantile(scores, [0.25, 0.75], axis=0)
        color = colors[number % 10]
        axis.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        axis.plot(x, scores.mean(0), color=color, label=f"{name} (area {_area(x, scores):.3f})")
    axis.set_xlim(0, 1)
    axis.set_xlabel(xlabel, fontsize=layout.LABEL_SIZE)
    axis.set_ylabel(label, fontsize=layout.LABEL_SIZE)
    axis.tick_params(labelsize=layout.NOTE_SIZE)
    axis.grid(color="0.9", linewidth=0.6)
    axis.legend(fontsize=layout.NOTE_SIZE, frameon=False)
    if title:
        axis.set_title(title, fontsize=layout.TITLE_SIZE)
    return figure, axes


def _area(x: Any, scores: Any) -> float:
    mean = scores.mean(0)
    return float(((mean[1:] + mean[:-1]) / 2 * np.diff(x)).sum())
