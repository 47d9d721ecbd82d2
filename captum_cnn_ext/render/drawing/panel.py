"""One panel: a photo, its heat, or one over the other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from captum_cnn_ext._numbers import as_number
from captum_cnn_ext.errors import choose
from captum_cnn_ext.render.drawing import judging, layout
from captum_cnn_ext.render.drawing.heat import Heat, remarks
from captum_cnn_ext.render.drawing.layout import MARK_COLOR
from captum_cnn_ext.render.drawing.wording import number

HEAT_METHODS = ("blended_heat_map", "heat_map", "masked_image")
SIGNS = ("positive", "all", "negative", "absolute_value")
SIGN_WORDS = {
    "positive": "Positive attribution",
    "negative": "Negative attribution",
    "all": "Signed attribution, 0 in the middle",
    "absolute_value": "Magnitude of attribution",
}
SCALE_WORDS = {
    "panel": "one scale per panel",
    "column": "one scale per column",
    "figure": "one scale for all panels",
}
INTERPOLATE_MODES = ("bilinear", "nearest", "nearest-exact", "bicubic", "area")


def draw_picture(axes: Axes, picture: npt.NDArray[Any], **style: Any) -> None:
    """Draw a picture, row 0 at the top whatever the user's matplotlib defaults are."""
    axes.imshow(picture, origin="upper", interpolation="antialiased", **style)


@dataclass(frozen=True)
class PanelStyle:
    """How panels are drawn: the arguments that both public functions share, judged."""

    method: str
    sign: str
    outlier_perc: float
    interpolate_mode: str
    alpha_overlay: float
    cmap: str | Colormap | None
    methods: Sequence[str] = HEAT_METHODS

    def __post_init__(self) -> None:
        choose("method", self.method, self.methods)
        choose("sign", self.sign, SIGNS)
        choose("interpolate_mode", self.interpolate_mode, INTERPOLATE_MODES)
        as_number("outlier_perc", self.outlier_perc, 0, below=100)
        as_number("alpha_overlay", self.alpha_overlay, 0, 1)
        judging.color_map("cmap", self.cmap, "gray")
        if self.method == "masked_image" and self.sign == "all":
            raise ValueError(
                "sign: got 'all' with method 'masked_image', expected 'positive', 'negative' "
                "or 'absolute_value', because brightness has no sign"
            )

    @property
    def colors(self) -> Colormap:
        """Colour map of the heat, with a marked colour for what is not finite."""
        default = "RdBu_r" if self.sign == "all" else "inferno"
        return judging.color_map("cmap", self.cmap, default).with_extremes(bad=MARK_COLOR)

    @property
    def limits(self) -> tuple[float, float]:
        """Range of normalised heat."""
        return (-1.0 if self.sign == "all" else 0.0, 1.0)

    @property
    def has_colors(self) -> bool:
        """Whether a colour bar would say anything."""
        return self.method in ("blended_heat_map", "heat_map")

    def draw(
        self, axes: Axes, photo: npt.NDArray[np.float32], heat: npt.NDArray[np.float32]
    ) -> None:
        """Draw photo (H, W, 3) and normalised heat (H, W) in the way of `method`."""
        low, high = self.limits
        if self.method == "original_image":
            draw_picture(axes, photo)
        elif self.method == "masked_image":
            masked = photo * np.nan_to_num(heat)[..., None]
            masked[np.isnan(heat)] = to_rgb(MARK_COLOR)
            draw_picture(axes, masked)
        elif self.method == "heat_map":
            draw_picture(axes, heat, cmap=self.colors, vmin=low, vmax=high)
        else:
            draw_picture(axes, photo.mean(2), cmap="gray", vmin=0, vmax=1)
            style = {"cmap": self.colors, "vmin": low, "vmax": high, "alpha": self.alpha_overlay}
            draw_picture(axes, heat, **style)

    def draw_boxes(self, axes: Axes, boxes: Iterable[Sequence[float]]) -> None:
        """Outline boxes (left, top, right, bottom), which count from the picture's corner."""
        for left, top, right, bottom in boxes:
            for width, color in ((3.0, "black"), (1.5, "white")):
                corner, size = (left - 0.5, top - 0.5), (right - left, bottom - top)
                axes.add_patch(
                    Rectangle(corner, *size, fill=False, linewidth=width, edgecolor=color)
                )

    def attribution_at_full_color(self, scale: float) -> float:
        """What 1 of normalised heat stands for."""
        return -scale if self.sign == "negative" else scale

    def color_bar(self, figure: Figure, column: Iterable[Axes], full: float = 1.0) -> None:
        """A colour bar beside panels in which ``full`` attribution has full colour."""
        factor = self.attribution_at_full_color(full)
        layout.color_bar(figure, column, self.colors, *self.limits, factor=factor)

    def shared_bar(
        self, figure: Figure, column: Iterable[Axes], scale: str, scales: Sequence[Tensor]
    ) -> None:
        """A colour bar with the numbers of the one scale; from 0 to 1 where there are several."""
        self.color_bar(figure, column, scales[0][0].item() if scale == "figure" else 1.0)

    def texts(
        self, names: Sequence[str], heats: Sequence[Heat], scale: str, scales: Sequence[Tensor]
    ) -> tuple[list[list[str]], list[list[str]]]:
        """Texts over and under panels: a row an image, a column a method."""
        below = [list(row) for row in zip(*(remarks(h, self.sign) for h in heats), strict=True)]
        if scale == "column":
            below[-1] = self.with_full_color(below[-1], scales)
        return [list(names)] + [[""] * len(heats)] * (len(below) - 1), below

    def with_full_color(self, texts: Sequence[str], scales: Sequence[Tensor]) -> list[str]:
        """Remarks of several methods, with the attribution that has full colour in each."""
        found = []
        for text, shared in zip(texts, scales, strict=True):
            value = self.attribution_at_full_color(shared[0].item())
            full = f"full colour: {number(value, 2)}" if value else ""
            found.append(", ".join(filter(None, [text, full])))
        return found

    def note(self, scale: str, words: Mapping[str, str] = SCALE_WORDS) -> str:
        """Say in words what is drawn and which values have full colour."""
        full = "colour" if self.has_colors else "brightness"
        share = f"top {self.outlier_perc:g} % of its total" if self.outlier_perc else "maximum"
        return f"{SIGN_WORDS[self.sign]}; {words[scale]}, {share} at full {full}."
