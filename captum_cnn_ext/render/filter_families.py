"""Families of filters that are copies of one another, a row for each family."""

from collections.abc import Sequence
from typing import Any, Protocol

from matplotlib.figure import Figure

from captum_cnn_ext._numbers import as_count, as_count_or_none
from captum_cnn_ext.render import filters
from captum_cnn_ext.render.drawing import judging, layout
from captum_cnn_ext.render.drawing.images import full_colors
from captum_cnn_ext.render.drawing.layout import AxesGrid, Sheet

TILE_INCHES = 0.62
LABEL_SIZE = 7.0


class Family(Protocol):
    """What is drawn: filters of a layer, and for each how it is turned against the first."""

    @property
    def members(self) -> Sequence[int]:
        """Numbers of filters."""

    @property
    def turns(self) -> Sequence[Any]:
        """For each member what `str` shows, such as 90°."""


def show_filter_families(
    weight: Any,
    families: Sequence[Family],
    *,
    first: int | None = 12,
    most_members: int = 12,
    title: str | None = None,
    fig_size: tuple[float, float] | None = None,
    use_pyplot: bool | None = None,
) -> tuple[Figure, AxesGrid]:
    """Draw families of filters in rows: the first member, then the others with their angles.

    Args:
        weight: (out, in, h, w) or a module that has one; filters on 3 channels are drawn as RGB,
            others by the mean of their channels (positive red, negative blue).
        families: as `FilterSimilarity.families`.
        first: most families drawn, None for all.
        most_members: most members drawn of each.
        title: text above; default says how many families and filters.
        fig_size, use_pyplot: as for the other pictures.

    Returns:
        the figure and its axes (families, members).

    Raises:
        ValueError: no families, or a filter that the weight does not have.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.evidence import filter_similarity
        >>> from captum_cnn_ext.render import show_filter_families
        >>> one = torch.randn(1, 3, 7, 7)
        >>> weight = torch.cat([one, one.rot90(1, (2, 3))])
        >>> figure, axes = show_filter_families(weight, filter_similarity(weight).families)
        >>> axes.shape
        (1, 2)
    """
    kernel = filters._kernel(weight)
    first = as_count_or_none("first", first)
    most_members = as_count("most_members", most_members)
    if not families:
        raise ValueError("families: got none, so there is nothing to draw")
    shown = list(families)[:first]
    columns = max(min(len(family.members), most_members) for family in shown)
    judging.chosen("families", [m for family in shown for m in family.members], len(kernel))
    above = [
        [f"{m}: {turn}" for m, turn in zip(family.members, family.turns, strict=True)][:columns]
        for family in shown
    ]
    above = [[*row, *[""] * (columns - len(row))] for row in above]
    total = sum(len(family.members) for family in families)
    heading = f"{len(families)} families of {total} of {len(kernel)} filters"
    heading += f", {len(shown)} shown" if len(shown) < len(families) else ""
    cut = any(len(family.members) > columns for family in shown)
    note = "filter: how it is turned against the first of its row"
    note += "; only the first members are shown" if cut else ""
    page = layout.headed(title, heading, note)
    panel = (TILE_INCHES, TILE_INCHES)
    sheet = Sheet(len(shown), columns, panel, gap=0.08, fig_size=fig_size, **page)
    figure, axes = sheet.draw(above, [[""] * columns] * len(shown), use_pyplot, LABEL_SIZE)
    tops = full_colors(kernel, "filter")
    for row, family in zip(axes, shown, strict=True):
        members = list(family.members)[:columns]
        for cell in row[len(members) :]:
            cell.set_visible(False)
        if kernel.shape[1] == 3:
            filters._draw_in_color(row, kernel[members], tops[members])
        else:
            tiles = kernel[members].mean(1)
            peak = tiles.abs().amax((1, 2)).clamp_min(1e-30)
            filters._draw_signed(row, tiles, peak)
    return figure, axes
