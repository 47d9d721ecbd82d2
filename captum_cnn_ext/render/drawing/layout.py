"""Figures whose panels and texts are placed in inches, so that nothing overlaps."""

import io
import math
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from captum_cnn_ext._numbers import as_numbers
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.render.drawing.wording import LINE_SPACING, number, text_height, wrap

TITLE_SIZE = 11.0
LABEL_SIZE = 9.0
NOTE_SIZE = 7.5
NOTE_COLOR = "0.35"
FRAME_COLOR = "0.75"
MARK_COLOR = "#ff00ff"  # not finite: a colour that neither photos nor the colour maps use
EDGE = 0.12  # inches left free along each border
NOTE_GAP = 0.06  # inches between the panels and the note
SIDE_LINES = 3  # a text along the left side of a panel is cut after so many lines
BAR_ROOM = 0.75  # inches to the right of the panels for a colour bar and its numbers
BAR_INCHES = 1.2  # a colour bar is no lower than this where the panels leave room
SQUARE_INCHES = 5.0  # about the side of a grid of few panels
LARGEST_CELL = 2.0
MIN_WIDTH = 3.2  # inches; a narrower figure could not hold its own note
SMALLEST_PANEL = 0.1  # inches, where a given figure size leaves less
TEXT_STYLE: dict[str, Any] = {"parse_math": False, "linespacing": LINE_SPACING}

AxesGrid = npt.NDArray[Any]  # of Axes
Texts = Sequence[Sequence[str]]


class Picture(Figure):
    """A figure that a notebook shows, though pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def new_figure(fig_size: tuple[float, float], use_pyplot: bool | None) -> Figure:
    """Make an empty figure, outside pyplot's global list unless asked or in a notebook."""
    if not (in_notebook() if use_pyplot is None else use_pyplot):
        return Picture(figsize=fig_size)
    from matplotlib import pyplot

    return pyplot.figure(figsize=fig_size)


def in_notebook() -> bool:
    """Whether a notebook's cell runs this; pyplot is for the main thread alone."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and getattr(shell, "kernel", None) is not None


@dataclass(frozen=True)
class Sheet:
    """A page of equal panels in rows and columns; lengths in inches.

    panel: width and height of a panel, where `fig_size` does not decide them. left, right: room
    beside the panels. head: room over the first row. title, note: text at the top and at the
    bottom, wrapped to the figure.
    """

    rows: int
    columns: int
    panel: tuple[float, float]
    gap: float
    title: str = ""
    note: str = ""
    fig_size: tuple[float, float] | None = None
    left: float = EDGE
    right: float = EDGE
    head: float = 0.0

    def __post_init__(self) -> None:
        if self.fig_size is not None and len(as_numbers("fig_size", self.fig_size, above=0)) != 2:
            raise ArgumentError(f"fig_size={self.fig_size!r}: expected (width, height) in inches")

    @property
    def width(self) -> float:
        """Width of the figure."""
        if self.fig_size is not None:
            return self.fig_size[0]
        return max(MIN_WIDTH, self.left + self.right + self._across(self.panel[0]))

    @property
    def panel_width(self) -> float:
        """Width of a panel in this figure."""
        if self.fig_size is None:
            return self.panel[0]
        free = self.fig_size[0] - self.left - self.right - self._across(0)
        return max(SMALLEST_PANEL, free / self.columns)

    @property
    def start(self) -> float:
        """Where the first column begins: the panels are centred in the room left for them."""
        free = self.width - self.left - self.right - self._across(self.panel_width)
        return self.left + max(0.0, free / 2)

    def _across(self, panel_width: float) -> float:
        return self.columns * panel_width + (self.columns - 1) * self.gap

    def draw(
        self, above: Texts, below: Texts, use_pyplot: bool | None, label_size: float = LABEL_SIZE
    ) -> tuple[Figure, AxesGrid]:
        """Make the figure: title, note, and empty panels with their texts above and below.

        `above` and `below` are (rows, columns) texts; each is wrapped to its panel, and each
        row of panels moves apart as far as its tallest text asks.
        """
        above = [[wrap(text, label_size, self.panel_width) for text in row] for row in above]
        below = [[wrap(text, NOTE_SIZE, self.panel_width) for text in row] for row in below]
        over = [max(text_height(text, label_size) for text in row) for row in above]
        under = [max(text_height(text, NOTE_SIZE) for text in row) for row in below]
        title = wrap(self.title, TITLE_SIZE, self.width - 2 * EDGE)
        note = wrap(self.note, NOTE_SIZE, self.width - 2 * EDGE)

        top = EDGE + text_height(title, TITLE_SIZE) + self.head
        bottom = EDGE + text_height(note, NOTE_SIZE) + NOTE_GAP * bool(note)
        taken = top + bottom + sum(over) + sum(under) + (self.rows - 1) * self.gap
        if self.fig_size is None:
            panel_height = self.panel[1]
            height = taken + self.rows * panel_height
        else:
            height = self.fig_size[1]
            panel_height = max(SMALLEST_PANEL, (height - taken) / self.rows)

        figure = new_figure((self.width, height), use_pyplot)
        if title:
            y = 1 - EDGE / height
            figure.suptitle(title, y=y, va="top", fontsize=TITLE_SIZE, **TEXT_STYLE)
        if note:
            place = (0.5, EDGE / height)
            style = {"ha": "center", "va": "bottom", "color": NOTE_COLOR, **TEXT_STYLE}
            figure.text(*place, note, fontsize=NOTE_SIZE, **style)
        axes = np.empty((self.rows, self.columns), dtype=object)
        y = height - top
        for row in range(self.rows):
            y -= over[row] + panel_height
            for column in range(self.columns):
                x = self.start + column * (self.panel_width + self.gap)
                box = (x / self.width, y / height)
                size = (self.panel_width / self.width, panel_height / height)
                axes[row, column] = bare(figure.add_axes((*box, *size)))
                label(axes[row, column], above[row][column], below[row][column], label_size)
            y -= under[row] + self.gap
        return figure, axes


def bare(axes: Axes) -> Axes:
    """Take ticks away and leave a thin grey frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=FRAME_COLOR, linewidth=0.5)
    return axes


