"""Attributions to heat in [-1, 1]: sum channels, upsample, keep a sign, divide by a scale."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Heat:
    """Maps of one method, at the size of the picture and with one sign kept.

    values: (N, H, W), (N, D, H, W) of volumes, finite. broken: as values, where the attribution
    was not finite. broken_count: (N,), how many values of the given map that were. size: values
    in a given map.
    """

    values: Tensor
    broken: Tensor
    broken_count: Tensor
    size: int


def _keep_sign(values: Tensor, sign: str) -> Tensor:
    if sign == "positive":
        return values.clamp_min(0)
    if sign == "negative":
        return values.clamp_max(0)
    return values.abs() if sign == "absolute_value" else values


def heat_of(maps: Tensor, size: tuple[int, ...], sign: str, interpolate_mode: str) -> Heat:
    """Sum (N, C, h, w) over channels, bring it to `size`, then keep only `sign`.

    Values that are not finite count as 0 and are remembered, so that they do not spread.
    """
    total = maps.sum(1, keepdim=True)
    broken = ~total.isfinite()
    values = total.masked_fill(broken, 0)
    count, per_map = broken.flatten(1).sum(1), total[0].numel()
    if total.shape[2:] != size:
        solid = interpolate_mode == "bilinear" and len(size) == 3
        values = F.interpolate(values, size, mode="trilinear" if solid else interpolate_mode)
        broken = F.interpolate(broken.to(values.dtype), size, mode="nearest") > 0
    return Heat(_keep_sign(values[:, 0], sign), broken[:, 0], count, per_map)


def outlier_scale(values: Tensor, outlier_perc: float) -> Tensor:
    """Captum's scale of each row of (R, n), as (R,).

    The magnitudes of a row are sorted and summed up; its scale is the magnitude at which this
    sum reaches (100 - outlier_perc) % of the total. An all-zero row has scale 0.
    """
    magnitudes = values.abs().sort(dim=1).values
    exact = torch.float32 if values.device.type == "mps" else torch.float64
    sums = magnitudes.cumsum(dim=1, dtype=exact)
    wanted = sums[:, -1:] * ((100 - outlier_perc) / 100)
    position = torch.searchsorted(sums, wanted).clamp_max(values.shape[1] - 1)
    return magnitudes.gather(1, position)[:, 0]


def shared_scales(heats: list[Heat], share: str, outlier_perc: float) -> list[Tensor]:
    """Scale (N,) of every method's maps: by panel, by column (method) or by the whole figure."""
    if share == "panel":
        return [outlier_scale(heat.values.flatten(1), outlier_perc) for heat in heats]
    if share == "figure":
        device = heats[0].values.device
        everything = torch.cat([heat.values.to(device).flatten() for heat in heats])
        one = outlier_scale(everything[None], outlier_perc)
        return [one.to(heat.values).expand(len(heat.values)) for heat in heats]
    columns = [outlier_scale(heat.values.reshape(1, -1), outlier_perc) for heat in heats]
    return [one.expand(len(heat.values)) for one, heat in zip(columns, heats, strict=True)]


def normalised(heat: Heat, scale: Tensor, sign: str) -> Tensor:
    """Values over their scale, clipped to [-1, 1], NaN where not finite.

    As in Captum, sign "negative" turns the values positive: 1 is the most negative.
    """
    divisor = torch.where(scale > 0, scale, 1).reshape(-1, *[1] * (heat.values.ndim - 1))
    shown = (heat.values / divisor).clamp(-1, 1)
    shown = -shown if sign == "negative" else shown
    return shown.masked_fill(heat.broken, float("nan"))


def remarks(heat: Heat, sign: str) -> list[str]:
    """What a reader must know of each panel: nothing to see, or values that are no numbers."""
    strongest = heat.values.abs().flatten(1).amax(1)
    empty = {"positive": "nothing positive", "negative": "nothing negative"}.get(sign, "all zero")
    texts = []
    for peak, broken in torch.stack([strongest, heat.broken_count.to(strongest)], 1).tolist():
        parts = [empty] if peak == 0 and broken < heat.size else []
        parts += [f"{broken:.0f} of {heat.size} values not finite"] if broken else []
        texts.append(", ".join(parts))
    return texts
