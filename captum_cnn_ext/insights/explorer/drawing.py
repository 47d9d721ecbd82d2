"""Tensors as small pictures: tiles of a grid, a unit over its image, a reconstruction."""

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from captum_cnn_ext.errors import choose
from captum_cnn_ext.insights.explorer.computing.library_calls import blurred, length
from captum_cnn_ext.insights.pictures import overlaid
from captum_cnn_ext.methods.expression import evaluate, variable
from captum_cnn_ext.render import to_rgb
from captum_cnn_ext.render.drawing.images import around_grey
from captum_cnn_ext.render.drawing.judging import finite_or_zero

TILE = 96  # most pixels of a tile's side
PANEL = 448  # pixels of a panel's longer side
SCALES = ("map", "layer")
LOOKS = ("color", "grey", "norm", "blurred norm")
OUTSIDE = 0.5  # per cent of a reconstruction's values, beyond full black or white
DPI = 100
OUTER = 0.025  # of a reconstruction's energy, beyond either side of its crop
SMALLEST = 24  # pixels of a crop's side

Pixels = npt.NDArray[np.uint8]


def contrasted(maps: Tensor, scale: str = "map", gamma: float = 1.0) -> Tensor:
    """Maps (C, ...) brought to [-1, 1]: divided by each map's magnitude or the layer's, then
    raised to ``gamma`` with their sign kept.

    Raises:
        ArgumentError: another scale.
    """
    choose("scale", scale, SCALES)
    values = finite_or_zero(maps).float()
    tops = values.flatten(1).abs().amax(1)
    tops = tops.max().expand(len(tops)) if scale == "layer" else tops
    tops = torch.where(tops > 0, tops, 1).reshape(-1, *[1] * (values.ndim - 1))
    shown = values / tops
    return shown.sign() * shown.abs() ** gamma


def tiles(maps: Tensor, signed: bool) -> Pixels:
    """Contrasted maps (C, H, W) or (C,) in colours, (C, h, w, 3), no tile above `TILE` pixels.

    From 0 in viridis, or around 0 from blue to red, as in `render.show_feature_maps`.
    """
    maps = maps.reshape(len(maps), 1, 1) if maps.ndim == 1 else maps
    largest = max(maps.shape[1:])
    if largest > TILE:
        height, width = (max(1, round(side * TILE / largest)) for side in maps.shape[1:])
        maps = F.adaptive_avg_pool2d(maps, (height, width))
    table = colormaps["RdBu_r" if signed else "viridis"](np.linspace(0, 1, 256))[:, :3]
    colors = torch.as_tensor(table * 255).round().to(torch.uint8)
    places = (maps / 2 + 0.5 if signed else maps).clamp(0, 1).mul(255).round().long().cpu()
    found: Pixels = colors[places].numpy()
    return found


def heat_panel(
    image: Tensor, heat: Tensor, sign: str = "positive", **scale: Any
) -> tuple[Image.Image, str]:
    """A map (h, w) or an attribution (C, h, w) over its grey image (C, H, W), and what is special:
    that there is nothing to see, or that values are not finite."""
    look = {"sign": sign, "method": "blended_heat_map", **scale}
    return overlaid(image, heat, PANEL, DPI, **look)


def reconstruction_picture(picture: Tensor, look: str = "color") -> Image.Image:
    """A reconstruction (C, H, W) as one looks at it.

    "color": 0 is middle grey, as in `render.show_reconstructions`; "grey": the same of the mean
    over colours; "norm": the length over colours, from black; "blurred norm": that, blurred.

    Raises:
        ArgumentError: another look.
    """
    choose("look", look, LOOKS)
    values = finite_or_zero(picture).float()
    if look in ("color", "grey"):
        shown = around_grey(values.mean(0, keepdim=True) if look == "grey" else values, OUTSIDE)
    else:
        pictures = variable("pictures")
        drawn = length(pictures)
        if look == "blurred norm":
            drawn = blurred(drawn, min(values.shape[1:]))
        values = evaluate(drawn, pictures=values[None])
        shown = values / values.max().clamp_min(1e-30)
    shown = shown.expand(3, -1, -1) if len(shown) == 1 else shown
    return enlarged(_as_image(to_rgb(shown)))


def energetic(picture: Tensor) -> tuple[slice, slice, slice]:
    """The square part of a reconstruction (C, H, W) that holds nearly all of its energy."""
    values = finite_or_zero(picture).double()
    energy, ends = values.square().sum(0), []
    for axis in (1, 0):
        share = energy.sum(axis).cumsum(0) / energy.sum().clamp_min(1e-300)
        ends.append((int((share < OUTER).sum()), int((share <= 1 - OUTER).sum()) + 1))
    side = max(SMALLEST, *(end - begin for begin, end in ends))
    windows = []
    for (begin, end), extent in zip(ends, picture.shape[1:], strict=True):
        start = min(max((begin + end - side) // 2, 0), max(extent - side, 0))
        windows.append(slice(start, start + side))
    return (slice(None), *windows)  # type: ignore[return-value]


def photo_panel(image: Tensor, **scale: Any) -> Image.Image:
    """A network input, (C, H, W), as the picture it was made from."""
    return enlarged(_as_image(to_rgb(image, **scale)))


def data_uri(picture: Image.Image | Pixels) -> str:
    """A picture inside a page."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, format="png", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def enlarged(picture: Image.Image) -> Image.Image:
    """A picture at the size of a panel."""
    factor = PANEL / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    resample = Image.Resampling.NEAREST if factor > 4 else Image.Resampling.BICUBIC
    return picture.resize(size, resample)


def _as_image(rgb: npt.NDArray[np.float32]) -> Image.Image:
    return Image.fromarray((rgb * 255).round().astype(np.uint8))
