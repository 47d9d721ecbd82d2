"""A table of scores whose cells are coloured between chance and the best."""

import math
from collections.abc import Collection, Mapping

from matplotlib import colormaps
from matplotlib.figure import Figure

from captum_cnn_ext.render.drawing import layout
from captum_cnn_ext.render.drawing.layout import AxesGrid

ROW, COLUMN, NAMES, COST = 0.2, 1.0, 3.4, 0.8  # inches
DARK = 0.62  # from here on, text is white


def show_score_table(
    scores: Mapping[str, Mapping[str, float]],
    *,
    cost: Mapping[str, float],
    chance: Mapping[str, float],
    best: Mapping[str, float],
    marked: Collection[tuple[str, str]] = (),
    grey: Collection[str] = (),
    cost_label: str = "passes",
    title: str = "",
    note: str = "",
    use_pyplot: bool = False,
) -> tuple[Figure, AxesGrid]:
    """Draw a row for each method and a column for each task.

    A cell is white at chance, dark blue at the best that is possible, red below chance.

    Args:
        scores: of each row, by column; a column that is missing stays empty.
        cost: of each row, written beside it.
        chance: of each column: where it is white; 0 where not given.
        best: of each column: where it is dark; 1 where not given.
        marked: (row, column) of cells in bold.
        grey: rows whose names are grey and slanted.
        cost_label: over the costs.
        title: over the table.
        note: under it.
        use_pyplot: make the figure through pyplot, for `pyplot.show()`.

    Returns:
        the figure and its axes (1, 1).

    Raises:
        ValueError: no rows, or no columns.

    Example:
        >>> from captum_cnn_ext.render import show_score_table
        >>> figure, axes = show_score_table(
        ...     {"a": {"find": 0.8}, "b": {"find": 0.3}}, cost={"a": 2.0, "b": 9.0},
        ...     chance={"find": 0.1}, best={"find": 1.0}, marked=[("a", "find")])
        >>> axes.shape
        (1, 1)
    """
    names = list(dict.fromkeys(name for row in scores.values() for name in row))
    if not names:
        raise ValueError(f"scores: expected rows with columns, got {dict(scores)!r}")
    top, bottom = 0.35 + 0.35 * bool(title), 0.55 * bool(note) + 0.1
    size = NAMES + COST + COLUMN * len(names), top + bottom + ROW * len(scores)
    figure = layout.new_figure(size, use_pyplot)
    axes = figure.subplots(
        1, 1, squeeze=False,
        gridspec_kw={"left": (NAMES + COST) / size[0], "right": 0.995,
                     "bottom": bottom / size[1], "top": 1 - top / size[1]},
    )  # fmt: skip
    axis = axes[0, 0]
    axis.set_xlim(0, len(names))
    axis.set_ylim(len(scores), 0)
    for y, (row, values) in enumerate(scores.items()):
        style = {"color": "0.45", "style": "italic"} if row in grey else {}
        axis.text(-COST / COLUMN - 0.08, y + 0.5, row, ha="right", va="center",
                  fontsize=layout.NOTE_SIZE, parse_math=False, **style)  # fmt: skip
        axis.text(-0.08, y + 0.5, f"{cost[row]:,.0f}", ha="right", va="center",
                  fontsize=layout.NOTE_SIZE, color="0.35")  # fmt: skip
        for x, name in enumerate(names):
            if name not in values or math.isnan(values[name]):
                continue
            low, high = chance.get(name, 0.0), best.get(name, 1.0)
            share = (values[name] - low) / ((high - low) or 1)
            shown = colormaps["Blues" if share >= 0 else "Reds"](min(abs(share), 1.0) * 0.95)
            axis.fill([x, x + 1, x + 1, x], [y, y, y + 1, y + 1], color=shown, linewidth=0)
            axis.text(x + 0.5, y + 0.52, f"{values[name]:.2f}", ha="center", va="center",
                      fontsize=layout.NOTE_SIZE, color="white" if abs(share) > DARK else "0.1",
                      weight="bold" if (row, name) in marked else "normal")  # fmt: skip
    axis.set_xticks([x + 0.5 for x in range(len(names))], names, fontsize=layout.LABEL_SIZE)
    axis.xaxis.tick_top()
    axis.tick_params(length=0, labelrotation=0)
    axis.set_yticks([])
    axis.vlines(range(1, len(names)), 0, len(scores), color="white", linewidth=1.5)
    axis.hlines(range(1, len(scores)), 0, len(names), color="white", linewidth=0.6)
    axis.spines[:].set_visible(False)
    axis.text(-0.08, -0.45, cost_label, ha="right", va="center", fontsize=layout.NOTE_SIZE,
              color="0.35")  # fmt: skip
    if title:
        figure.suptitle(title, fontsize=layout.TITLE_SIZE, x=0.5, y=1 - 0.12 / size[1], va="top")
    if note:
        figure.text(0.5, 0.12 / size[1], note, ha="center", va="bottom", fontsize=layout.NOTE_SIZE)
    return figure, axes
