"""From a map to the regions that it marks: boxes and masks, on the input or on the photo."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext._engine.connected_components import bounds, connected_components, skimage
from captum_cnn_ext._engine.judging.inputs import as_tensors
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._numbers import as_count_or_none, as_number, as_size
from captum_cnn_ext.errors import ArgumentError, choose
from captum_cnn_ext.photos import PhotoGeometry

LEVELS = {"otsu": None, "energy": 0.5, "percentile": 90.0, "maximum": 0.2}
"""The thresholds by name, with the level that stands where none is given."""


@dataclass(frozen=True)
class Region:
    """One connected part of a map that is above the threshold.

    Args:
        box: left, top, right, bottom in pixels, the last two excluded.
        mask: (H, W), True in the region.
        area: how many pixels that is.
        energy: its share of all that is positive in the map, from 0 to 1.
        peak: (x, y), the centre of its strongest pixel.
    """

    box: tuple[float, float, float, float]
    mask: Tensor = field(repr=False, compare=False)
    area: int
    energy: float
    peak: tuple[float, float]

    __repr__ = brief


def regions(
    attributions: Any,
    threshold: str = "otsu",
    level: float | None = None,
    *,
    size: int | Sequence[int] | None = None,
    geometry: PhotoGeometry | Sequence[PhotoGeometry] | None = None,
    top: int | None = None,
    min_energy: float = 0.0,
) -> Any:
    r"""The regions where a map is strong, the strongest first.

    Of the map's positive part, upsampled to the input, what is above the threshold falls into
    connected parts (pixels that touch at a corner connect), each with its box and mask.

    - ``"otsu"``: between the two groups of values that differ most;
    - ``"energy"``: the strongest pixels that hold the share ``level`` of all that is positive;
    - ``"percentile"``: pixels from the ``level``-th percentile of the map on;
    - ``"maximum"``: pixels above ``level`` times the maximum, 0.2 as in the paper of CAM.

    Cost: no pass of a model.

    Reference: Otsu, *A Threshold Selection Method from Gray-Level Histograms*, 1979, IEEE
    Transactions on Systems, Man, and Cybernetics 9; boxes from a share of the maximum: Zhou,
    Khosla, Lapedriza, Oliva, Torralba, *Learning Deep Features for Discriminative Localization*,
    2016, arXiv:1512.04150.

    Args:
        attributions: a map (H, W), or maps (N, H, W) or (N, C, H, W) of any method; channels are
            added up.
        threshold: "otsu", "energy", "percentile" or "maximum".
        level: what the threshold's name means by it; None is 0.5 of the energy, the 90th
            percentile, 0.2 of the maximum.
        size: of the network's input, H or (H, W), where the map is a layer's and coarser.
        geometry: how the input lies on its photo (`captum_cnn_ext.photos.PhotoGeometry`), one or
            one for each map: boxes, masks and peaks are then in pixels of the photo.
        top: at most so many regions of a map.
        min_energy: only regions that hold at least this share of the map's positive part.

    Returns:
        A list of regions for a map (H, W); for several maps a list of these. A map without
        anything positive, or that is constant, has none.

    Raises:
        ArgumentError: shapes or numbers that do not fit.
        ImportError: scikit-image is not installed.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.evidence import regions
        >>> heat = torch.zeros(20, 30)
        >>> heat[5:9, 10:22] = 1
        >>> found, = regions(heat)
        >>> found.box, found.area, found.energy
        ((10.0, 5.0, 22.0, 9.0), 48, 1.0)
    """
    choose("threshold", threshold, list(LEVELS))
    level = _level(threshold, level)
    most = as_count_or_none("top", top)
    least = as_number("min_energy", min_energy, 0, 1)
    given = as_tensors(attributions, "attributions")
    maps = given[0].detach()
    if len(given) > 1 or maps.ndim not in (2, 3, 4) or not maps.numel():
        raise ArgumentError(
            f"attributions: expected (H, W), (N, H, W) or (N, C, H, W), got "
            f"{', '.join(str(tuple(t.shape)) for t in given)}"
        )
    if not bool(maps.isfinite().all()):
        raise ArgumentError("attributions: some values are not finite")
    single = maps.ndim == 2
    maps = maps.to(torch.float64).cpu()
    maps = maps.sum(1) if maps.ndim == 4 else maps[None] if single else maps
    places = geometry if isinstance(geometry, (list, tuple)) else [geometry] * len(maps)
    if len(places) != len(maps):
        raise ArgumentError(f"geometry: expected one, or {len(maps)}, got {len(places)}")
    found = []
    for one, place in zip(maps, places, strict=True):
        heat = _upsampled(one, place.input_size if place and size is None else size).relu()
        if place is not None and heat.shape != torch.Size(place.input_size):
            raise ArgumentError(
                f"size: {tuple(heat.shape)}, but geometry is of an input {place.input_size}"
            )
        kept = [each for each in _parts(heat.numpy(), threshold, level) if each.energy >= least]
        kept.sort(key=lambda each: -each.energy)
        found.append([_on_photo(each, place) for each in kept[:most]])
    return found[0] if single else found


def _level(threshold: str, level: float | None) -> float:
    default = LEVELS[threshold]
    if default is None:
        if level is not None:
            raise ArgumentError(f"level={level!r}: threshold='otsu' finds its own; pass None")
        return 0.0
    most = 100.0 if threshold == "percentile" else 1.0
    value = default if level is None else level
    if threshold == "energy":
        return as_number("level", value, above=0, maximum=most)
    return as_number("level", value, 0, below=most)


def _upsampled(heat: Tensor, size: int | Sequence[int] | None) -> Tensor:
    if size is None:
        return heat
    shape = as_size(size)
    if heat.shape == shape:
        return heat
    return F.interpolate(heat[None, None], shape, mode="bilinear", align_corners=False)[0, 0]


def _parts(heat: np.ndarray[Any, Any], threshold: str, level: float) -> list[Region]:
    """The connected parts above the threshold, in pixels of the map."""
    total = float(heat.sum())
    if total <= 0 or heat.min() == heat.max():
        return []
    numbers = connected_components(heat > _value(heat, threshold, level))
    found = []
    for number in range(1, int(numbers.max()) + 1):
        mask = numbers == number
        left, top, right, bottom = bounds(mask)
        y, x = np.unravel_index(int(np.where(mask, heat, -1).argmax()), heat.shape)
        region = Region(
            (float(left), float(top), float(right), float(bottom)),
            torch.from_numpy(mask),
            int(mask.sum()),
            float(heat[mask].sum()) / total,
            (float(x) + 0.5, float(y) + 0.5),
        )
        found.append(region)
    return found


def _value(heat: np.ndarray[Any, Any], threshold: str, level: float) -> float:
    """What pixels must be above."""
    if threshold == "otsu":
        return float(skimage("filters").threshold_otsu(heat))
    if threshold == "maximum":
        return level * float(heat.max())
    if threshold == "percentile":
        least = float(np.percentile(heat, level))
    else:
        strongest = np.sort(heat, axis=None)[::-1]
        held = np.cumsum(strongest)
        last = int(np.searchsorted(held, level * held[-1] * (1 - 1e-12)))
        least = strongest[min(last, len(held) - 1)]
    # pixels of that very value are in, all of them
    return float(heat[heat < least].max(initial=0.0))


def _on_photo(region: Region, place: PhotoGeometry | None) -> Region:
    if place is None:
        return region
    mask = place.to_photo(region.mask)
    x, y = region.peak
    peak = (place.origin[1] + place.scale[1] * x, place.origin[0] + place.scale[0] * y)
    return Region(place.box_to_photo(region.box), mask, int(mask.sum()), region.energy, peak)
