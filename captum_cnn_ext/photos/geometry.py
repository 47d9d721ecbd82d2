"""How a network's input lies on the photo it was made from; maps brought back onto the photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.errors import ArgumentError

if TYPE_CHECKING:
    from PIL import Image

    Preprocess = Callable[[Image.Image], Tensor]
    Picture = Image.Image

_GREY = 51  # a fifth of white
_OF_WHITE = 0.02  # what a level may be off, as a share of white
_PIXELS = 0.1  # of the input: what is nearer than this to whole pixels is taken for whole
_BORDER = 3  # pixels of the input whose resampling may have reached over the border
_STEEP = 16  # pixels, of the photo and of the input, from black to white in a steep ramp
_EDGE = 0.2  # of white: what may lie at a turn of the zigzag


@dataclass(frozen=True)
class PhotoGeometry:
    """How a network's input lies on its photo: resized, cropped, padded; not turned or mirrored.

    A place of the input, in pixels from its top left corner, is on the photo at
    ``origin + scale * place``. What is padding lies outside the photo.

    Args:
        photo_size: (height, width) of the photo.
        input_size: (height, width) of the network's input.
        scale: pixels of the photo for each pixel of the input, down and across.
        origin: (top, left) on the photo of the input's top left corner.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.photos import PhotoGeometry
        >>> geometry = PhotoGeometry((300, 400), (100, 100), (2.0, 2.0), (50.0, 100.0))
        >>> geometry.box_to_photo((10, 10, 20, 30))
        (120.0, 70.0, 140.0, 110.0)
        >>> geometry.to_photo(torch.ones(1, 1, 7, 7)).shape
        torch.Size([1, 1, 300, 400])
    """

    photo_size: tuple[int, int]
    input_size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    origin: tuple[float, float] = (0.0, 0.0)

    __repr__ = brief

    def box_to_photo(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """A box (left, top, right, bottom) of the input in pixels of the photo, cut at its edge."""
        return _moved(box, self.photo_size, lambda at, i: self.origin[i] + self.scale[i] * at)

    def box_to_input(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """A box of the photo in pixels of the input, cut at its border."""
        return _moved(box, self.input_size, lambda at, i: (at - self.origin[i]) / self.scale[i])

    def point_to_input(self, point: Sequence[float]) -> tuple[int, int]:
        """The pixel (x, y) of the input that shows this pixel of the photo.

        Raises:
            ArgumentError: the photo has no such pixel, or the input leaves it out.
        """
        found, shown = list[int](), list[str]()
        for axis, at in ((1, point[0]), (0, point[1])):
            place = (at + 0.5 - self.origin[axis]) / self.scale[axis]
            ends = (self.origin[axis] + self.scale[axis] * e for e in (0, self.input_size[axis]))
            low, high = (round(_within(end, self.photo_size[axis])) for end in ends)
            shown.append(f"{'yx'[axis]} from {low} to {high - 1}")
            inside = 0 <= at < self.photo_size[axis] and 0 <= place < self.input_size[axis]
            found.append(int(place) if inside else -1)
        if min(found) < 0:
            raise ArgumentError(
                f"point={tuple(point)}: the network's input does not show this pixel of the photo; "
                f"expected {' and '.join(shown)}"
            )
        return found[0], found[1]

    def to_photo(self, maps: Tensor, outside: float = 0.0) -> Tensor:
        """Maps (..., h, w) over the whole input, of any resolution, as (..., H, W) of the photo.

        Linear between the centres of the map's positions; masks (bool) take the nearest.

        Args:
            maps: of the input or of a layer.
            outside: what stands where the network did not look: beyond a crop.
        """
        found = maps
        for axis in (0, 1):
            centres = torch.arange(self.photo_size[axis], dtype=torch.float64) + 0.5
            place = (centres - self.origin[axis]) / (self.scale[axis] * self.input_size[axis])
            found = _sampled(found, place, axis - 2)
        seen = self.seen.to(maps.device)
        return torch.where(seen, found, found.new_tensor(outside))

    def to_input(self, mask: Tensor) -> Tensor:
        """A mask (..., H, W) of the photo as (..., h, w): what is at the centre of each pixel.

        Padding is False, or 0.
        """
        found = mask
        for axis in (0, 1):
            centres = torch.arange(self.input_size[axis], dtype=torch.float64) + 0.5
            place = (centres * self.scale[axis] + self.origin[axis]) / self.photo_size[axis]
            index = (place * self.photo_size[axis]).floor().long()
            inside = (index >= 0) & (index < self.photo_size[axis])
            index = index.clamp(0, self.photo_size[axis] - 1).to(mask.device)
            shape = [-1, 1] if axis == 0 else [-1]
            found = found.index_select(axis - 2, index)
            found = torch.where(inside.reshape(shape).to(mask.device), found, found.new_zeros(()))
        return found

    @property
    def seen(self) -> Tensor:
        """(H, W), True where the network's input shows the photo."""
        rows, columns = (
            (torch.arange(self.photo_size[a]) + 0.5 - self.origin[a]) / self.scale[a]
            for a in (0, 1)
        )
        height, width = self.input_size
        return ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))


