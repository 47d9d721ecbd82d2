"""What a reconstruction starts from and what comes back: channels, seeds, results."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.backward.coverage import Coverage
from captum_cnn_ext._engine.backward.units_to_pixels import Units
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._notebook import drawn_by, write_drawing
from captum_cnn_ext._numbers import as_count, whole
from captum_cnn_ext.attr.layers.reshape_transform import flat
from captum_cnn_ext.errors import ArgumentError, choose

Seed = str | tuple[int, ...] | Tensor


@dataclass(frozen=True)
class Reconstructions:
    """K feature maps of N images, back in pixels.

    Args:
        attributions: (N, K, C, H, W), detached.
        channels: (N, K), the channel of each picture.
        positions: (N, K, 2), row and column of the unit in its map; None for whole maps and for
            seeds given as tensors.
        values: (N, K), the unit's activation; the map's maximum where there is no position.
        boxes: (N, K, 2, 2), [[top, bottom], [left, right]) of the pixels that the unit sees; None
            where they are not known.
        coverage: what the backward rule met.
        spatial: how many axes of positions the layer has.
    """

    attributions: Tensor
    channels: Tensor
    positions: Tensor | None
    values: Tensor
    boxes: Tensor | None
    coverage: Coverage
    spatial: int

    __repr__ = brief
    _repr_png_ = drawn_by("show_images", lambda found: (_pictures(found), _titles(found)))

    def save(
        self, path: str | os.PathLike[str], images: Tensor | None = None, **drawing: Any
    ) -> Path:
        """Write the pictures to a file, whole or not at all; with ``images`` beside the photos.

        Args:
            path: a file that ends in .png, .jpg, .pdf, .svg or .webp.
            images: (N, C, H, W), as given to `reconstruct`: each photo, and under each picture the
                same pixels of the photo, as `captum_cnn_ext.render.show_reconstructions` draws it.
            drawing: its further arguments, such as ``mean``, ``std`` and ``crop``.

        Raises:
            ArgumentError: another ending, or its folder cannot be written to; images of other
                examples; signals, which have no picture.
        """
        if images is not None:
            return write_drawing(path, "show_reconstructions", (images, self), **drawing)
        if drawing:
            raise ArgumentError(f"{next(iter(drawing))}: is for images=, the photos beside")
        return write_drawing(path, "show_images", (_pictures(self), _titles(self)))

    @classmethod
    def of(
        cls, units: Units, attributions: Tensor, coverage: Coverage, boxes: Tensor | None
    ) -> "Reconstructions":
        """The result for these units."""
        spatial = units.seeds.ndim - 2
        return cls(
            attributions,
            units.channels,
            units.positions,
            units.values,
            boxes,
            coverage,
            spatial,
        )


def _pictures(found: Reconstructions) -> Tensor:
    """(N K, C, H, W) around grey, which is 0; each picture on its own scale."""
    pictures = found.attributions.flatten(0, 1)
    largest = pictures.abs().flatten(1).amax(1).clamp_min(torch.finfo(pictures.dtype).tiny)
    return 0.5 + pictures / (2 * largest.reshape(-1, *[1] * (pictures.ndim - 1)))


def _titles(found: Reconstructions) -> list[str]:
    return [f"channel {channel}" for channel in found.channels.flatten().tolist()]


def joined(parts: Sequence[Reconstructions]) -> Reconstructions:
    """The results of chunks of examples as one."""

    def cat(tensors: list[Tensor | None]) -> Tensor | None:
        known = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(known) if len(known) == len(tensors) else None

    first = parts[0]
    return Reconstructions(
        torch.cat([p.attributions for p in parts]),
        torch.cat([p.channels for p in parts]),
        cat([p.positions for p in parts]),
        torch.cat([p.values for p in parts]),
        cat([p.boxes for p in parts]),
        first.coverage,
        first.spatial,
    )


def choose_channels(
    activation: Tensor, channels: int | Sequence[int] | Tensor | None, top: int | None
) -> Tensor:
    """The channels of each example, (N, K): those asked for, and of these the ``top`` strongest.

    Raises:
        ArgumentError: a channel that the layer does not have, or more than there are.
    """
    examples, available = activation.shape[:2]
    try:
        asked = torch.arange(available) if channels is None else torch.as_tensor(channels)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"channels={channels!r}: expected channel indices") from error
    asked = asked.to(activation.device)
    if asked.dtype.is_floating_point or asked.dtype == torch.bool or not asked.numel():
        raise ArgumentError(f"channels={channels!r}: expected channel indices")
    asked = asked.reshape(1, -1) if asked.ndim < 2 else asked
    if asked.ndim > 2 or len(asked) not in (1, examples):
        raise ArgumentError(
            f"channels: expected a tensor (K,) or ({examples}, K), got {tuple(asked.shape)}"
        )
    wrong = asked[(asked < -available) | (asked >= available)]
    if wrong.numel():
        raise ArgumentError(
            f"channels: {int(wrong[0])} is not a channel of the layer, which has {available}; "
            f"expected an index from 0 to {available - 1}"
        )
    asked = (asked % available).expand(examples, -1)
    if top is None:
        return asked
    top = as_count("top", top, 1, asked.shape[1])  # of the channels to choose from
    strongest = flat(_maps(activation, asked)).amax(2).topk(top, 1).indices
    return asked.gather(1, strongest)


def seeded_units(activation: Tensor, channels: Tensor, seed: Seed) -> Units:
    """The values that the way back starts from, ``(N, K, *positions)``, by Zeiler and Fergus' rule.

    Everything else in the layer is 0, and what is kept has its activation as its value.

    Raises:
        ArgumentError: a seed of another kind, a position outside the map, a tensor that does not
            broadcast.
    """
    maps = _maps(activation, channels)
    rows, shape = flat(maps), maps.shape[2:]
    values, places = rows.max(2)
    if isinstance(seed, Tensor):
        try:
            seeds = seed.to(maps).expand(maps.shape)
        except RuntimeError as error:
            raise ArgumentError(
                f"seed: a tensor of shape {tuple(seed.shape)} does not broadcast to (N, K, "
                f"*positions) = {tuple(maps.shape)}"
            ) from error
        return Units(channels, seeds, None, values)
    if isinstance(seed, str) and choose("seed", seed, ("max", "map")) == "map":
        return Units(channels, maps, None, values)
    if isinstance(seed, tuple):
        inside = len(seed) == len(shape) and all(
            (i := whole(p)) is not None and -size <= i < size
            for p, size in zip(seed, shape, strict=True)
        )
        if not inside:
            raise ArgumentError(
                f"seed={seed!r}: expected a position in the layer's maps of {tuple(shape)}"
            )
        place = 0
        for p, size in zip(seed, shape, strict=True):
            place = place * size + p % size
        places = torch.full_like(places, place)
        values = rows[:, :, place]
    elif not isinstance(seed, str):
        raise ArgumentError(
            f"seed={seed!r}: expected 'max', 'map', a position such as (3, 5), or a tensor"
        )
    seeds = torch.zeros_like(rows).scatter_(2, places.unsqueeze(2), values.unsqueeze(2))
    positions = torch.stack(torch.unravel_index(places, shape), -1) if len(shape) == 2 else None
    return Units(channels, seeds.reshape(maps.shape), positions, values)


def _maps(activation: Tensor, channels: Tensor) -> Tensor:
    """``(N, C, *positions)`` at channels (N, K): ``(N, K, *positions)``."""
    rows = torch.arange(len(channels), device=channels.device).unsqueeze(1)
    return activation[rows, channels]
