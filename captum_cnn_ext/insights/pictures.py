"""Figures and network inputs as small pictures."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from captum_cnn_ext.insights.report.blocks import ColorScale, Picture
from captum_cnn_ext.methods.expression import Expression, Script, imported
from captum_cnn_ext.render import overlay

PALETTE = 256  # colours of a drawing: a third of the bytes of full colour, no difference to see
QUALITY = 85  # of what is stored with losses: photos, and drawings of photos
PIXELS_PER_INCH = 110
PANEL_PIXELS = 256  # longer side of a panel
HEAT_COLORS = "inferno"
HEAT_OPACITY = 0.6
STRONGEST_SHARE = 2.0  # per cent of the total attribution that is beyond full colour
HEAT = {"sign": "positive", "alpha_overlay": HEAT_OPACITY, "outlier_perc": STRONGEST_SHARE}


def figure_picture(
    figure: Figure, *, alt: str, title: str = "", caption: str = "", code: str = ""
) -> Picture:
    """Draw a figure into a WebP: of 256 colours without losses or with losses, what is smaller.

    Cost: drawing, without a model.

    Args:
        figure: any matplotlib figure.
        alt: what is to be seen, for readers who cannot see it.
        title, caption: texts under the picture.
        code: Python that makes ``figure`` again from ``model`` and the audit's inputs ``x``.

    Returns:
        a block for a `SectionContent`.

    Example::

        >>> from captum_cnn_ext.insights import figure_picture
        >>> from matplotlib.figure import Figure
        >>> figure_picture(Figure(figsize=(2, 1)), alt="nothing").width
        220
    """
    image = _drawn(figure, PIXELS_PER_INCH)
    few = image.quantize(PALETTE, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    data = min(encoded(few.convert("RGB"), lossless=True), encoded(image), key=len)
    return Picture(data, *image.size, alt=alt, title=title, caption=caption, code=code)


def scale(mean: Sequence[float] | None, std: Sequence[float] | None) -> dict[str, Any]:
    """The arguments that undo the preprocessing, none where they are not known."""
    if mean is None or std is None:
        return {}
    return {"mean": [float(one) for one in mean], "std": [float(one) for one in std]}


def drawn(
    figure: Expression,
    script: Script | None = None,
    *,
    alt: str,
    title: str = "",
    caption: str = "",
    **names: Any,
) -> Picture:
    """What ``figure`` draws after the lines of ``script``, with these lines as its code.

    ``names`` are the values that they start from, and those that are known already.
    """
    script = script or Script()
    script.let("figure", figure)
    made = script.run(**names)["figure"]
    return figure_picture(made, alt=alt, title=title, caption=caption, code=script.code)


def photo_picture(
    image: Expression,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    script: Script | None = None,
    *,
    alt: str,
    title: str = "",
    caption: str = "",
    boxes: Any = None,
    **names: Any,
) -> Picture:
    """One network input (C, H, W) as the picture it was made from, a pixel for each pixel.

    ``boxes`` of it are outlined. ``script`` and ``names`` are as in `drawn`.
    """
    script = script or Script()
    rgb = imported("captum_cnn_ext.render.to_rgb")(image, **scale(mean, std))
    figure = imported("PIL.Image.fromarray")((rgb * 255).round().astype("uint8"))
    if boxes is not None:
        figure = imported("captum_cnn_ext.render.outlined")(figure, boxes)
    script.let("figure", figure)
    photo: Image.Image = script.run(**names)["figure"]
    code = script.code
    factor = min(1.0, 2 * PANEL_PIXELS / max(photo.size))
    if factor < 1:
        photo = photo.resize((round(photo.width * factor), round(photo.height * factor)))
    return Picture(encoded(photo), *photo.size, alt=alt, title=title, caption=caption, code=code)


def heat_picture(
    image: Tensor,
    attribution: Tensor,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    *,
    alt: str,
    title: str,
    code: str = "",
    boxes: Any = None,
) -> Picture:
    """One attribution over its grey image, without a border; the caption says what is special."""
    heat, remark = overlaid(
        image,
        attribution,
        PANEL_PIXELS,
        PIXELS_PER_INCH,
        mean=mean,
        std=std,
        boxes=boxes,
        **HEAT,
    )
    return Picture(encoded(heat), *heat.size, alt=alt, title=title, caption=remark, code=code)


def overlaid(
    image: Tensor, attribution: Tensor, pixels: int, dpi: int, **look: Any
) -> tuple[Image.Image, str]:
    """`render.overlay` without a border, ``pixels`` on the longer side, and what is special."""
    height, width = image.shape[-2:]
    inches = pixels / dpi / max(height, width)
    figure = Figure(figsize=(width * inches, height * inches))
    axes = figure.add_axes((0, 0, 1, 1))
    overlay(image, attribution, plt_fig_axis=(figure, axes), **look)
    # what does not fit into a picture without a border
    remark = " ".join(axes.get_xlabel().split())
    axes.set_axis_off()
    return _drawn(figure, dpi), remark


def heat_scale(low: str, high: str) -> ColorScale:
    """The colours of `heat_picture` as they look over middle grey."""
    colors = colormaps[HEAT_COLORS](np.linspace(0, 1, 9))[:, :3]
    over_grey = HEAT_OPACITY * colors + (1 - HEAT_OPACITY) * 0.5
    return ColorScale([to_hex(color) for color in over_grey], low, high)


def _drawn(figure: Figure, dpi: int) -> Image.Image:
    """A figure as an image, without a window."""
    figure.set(dpi=dpi, facecolor="white", edgecolor="none")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return Image.fromarray(pixels).convert("RGB")


def encoded(image: Image.Image, lossless: bool = False) -> bytes:
    """A picture as WebP, with losses that cannot be seen or without."""
    file = io.BytesIO()
    image.save(file, format="webp", quality=QUALITY, lossless=lossless, method=4)
    return file.getvalue()