def photo_geometry(preprocess: Preprocess, photo: Any) -> PhotoGeometry:
    """Find out by test pictures where a preprocessing puts the pixels of a photo of that size.

    Black and white tell the padding, ramps from black to white the place of every column and row;
    sizes and shifts that are whole within the accuracy of that are taken for whole. Any function
    that resizes, crops and pads is understood, whatever library it is written with.

    Cost: nine calls of ``preprocess``, no pass of a model.

    Args:
        preprocess: from a PIL picture to a tensor (C, H, W).
        photo: a PIL picture, or (height, width).

    Raises:
        ArgumentError: the preprocessing turns, mirrors or bends the photo, draws random numbers, or
            changes its colours so that this cannot be told.

    Example::

        >>> from torchvision import transforms as t
        >>> from captum_cnn_ext.photos import photo_geometry
        >>> see = t.Compose([t.Resize(100), t.CenterCrop(80), t.ToTensor()])
        >>> geometry = photo_geometry(see, (200, 300))
        >>> geometry.scale, geometry.origin
        ((2.0, 2.0), (20.0, 70.0))
    """
    given = photo if isinstance(photo, (tuple, list)) else photo.size[::-1]
    size = as_count("photo", given[0]), as_count("photo", given[1])
    with state_as_found(None, []):
        level = _Levels(preprocess, size)
        if np.abs(level(_GREY) - _GREY / 255).max() > _OF_WHITE:
            raise _unknown("changes the brightness of a photo by its content")
        lines = [_line(level, axis) for axis in (0, 1)]
    (down, top), (across, left) = lines
    return PhotoGeometry(size, level.size, (down, across), (top, left))


