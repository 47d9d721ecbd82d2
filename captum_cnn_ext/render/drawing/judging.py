"""What a caller may pass to a drawing function; every error text of this package part."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import Colormap
from PIL import Image
from torch import Tensor

from captum_cnn_ext._numbers import as_indices
from captum_cnn_ext.errors import ArgumentError, nearest

CHANNEL_COUNTS = (1, 3)  # a picture is grey or RGB


def color_map(name: str, cmap: str | Colormap | None, default: str) -> Colormap:
    """Return the colour map meant, `default` for None."""
    if isinstance(cmap, Colormap):
        return cmap
    wanted = default if cmap is None else cmap
    if not isinstance(wanted, str) or wanted not in colormaps:
        raise ArgumentError(
            f"{name}={wanted!r}: expected a matplotlib colour map{nearest(str(wanted), colormaps)}"
        )
    return colormaps[wanted]


def array_tensor(value: Any) -> Any:
    """A NumPy array as a tensor; anything else as it is."""
    plain = isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
    return torch.from_numpy(np.array(value)) if plain else value


def array_picture(value: Any) -> Any:
    """A PIL image, or a NumPy array that may have its channels last, as (C, H, W) or (N, C, H, W).

    Bytes become numbers from 0 to 1; anything else is left as it is.
    """
    if isinstance(value, Image.Image):
        value = np.asarray(value.convert("L" if value.mode in ("1", "L") else "RGB"))
        value = value[..., None] if value.ndim == 2 else value
    if not isinstance(value, np.ndarray):
        return value
    if value.ndim == 2:
        value = value[None]
    elif value.shape[-1] in CHANNEL_COUNTS and value.shape[-3] not in CHANNEL_COUNTS:
        value = np.moveaxis(value, -1, -3)
    found = array_tensor(value)
    return found.float() / 255 if value.dtype == np.uint8 else found


def array_pictures(value: Any) -> Any:
    """The same of one or of a list, which is stacked where all have one shape."""
    if not isinstance(value, (list, tuple)):
        return array_picture(value)
    found = [array_picture(one) for one in value]
    tensors = all(isinstance(one, Tensor) for one in found)
    return torch.stack(found) if tensors and len({one.shape for one in found}) == 1 else value


def real_tensor(name: str, value: Any) -> Tensor:
    """Return a detached floating tensor on the same device, at least of single precision."""
    if not isinstance(value, Tensor):
        hint = "; take one tensor out of the tuple" if isinstance(value, (tuple, list)) else ""
        hint = "; use torch.from_numpy" if hasattr(value, "__array__") else hint
        raise TypeError(f"{name}: got {type(value).__name__}, expected a torch.Tensor{hint}")
    if value.is_complex():
        raise TypeError(f"{name}: got dtype {value.dtype}, expected real numbers; use .abs()")
    if value.numel() == 0:
        raise ArgumentError(f"{name}: got shape {tuple(value.shape)}, expected at least one value")
    tensor: Tensor = value.detach()
    return tensor if tensor.dtype == torch.float64 else tensor.to(torch.float32)


def finite_or_zero(values: Tensor) -> Tensor:
    """Return `values` with 0 for what is not finite."""
    return values.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def picture_batch(name: str, value: Any) -> Tensor:
    """Return pictures as (N, C, H, W); a single (C, H, W) becomes N = 1."""
    batch = real_tensor(name, value)
    shape = tuple(batch.shape)
    batch = batch.unsqueeze(0) if batch.dim() == 3 else batch
    few = CHANNEL_COUNTS
    channels_last = batch.dim() == 4 and shape[-1] in few
    if channels_last:  # unless that is the width of a narrow picture
        channels_last = batch.shape[1] not in few and shape[-2] not in few
    if batch.dim() == 4 and not channels_last:
        return batch
    hint = ""
    if channels_last:
        order = "2, 0, 1" if len(shape) == 3 else "0, 3, 1, 2"
        hint = f"; channels seem to come last, use .permute({order})"
    elif batch.dim() == 5:
        hint = "; show_volumes draws (N, C, D, H, W), pick one slice [:, :, d] for this"
    elif len(shape) == 2:
        hint = "; a grey picture is picture[None], and show_signals draws signals (C, L)"
    raise ArgumentError(f"{name}: got shape {shape}, expected (N, C, H, W) or (C, H, W){hint}")


def map_batch(name: str, value: Any, pictures: Tensor) -> Tensor:
    """Return attributions as (N, C, h, w), one per picture; (C, h, w) and (h, w) mean N = 1."""
    batch = real_tensor(name, value)
    shape, count = tuple(batch.shape), pictures.shape[0]
    if count == 1 and batch.dim() in (2, 3):
        batch = batch.reshape(1, -1, *shape[-2:])
    if batch.dim() != 4:
        raise ArgumentError(
            f"{name}: got shape {shape} for {count} image(s), expected ({count}, C, h, w)"
        )
    if batch.shape[0] != count:
        raise ArgumentError(
            f"{name}: got {batch.shape[0]} map(s) for {count} image(s), expected one map per image"
        )
    rows, columns = batch.shape[1:3]
    ends_in_channels = len(shape) > 2 and shape[-1] in CHANNEL_COUNTS
    if ends_in_channels and (rows == columns > 1 or (rows, columns) == pictures.shape[-2:]):
        raise ArgumentError(
            f"{name}: got shape {shape}, channels seem to come last; "
            "expected (N, C, h, w), use .permute to bring the channels before height and width"
        )
    return batch


def named_tensors(name: str, value: Any) -> None:
    """Judge a mapping from the names of methods to their attributions."""
    if not isinstance(value, Mapping):
        got = type(value).__name__
        raise TypeError(f'{name}: got {got}, expected a dict such as {{"Grad-CAM": tensor}}')
    if not value:
        raise ValueError(f"{name}: got an empty dict, expected at least one method")


def maps_of(name: str, value: Any, shape: Sequence[int]) -> Tensor:
    """Return attributions of signals or volumes of `shape` (N, C, ...), of any resolution."""
    maps = real_tensor(name, value)
    count, axes = shape[0], len(shape) - 2
    if maps.dim() == axes + 1 and count == 1:
        maps = maps[None]
    if maps.dim() != axes + 2 or len(maps) != count:
        letters = {1: "l", 3: "d, h, w"}[axes]
        raise ValueError(
            f"{name}: got shape {tuple(value.shape)}, expected ({count}, C, {letters}), one map "
            "for each"
        )
    return maps


def box_lists(name: str, value: Sequence[Any] | None, count: int) -> list[list[tuple[float, ...]]]:
    """Return the boxes of each picture; None is none, and a picture's own None too."""
    if value is None:
        return [[]] * count
    if isinstance(value, str) or len(value) != count:
        raise ArgumentError(
            f"{name}: got {len(value)} for {count} image(s), expected one entry for each: boxes "
            "(K, 4), one box, or None"
        )
    found = []
    for n, boxes in enumerate(value):
        rows = torch.as_tensor([] if boxes is None else boxes, dtype=torch.float64).detach().cpu()
        rows = rows[None] if rows.ndim == 1 and rows.numel() else rows
        if rows.numel() and (rows.ndim != 2 or rows.shape[1] != 4):
            raise ArgumentError(
                f"{name}[{n}]: got shape {tuple(rows.shape)}, expected boxes (K, 4) as left, top, "
                "right, bottom"
            )
        found.append([tuple(row) for row in rows.tolist()])
    return found


def one_picture(name: str, value: Any) -> Tensor:
    """Return one picture as (1, C, H, W)."""
    batch = picture_batch(name, value)
    if batch.shape[0] != 1:
        raise ArgumentError(f"{name}: got {batch.shape[0]} images, expected one; pick {name}[i]")
    return batch


def chosen(name: str, indices: int | Sequence[int] | Tensor | None, size: int) -> list[int]:
    """Return the indices named, all of `size` for None."""
    if indices is None:
        return list(range(size))
    picked = as_indices(name, indices)
    for index in picked:
        if not 0 <= index < size:
            raise ArgumentError(f"{name}: got {index}, expected 0 to {size - 1}")
    return picked


def labels(name: str, value: Sequence[str] | None, count: int, what: str) -> list[str] | None:
    """Return one label for each of `count` things, or None."""
    if value is None:
        return None
    if isinstance(value, str):
        raise TypeError(f"{name}: got one string {value!r}, expected a list of {count}")
    if len(value) != count:
        raise ArgumentError(f"{name}: got {len(value)} for {count} {what}, expected one for each")
    return [str(label) for label in value]
