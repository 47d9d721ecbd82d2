"""Pictures of reconstructions: what a unit responds to, beside the same part of the photo."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from captum_cnn_ext._numbers import as_number
from captum_cnn_ext.errors import choose
from captum_cnn_ext.render.drawing import judging, layout, wording
from captum_cnn_ext.render.drawing.images import around_grey, to_rgb
from captum_cnn_ext.render.drawing.layout import AxesGrid, Sheet
from captum_cnn_ext.render.drawing.panel import draw_picture

PANEL_INCHES = 1.3
BOX_COLOR = "#ffd400"
AXES = (0, 1)
SMALLEST_CROP = 8  # pixels
OUTER_ENERGY = 0.025  # of a reconstruction, left out on each side
NOTE = (
    "Above: the channel, its activation and the reconstruction, grey is 0, each on its own scale; "
    "below: the same pixels of the photo. The frames show where these are."
)


class Reconstructed(Protocol):
    """What `captum_cnn_ext.attr.DeconvNet.reconstruct` returns, as far as it is drawn."""

    @property
    def attributions(self) -> Tensor: ...
    @property
    def channels(self) -> Tensor: ...
    @property
    def values(self) -> Tensor: ...
    @property
    def boxes(self) -> Tensor | None: ...


def show_reconstructions(
    images: Tensor,
    reconstructions: Reconstructed,
    *,
    mean: Sequence[float] | Tensor | None = None,
    std: Sequence[float] | Tensor | None = None,
    row_titles: Sequence[str] | None = None,
    outlier_perc: float = 0.5,
    crop: str = "field",
    title: str | None = None,
    fig_size: tuple[float, float] | None = None,
    use_pyplot: bool | None = None,
) -> tuple[Figure, AxesGrid]:
    """Draw the reconstructions of K units over the same parts of the photo, as in ZFNet's Fig. 2.

    Each image has two rows and 1 + K columns: the image with the units' fields framed, then each
    unit's reconstruction cropped to the pixels that the unit sees, and below it these pixels. Over
    each pair stand the unit's channel and its activation. Zero is middle grey, and full black and
    white are the magnitude that `outlier_perc` per cent of the picture's values exceed.

    Args:
        images: (N, C, H, W) or (C, H, W), as given to `reconstruct`.
        reconstructions: what ``DeconvNet(...).reconstruct(images, ...)`` returned.
        mean, std: what the preprocessing subtracted and divided by, per channel.
        row_titles: one text per image, written over it.
        outlier_perc: share of each picture's values beyond full black or white, 0 up to 100.
        crop: "field" shows the pixels that the unit sees, where these are known; "energy" those
            that hold 95 % of the reconstruction, along each axis, which are fewer in deep layers;
            "none" the whole picture. All crops have one size.
        title: text at the top.
        fig_size: width and height in inches; default 1.3-inch panels.
        use_pyplot: make the figure through pyplot, which shows it under a notebook's cell; None
            does so in notebooks only.

    Returns:
        the figure and its axes, (2 N, 1 + K).

    Raises:
        TypeError: `images` is no real tensor.
        ValueError: the reconstructions do not belong to these images, or an unknown crop.

    Example:
        >>> import torch
        >>> from torchvision.models import vgg11
        >>> from captum_cnn_ext.attr import DeconvNet
        >>> from captum_cnn_ext.render import show_reconstructions
        >>> x = torch.rand(1, 3, 64, 64)
        >>> found = DeconvNet(vgg11().eval(), "features.7").reconstruct(x, top=4)
        >>> figure, axes = show_reconstructions(x, found)
        >>> axes.shape
        (2, 5)
    """
    pictures = judging.picture_batch("images", images)
    choose("crop", crop, ("field", "energy", "none"))
    as_number("outlier_perc", outlier_perc, 0, below=100)
    count, _, height, width = pictures.shape
    maps = judging.real_tensor("reconstructions.attributions", reconstructions.attributions)
    if maps.dim() != 5 or maps.shape[0] != count or maps.shape[2:] != pictures.shape[1:]:
        raise ValueError(
            f"reconstructions: got attributions of shape {tuple(maps.shape)}, expected "
            f"({count}, K, {', '.join(map(str, pictures.shape[1:]))}) as the images are"
        )
    names = judging.labels("row_titles", row_titles, count, "image(s)") or ["input"] * count
    photos = to_rgb(images, mean=mean, std=std).reshape(count, height, width, 3)

    boxes = _cropped_to(crop, maps, reconstructions.boxes)
    whole = [[[[0, height], [0, width]]] * maps.shape[1]] * count
    windows = _windows(boxes or whole, (height, width))
    above, below = [], []
    for photo in range(count):
        channels = reconstructions.channels[photo].tolist()
        values = reconstructions.values[photo].tolist()
        texts = [f"{k}: {wording.number(v, 3)}" for k, v in zip(channels, values, strict=True)]
        above += [[names[photo], *texts], [""] * (1 + len(texts))]
        below += [[""] * (1 + len(texts))] * 2
    sheet = Sheet(
        rows=2 * count,
        columns=1 + maps.shape[1],
        panel=layout.panel_size((height, width), PANEL_INCHES),
        gap=0.06,
        title=title or "",
        note=NOTE if boxes else NOTE.split(" The")[0],
        fig_size=fig_size,
    )
    figure, axes = sheet.draw(above, below, use_pyplot)
    for photo in range(count):
        draw_picture(axes[2 * photo, 0], photos[photo])
        axes[2 * photo + 1, 0].set_visible(False)
        for unit in range(maps.shape[1]):
            part = windows[photo][unit]
            if boxes:
                _frame(axes[2 * photo, 0], part)
            grey = around_grey(maps[photo, unit], outlier_perc)[(slice(None), *part)]
            draw_picture(axes[2 * photo, 1 + unit], to_rgb(grey))
            draw_picture(axes[2 * photo + 1, 1 + unit], photos[photo][part])
    return figure, axes


def _cropped_to(crop: str, maps: Tensor, fields: Tensor | None) -> list[Any] | None:
    """[[top, bottom], [left, right]] of each image and unit; None for whole pictures."""
    if crop == "none" or (crop == "field" and fields is None):
        return None
    if crop == "field" and fields is not None:
        found: list[Any] = fields.tolist()
        return found
    energy = judging.finite_or_zero(maps).double().square().sum(2)
    return torch.stack([_ends(energy.sum(3)), _ends(energy.sum(2))], 2).tolist()


def _ends(energy: Tensor) -> Tensor:
    """Where a profile (N, K, length) begins and ends, its outer 2.5 % on either side left out."""
    share = energy.cumsum(2) / energy.sum(2, keepdim=True).clamp_min(1e-300)
    last = energy.shape[2] - 1
    begin = (share < OUTER_ENERGY).sum(2).clamp_max(last)
    end = (share < 1 - OUTER_ENERGY).sum(2).clamp_max(last) + 1
    return torch.stack([begin, end], 2)


def _windows(boxes: list[Any], size: tuple[int, int]) -> list[list[tuple[slice, slice]]]:
    """Windows of one size inside the image, around each box and with all of it."""
    every = [box for of_image in boxes for box in of_image]
    lengths = [
        max(SMALLEST_CROP, *(box[axis][1] - box[axis][0] for box in every)) for axis in (0, 1)
    ]

    def window(box: Any, axis: int) -> slice:
        length = min(lengths[axis], size[axis])
        start = (box[axis][0] + box[axis][1] - length) // 2
        start = max(0, min(start, size[axis] - length))
        return slice(start, start + length)

    return [[(window(box, 0), window(box, 1)) for box in of_image] for of_image in boxes]


def _frame(axes: Axes, part: tuple[slice, slice]) -> None:
    rows, columns = part
    place = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    axes.add_patch(Rectangle(place, *size, fill=False, edgecolor=BOX_COLOR, linewidth=0.8))
