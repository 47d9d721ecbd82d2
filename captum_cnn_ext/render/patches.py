"""Image patches that excite units, a row for each channel, with reconstructions beside them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from torch import Tensor

from captum_cnn_ext.render.drawing import judging, layout, wording
from captum_cnn_ext.render.drawing.images import to_rgb
from captum_cnn_ext.render.drawing.layout import AxesGrid, Sheet
from captum_cnn_ext.render.drawing.panel import draw_picture

PATCH_INCHES = 0.72
LABEL_SIZE = 7.0
BETWEEN_INCHES = 0.25  # between patches and reconstructions
GREY = 0.5
STRONG = 0.99  # share of values of a reconstruction that are within its scale

Rows = Sequence[Sequence[Tensor]]


def show_patches(
    patches: Rows,
    reconstructions: Rows | None = None,
    *,
    mean: Sequence[float] | Tensor | None = None,
    std: Sequence[float] | Tensor | None = None,
    row_titles: Sequence[str] | None = None,
    values: Sequence[Sequence[float]] | Tensor | None = None,
    title: str | None = None,
    fig_size: tuple[float, float] | None = None,
    use_pyplot: bool | None = None,
) -> tuple[Figure, AxesGrid]:
    """Draw patches in rows, strongest first, and beside each row its reconstructions.

    With reconstructions this is the layout of Zeiler and Fergus 2014, Fig. 2. Patches are shown as
    pictures; reconstructions around grey, which is 0, each on its own scale.

    Args:
        patches: for each row its patches (C, h, w); sizes may differ, as
            where patches are cut at an image's border, and are drawn to one scale.
        reconstructions: the same number for each row, signed, cut like the patches.
        mean, std: what the preprocessing subtracted and divided by, as for `to_rgb`.
        row_titles: text beside each row, such as the channel.
        values: a number under each patch, such as its activation.
        title: text above.
        fig_size: width and height in inches; default cells of fixed size.
        use_pyplot: make the figure through pyplot, which shows it under a notebook's cell; None
            does so in notebooks only.

    Returns:
        the figure and its axes (rows, columns): first the patches, then the reconstructions.

    Raises:
        TypeError: a patch is no tensor.
        ValueError: no patches, or numbers of things that do not fit each other.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.render import show_patches
        >>> rows = [[torch.rand(3, 9, 9) for _ in range(4)] for _ in range(2)]
        >>> figure, axes = show_patches(rows, row_titles=["channel 0", "channel 1"])
        >>> axes.shape
        (2, 4)
    """
    count = max((len(row) for row in patches), default=0)
    if not count:
        raise ValueError("patches: got none, expected at least one row with one patch")
    titles = judging.labels("row_titles", row_titles, len(patches), "row(s)")
    pictures = [[_picture(patch, mean, std) for patch in row] for row in patches]
    beside: list[list[npt.NDArray[np.float32]]] = []
    if reconstructions is not None:
        if [len(row) for row in reconstructions] != [len(row) for row in patches]:
            raise ValueError(
                "reconstructions: expected as many as patches in each row "
                f"({[len(row) for row in patches]}), got {[len(row) for row in reconstructions]}"
            )
        beside = [[_around_grey(one) for one in row] for row in reconstructions]
    if values is not None and len(values) != len(patches):
        raise ValueError(f"values: got {len(values)} rows for {len(patches)} rows of patches")
    side = max(max(p.shape[:2]) for row in [*pictures, *beside] for p in row)

    columns = count * (2 if beside else 1)
    below = [[""] * columns for _ in patches]
    for r, row in enumerate(pictures if values is not None else []):
        for c in range(len(row)):
            assert values is not None
            below[r][c] = wording.number(float(values[r][c]), 3)
    note = "reconstructions (right): grey is 0, each on a scale of its own" if beside else ""
    sheet = Sheet(
        len(patches),
        columns,
        (PATCH_INCHES, PATCH_INCHES),
        gap=0.04,
        title=title or "",
        note=note,
        fig_size=fig_size,
        left=layout.side_room() if titles else layout.EDGE,
        right=layout.EDGE + (BETWEEN_INCHES if beside else 0),
    )
    figure, axes = sheet.draw([[""] * columns] * len(patches), below, use_pyplot, LABEL_SIZE)
    if beside:
        _move_right(figure, axes[:, count:])
    for cell in axes.flat:
        cell.set_visible(False)
    for start, drawn in ((0, pictures), (count, beside)):
        for r, row in enumerate(drawn):
            for c, picture in enumerate(row):
                cell = axes[r, start + c]
                cell.set_visible(True)
                draw_picture(cell, _centred(picture, side))
                cell.spines[:].set_visible(False)
    for r, text in enumerate(titles or []):
        axes[r, 0].set_visible(True)
        layout.label_left(figure, axes[r, 0], text)
    return figure, axes


def _picture(
    patch: Tensor, mean: Sequence[float] | Tensor | None, std: Sequence[float] | Tensor | None
) -> npt.NDArray[np.float32]:
    return to_rgb(judging.one_picture("patches", patch)[0], mean=mean, std=std)


def _around_grey(picture: Tensor) -> npt.NDArray[np.float32]:
    """A signed picture with 0 as grey; full or no light from the strongest values' magnitude on.

    Not the largest: a single pixel would leave the rest invisible.
    """
    values = judging.finite_or_zero(judging.one_picture("reconstructions", picture)[0])
    strength = values.abs().flatten().sort().values
    top = float(strength[int(STRONG * (len(strength) - 1))]) or float(strength[-1])
    return to_rgb((GREY + GREY * values / top).clamp(0, 1) if top else values + GREY)


def _centred(picture: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
    """The picture in the middle of a white square, so that all are drawn to one scale."""
    height, width = picture.shape[:2]
    square = np.ones((side, side, 3), dtype=np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


def _move_right(figure: Figure, cells: AxesGrid) -> None:
    shift = BETWEEN_INCHES / figure.get_size_inches()[0]
    for cell in cells.flat:
        box = cell.get_position()
        cell.set_position((box.x0 + shift, box.y0, box.width, box.height))