class _Levels:
    """What a preprocessing makes of grey pictures, from 0 for black to 1 for white."""

    def __init__(self, preprocess: Preprocess, size: tuple[int, int]) -> None:
        self.preprocess, self.photo_size = preprocess, size
        self.black, white = (_seen(preprocess, np.full(size, level)) for level in (0, 255))
        self.size = (self.black.shape[0], self.black.shape[1])
        self.span = white - self.black
        if not np.isfinite(self.span).all() or not np.abs(self.span).max() > 0:
            raise _unknown("gives the same for black and for white")
        inside = np.abs(self.span) > np.abs(self.span).max() / 2
        ends = [np.flatnonzero(inside.any(other))[[0, -1]] for other in (1, 0)]
        self.window = tuple(slice(a, b + 1) for a, b in ends)
        if not inside[self.window].all():
            raise _unknown("shows the photo in another form than a rectangle")

    def __call__(self, picture: Any) -> np.ndarray[Any, Any]:
        """Of the part that is no padding."""
        seen = _seen(self.preprocess, np.broadcast_to(picture, self.photo_size))
        window = self.window
        found: np.ndarray[Any, Any] = (seen - self.black)[window] / self.span[window]
        return found

    def along(self, axis: int, line: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Of a picture that changes along one axis only."""
        found = self(np.round(255 * (line if axis else line[:, None])))
        across: np.ndarray[Any, Any] = found.mean(1 - axis)
        if np.abs(found - np.expand_dims(across, 1 - axis)).max() > _OF_WHITE:
            raise _unknown("turns or bends the photo")
        return across


def _line(level: _Levels, axis: int) -> tuple[float, float]:
    """Scale and origin along one axis: from a ramp roughly, then from a zigzag of steep ones."""
    length, window = level.photo_size[axis], level.window[axis]
    count, border = window.stop - window.start, _BORDER
    places = (np.arange(length) + 0.5) / length  # of pixel centres
    ramp = level.along(axis, places)
    if np.abs(ramp - level.along(axis, places)).max() > _OF_WHITE:
        raise _unknown("draws random numbers")
    if count < 2 * border + 2:
        raise _unknown(f"leaves {count} rows or columns, which are too few to tell")
    at = window.start + np.arange(count) + 0.5
    kept = slice(border, count - border)
    scale, origin = np.polyfit(at[kept], ramp[kept] * length, 1)
    if scale <= 0:
        raise _unknown("mirrors the photo")
    roughly = scale * at + origin
    if np.abs(ramp * length - roughly)[kept].max() > max(2 * length / 255, 2 * scale, 1):
        raise _unknown("bends the photo")
    steep = max(1, int(length / max(_STEEP * scale, _STEEP)))
    zigzag = level.along(axis, 1 - np.abs((places * steep) % 2 - 1))
    part = np.floor(roughly / length * steep)
    there = (part + np.where(part % 2 == 0, zigzag, 1 - zigzag)) * length / steep
    clear = (zigzag > _EDGE) & (zigzag < 1 - _EDGE)  # not at a turn of the zigzag
    clear[:border] = clear[count - border :] = False
    if clear.sum() > 2:
        scale, origin = np.polyfit(at[clear], there[clear], 1)
    return _whole(scale, origin, length, (window.start, window.stop))


def _whole(scale: float, origin: float, length: int, ends: tuple[int, int]) -> tuple[float, float]:
    """The line with whole pixels in it that is as near as was measured, if there is one."""
    # resized to whole pixels, then cropped or padded by whole ones
    resized = length / max(round(length / scale), 1)
    candidates = [(resized, round(origin / resized) * resized)]
    # cropped by whole pixels, then resized
    begin, end = (round(origin + scale * edge) for edge in ends)
    cropped = (end - begin) / (ends[1] - ends[0])
    candidates += [(cropped, begin - cropped * ends[0])] if end > begin else []
    for other, start in candidates:
        off = max(abs(start - origin + (other - scale) * edge) for edge in ends)
        if off < _PIXELS * max(scale, 1):
            return float(other), float(start)
    return float(scale), float(origin)


def _seen(preprocess: Preprocess, levels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the preprocessing makes of a grey picture, (h, w): the mean of its channels."""
    from PIL import Image

    grey = Image.fromarray(np.ascontiguousarray(levels, dtype=np.uint8)).convert("RGB")
    found = preprocess(grey)
    if not isinstance(found, Tensor) or found.ndim not in (3, 4):
        raise ArgumentError(f"preprocess: expected a tensor (C, H, W), got {type(found).__name__}")
    found = found[0] if found.ndim == 4 else found
    means: np.ndarray[Any, Any] = found.detach().double().mean(0).cpu().numpy()
    return means


def _sampled(maps: Tensor, place: Tensor, dim: int) -> Tensor:
    """The map at places from 0 to 1 along an axis, linear between centres of its positions."""
    size = maps.shape[dim]
    at = place * size - 0.5
    if maps.dtype == torch.bool:
        return maps.index_select(dim, at.round().long().clamp(0, size - 1).to(maps.device))
    low = at.floor()
    shape = [-1, 1] if dim == -2 else [-1]
    share = (at - low).reshape(shape).to(maps.device, maps.dtype)
    indices = [(low.long() + step).clamp(0, size - 1).to(maps.device) for step in (0, 1)]
    before, after = (maps.index_select(dim, index) for index in indices)
    return torch.lerp(before, after, share.expand_as(before))


def _within(edge: float, length: int) -> float:
    return float(min(max(edge, 0.0), length))


def _moved(
    box: Sequence[float], size: tuple[int, int], place: Callable[[float, int], float]
) -> tuple[float, float, float, float]:
    """A box with each edge at its ``place(edge, axis)``, cut to a picture of (height, width)."""
    left, top, right, bottom = (
        _within(place(edge, axis), size[axis]) for edge, axis in zip(box, (1, 0, 1, 0), strict=True)
    )
    return left, top, right, bottom


def _unknown(why: str) -> ArgumentError:
    return ArgumentError(
        f"preprocess: where its output lies on the photo is not known, because it {why}"
    )