def headed(title: str | None, heading: str, note: str) -> dict[str, Any]:
    """Title and note of a page; what the heading says is in one of them, whatever the title."""
    if title is None:
        return {"title": heading, "note": note}
    return {"title": title, "note": f"{heading}; {note}"}


def panel_size(shape: Sequence[float], inches: float) -> tuple[float, float]:
    """Width and height of a panel whose longer side is `inches`; a thin one is never a line."""
    height, width = shape
    longer = max(height, width)
    return inches * max(width / longer, 0.2), inches * max(height / longer, 0.2)


def square_page(
    texts: Sequence[str],
    size: float,
    smallest: float,
    shape: Sequence[float],
    page: dict[str, Any],
    use_pyplot: bool | None,
) -> tuple[Figure, AxesGrid]:
    """Make a near-square grid of panels, one under each text; cells left over are hidden.

    Panels have the proportions of `shape` (height, width); the longer side is `smallest` inches
    or, where panels are few, as long as SQUARE_INCHES allows.
    """
    columns = math.ceil(math.sqrt(len(texts)))
    panel = panel_size(shape, min(max(smallest, SQUARE_INCHES / columns), LARGEST_CELL))
    rows = math.ceil(len(texts) / columns)
    padded = [*texts, *[""] * (rows * columns - len(texts))]
    above = [padded[start : start + columns] for start in range(0, len(padded), columns)]
    sheet = Sheet(rows, columns, panel, gap=0.06, **page)
    figure, axes = sheet.draw(above, [[""] * columns] * rows, use_pyplot, label_size=size)
    for cell in axes.flat[len(texts) :]:
        cell.set_visible(False)
    return figure, axes


def label(axes: Axes, above: str, below: str, size: float = LABEL_SIZE) -> None:
    """Write already wrapped texts over and under a panel."""
    axes.set_title(above, fontsize=size, pad=3, **TEXT_STYLE)
    axes.set_xlabel(below, fontsize=NOTE_SIZE, labelpad=3, color=NOTE_COLOR, **TEXT_STYLE)


def side_room() -> float:
    """Room that `label_left` takes beside the panels, in inches."""
    return EDGE + text_height("\n" * (SIDE_LINES - 1), LABEL_SIZE)


def label_left(figure: Figure, axes: Axes, text: str) -> None:
    """Write text along the left side of a panel, wrapped to its height."""
    height = axes.get_position().height * figure.get_size_inches()[1]
    lines = wrap(text, LABEL_SIZE, height).split("\n")
    if len(lines) > SIDE_LINES:
        lines = [*lines[: SIDE_LINES - 1], lines[SIDE_LINES - 1][:-1].rstrip() + "…"]
    axes.set_ylabel("\n".join(lines), fontsize=LABEL_SIZE, labelpad=3, **TEXT_STYLE)


def color_bar(
    figure: Figure,
    column: Iterable[Axes],
    cmap: Colormap,
    low: float,
    high: float,
    factor: float = 1.0,
) -> Colorbar:
    """Put a thin colour bar to the right of a column of panels, taking no room from them.

    It begins with the first panel and is as tall, or up to BAR_INCHES where that is low. Three
    ticks tell `low`, the middle and `high`, times `factor`.
    """
    boxes = [panel.get_position() for panel in column]
    width, height = figure.get_size_inches()
    top = boxes[0].y1
    bottom = max(boxes[-1].y0, min(boxes[0].y0, top - BAR_INCHES / height))
    place = (boxes[0].x1 + 0.1 / width, bottom, 0.1 / width, top - bottom)
    bar_axes = figure.add_axes(place)
    bar = figure.colorbar(ScalarMappable(Normalize(low, high), cmap), cax=bar_axes)
    ticks = (low, (low + high) / 2, high)
    bar.set_ticks(ticks, labels=[number(tick * factor, 2) for tick in ticks])
    bar.ax.tick_params(labelsize=NOTE_SIZE, length=2, pad=2)
    bar.outline.set(linewidth=0.5, edgecolor=FRAME_COLOR)
    return bar
