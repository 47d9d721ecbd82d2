"""What the network sees of the image: random views, so that what is drawn holds in all of them.

A transform is a function ``(image, generator) -> image`` of (N, C, H, W); all but :func:`crop` take
signals (N, C, L) and volumes (N, C, D, H, W) as well. Each image of a batch has its own draw; draws
come from the generator given, on the CPU, and nothing waits for a device.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext._engine.to_device import to_device
from captum_cnn_ext._numbers import as_count, as_number
from captum_cnn_ext.errors import ArgumentError, choose
from captum_cnn_ext.synthesis.spatial_axes import LINEAR, images_only, spread_over

Transform = Callable[[Tensor, torch.Generator], Tensor]
Range = tuple[float, float]
Fill = str | float

FILLS = ("reflect", "random", "edge")


def compose(transforms: Sequence[Transform]) -> Transform:
    """One after another.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis import transforms as t
        >>> view = t.compose([t.pad(12, 0.5), t.jitter(8), t.affine(scale=(0.9, 1.1))])
        >>> view(torch.rand(2, 3, 31, 20), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 55, 44])
    """
    chain = tuple(transforms)

    def apply(image: Tensor, generator: torch.Generator) -> Tensor:
        for transform in chain:
            image = transform(image, generator)
        return image

    return apply


def pad(pixels: int, fill: Fill = "reflect") -> Transform:
    """So many pixels more at each side.

    Args:
        pixels: 0 or more; more than the image has is fine.
        fill: ``"reflect"``, ``"edge"``, ``"random"`` (a colour for each image and draw), or a grey
            from 0 to 1.

    Raises:
        ArgumentError: another fill, or less than 0 pixels.
    """
    pixels = as_count("pixels", pixels, 0)
    _judge_fill(fill)

    def apply(image: Tensor, generator: torch.Generator) -> Tensor:
        if fill in ("reflect", "edge"):
            for dim in range(2, image.ndim):
                place = torch.arange(-pixels, image.shape[dim] + pixels)
                place = _folded(place, image.shape[dim], fill == "reflect")
                image = image.index_select(dim, to_device(place, image.device))
            return image
        color = _color(fill, image, generator)
        return F.pad(image - color, (pixels, pixels) * (image.ndim - 2)) + color

    return apply


def trim(pixels: int) -> Transform:
    """So many pixels less at each side: the undoing of :func:`pad`, after what moves the image.

    Raises:
        ArgumentError: less than 0 pixels; by the transform, an image that would be empty.
    """
    pixels = as_count("pixels", pixels, 0)

    def apply(image: Tensor, generator: torch.Generator) -> Tensor:
        sizes = image.shape[2:]
        if min(sizes) <= 2 * pixels:
            raise ArgumentError(
                f"trim(pixels={pixels}): expected an image of more than {2 * pixels} pixels a "
                f"side, got {' x '.join(map(str, sizes))}"
            )
        for dim, size in enumerate(sizes, 2):
            image = image.narrow(dim, pixels, size - 2 * pixels)
        return image

    return apply


def jitter(pixels: int) -> Transform:
    """Shift by -pixels to +pixels along each side; what leaves comes back at the other side.

    Raises:
        ArgumentError: less than 0 pixels.
    """
    pixels = as_count("pixels", pixels, 0)

    def apply(image: Tensor, generator: torch.Generator) -> Tensor:
        axes = tuple(range(1, image.ndim - 1))
        draws = torch.randint(
            -pixels, pixels + 1, (len(image), len(axes)), generator=generator, device="cpu"
        ).tolist()
        return torch.stack([one.roll(s, axes) for one, s in zip(image, draws, strict=True)])

    return apply


def crop(height: int, width: int | None = None) -> Transform:
    """A random part of this size; the whole image where it is no larger.

    Raises:
        ArgumentError: a size below 1.
    """
    wanted = (as_count("height", height), as_count("width", height if width is None else width))

    def apply(image: Tensor, generator: torch.Generator) -> Tensor:
        images_only("crop", image.shape)
        sizes = [min(w, s) for w, s in zip(wanted, image.shape[-2:], strict=True)]
        free = [s - w + 1 for w, s in zip(sizes, image.shape[-2:], strict=True)]
        starts = [
            torch.randint(f, (len(image),), generator=generator, device="cpu").tolist()
            for f in free
        ]
        parts = [
            one[:, top : top + sizes[0], left : left + sizes[1]]
            for one, top, left in zip(image, *starts, strict=True)
        ]
        return torch.stack(parts)

    return apply


def affine(
    scale: Range = (1.0, 1.0),
    degrees: float = 0.0,
    shift: float = 0.0,
    *,
    fill: Fill = "random",
) -> Transform:
    """Scale, rotate and shift in one interpolation, each drawn evenly; the size stays.

    A signal is scaled and shifted only; a volume or video is scaled and shifted along all its axes
    and rotated in the plane of its last two.

    Args:
        scale: from and to; below 1 the image shrinks and what is around it is ``fill``.
        degrees: rotate by up to so many degrees either way.
        shift: by up to this share of each side either way.
        fill: as in :func:`pad`.

    Raises:
        ArgumentError: a scale that is not positive, or another fill.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis import transforms
        >>> view = transforms.affine(scale=(0.5, 1.2), degrees=15)
        >>> view(torch.rand(4, 1, 28, 28), torch.Generator().manual_seed(0)).shape
        torch.Size([4, 1, 28, 28])
    """
    if not isinstance(scale, Sequence) or len(scale) != 2:
        raise ArgumentError(f"scale={scale!r}: expected two numbers, from and to")
    low, high = _ordered(*scale, ("scale[0]", "scale[1]"))
    degrees, shift = as_number("degrees", degrees, 0), as_number("shift", shift, 0)
    _judge_fill(fill)

    def apply(image: Tensor, generator: torch.Generator) -> Tensor:
        if image.ndim == 3:  # an image of one row
            return apply_to(image.unsqueeze(2), generator, turned=False).squeeze(2)
        return apply_to(image, generator, turned=True)

    def apply_to(image: Tensor, generator: torch.Generator, turned: bool) -> Tensor:
        n, _, *sides = image.shape
        size = _uniform(n, low, high, generator)
        angle = _uniform(n, -math.radians(degrees), math.radians(degrees), generator) * turned
        shifts = [_uniform(n, -2 * shift, 2 * shift, generator) for _ in sides]
        cos, sin = angle.cos() / size, angle.sin() / size
        ratio = sides[-2] / sides[-1]  # grids count both sides from -1 to 1
        theta = torch.zeros(n, len(sides), len(sides) + 1)  # the last axis first
        theta[:, 0, 0], theta[:, 0, 1] = cos, -sin * ratio
        theta[:, 1, 0], theta[:, 1, 1] = sin / ratio, cos
        theta[:, 2:, 2:-1] = (1 / size)[:, None, None]
        theta[:, :, -1] = torch.stack(shifts, 1)
        if not turned:
            theta[:, 1, -1] = 0
        return _sampled(image, theta, fill, generator)

    return apply


def scale(low: float, high: float, *, fill: Fill = "random") -> Transform:
    """A random scale: :func:`affine` with nothing else."""
    return affine(_ordered(low, high), fill=fill)


def rotate(degrees: float, *, fill: Fill = "random") -> Transform:
    """A random rotation of up to ``degrees`` either way: :func:`affine` with nothing else."""
    return affine(degrees=degrees, fill=fill)


def resize(low: float, high: float, smallest: int = 32) -> Transform:
    """Other sizes for the network itself: one draw for the whole batch, which has one size.

    For networks that take any size (global pooling). Below 1 it saves the network's time.

    Args:
        low, high: the factor, drawn evenly.
        smallest: no side becomes shorter than so many pixels, unless it is.

    Raises:
        ArgumentError: a factor that is not positive.
    """
    low, high = _ordered(low, high)
    smallest = as_count("smallest", smallest)

    def apply(image: Tensor, generator: torch.Generator) -> Tensor:
        factor = float(_uniform(1, low, high, generator))
        size = [max(min(smallest, side), round(side * factor)) for side in image.shape[2:]]
        if size == list(image.shape[2:]):
            return image
        return F.interpolate(image, size, mode=LINEAR[len(size)], align_corners=False)

    return apply


def noise(sd: float) -> Transform:
    """Normal noise, with a strength of its own for each image, from 0 to ``sd``."""
    sd = as_number("sd", sd, 0)

    def apply(image: Tensor, generator: torch.Generator) -> Tensor:
        strength = _sent(_uniform(len(image), 0.0, sd, generator), image)
        seed = int(torch.randint(2**31, (), generator=generator, device="cpu"))
        on_device = torch.Generator(image.device).manual_seed(seed)
        grain = torch.randn(
            image.shape, generator=on_device, dtype=image.dtype, device=image.device
        )
        return image + spread_over(strength, image) * grain

    return apply


def color_jitter(amount: float) -> Transform:
    """Contrast around the middle by 1 ± amount, and each channel lighter or darker by ± amount."""
    amount = as_number("amount", amount, 0)

    def apply(image: Tensor, generator: torch.Generator) -> Tensor:
        n, c = image.shape[:2]
        contrast = spread_over(_uniform(n, 1 - amount, 1 + amount, generator), image)
        light = spread_over(_uniform(n * c, -amount, amount, generator).reshape(n, c), image)
        return (image - 0.5) * _sent(contrast, image) + _sent(0.5 + light, image)

    return apply


def _sampled(image: Tensor, theta: Tensor, fill: Fill, generator: torch.Generator) -> Tensor:
    grid = F.affine_grid(_sent(theta, image), list(image.shape), align_corners=False)
    if fill in ("reflect", "edge"):
        mode = "reflection" if fill == "reflect" else "border"
        return F.grid_sample(image, grid, padding_mode=mode, align_corners=False)
    color = _color(fill, image, generator)
    return F.grid_sample(image - color, grid, padding_mode="zeros", align_corners=False) + color


def _color(fill: Fill, image: Tensor, generator: torch.Generator) -> Tensor | float:
    if not isinstance(fill, str):
        return float(fill)
    n, c = image.shape[:2]
    return _sent(spread_over(_uniform(n * c, 0.0, 1.0, generator).reshape(n, c), image), image)


def _sent(draw: Tensor, image: Tensor) -> Tensor:
    return to_device(draw, image.device, image.dtype)


def _folded(place: Tensor, size: int, reflect: bool) -> Tensor:
    """Places outside 0 ... size - 1, reflected at the borders (often, where far) or moved there."""
    if not reflect or size == 1:
        return place.clamp(0, size - 1)
    period = 2 * (size - 1)
    return (size - 1) - ((place % period) - (size - 1)).abs()


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, device="cpu") * (high - low) + low


def _judge_fill(fill: Fill) -> None:
    if isinstance(fill, str):
        choose("fill", fill, FILLS)
    else:
        as_number("fill", fill, 0, 1)


def _ordered(low: float, high: float, names: tuple[str, str] = ("low", "high")) -> Range:
    ends = as_number(names[0], low, above=0), as_number(names[1], high, above=0)
    if low > high:
        raise ArgumentError(f"{names[0]}={low}, {names[1]}={high}: expected the smaller first")
    return ends
