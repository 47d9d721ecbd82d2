"""Objectives about directions in the space of a layer's channels."""

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer as AnyLayer
from captum_cnn_ext._numbers import as_number
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.synthesis.objectives.algebra import (
    Batch,
    Objective,
    Place,
    View,
    at_place,
    module_or_name,
    positions_mean,
)

_COSINE_FLOOR = 0.1  # Olah 2017: below it a direction would pull away from where it must go


def Direction(
    layer: AnyLayer,
    vector: Tensor,
    *,
    batch: Batch = None,
    channel_dim: int = 1,
    at_input: bool = False,
    call: int | None = None,
) -> Objective:
    r"""A direction in the space of a layer's channels, :math:`\mathrm{mean}_{hw} \langle v, A_{hw}
    \rangle`.

    Args:
        layer, batch, channel_dim, at_input, call: as in :func:`Channel`.
        vector: (C,), or (N, C) with one for each image.

    Raises:
        ArgumentError: (when used) the layer has another number of channels.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis import Direction
        >>> Direction("layer3", torch.randn(2, 256)).images
        2
    """
    place = Place(module_or_name(layer), at_input, call)
    fixed = _vector(vector)

    def score(view: View) -> Tensor:
        along, _ = _along(place, view.at(place, channel_dim), fixed)
        return positions_mean(along)

    return at_place(score, place, batch, fixed, f"direction in {place}")


def CosineDirection(
    layer: AnyLayer,
    vector: Tensor,
    *,
    power: float = 2.0,
    batch: Batch = None,
    channel_dim: int = 1,
    at_input: bool = False,
    call: int | None = None,
) -> Objective:
    r"""A direction, and little else: :math:`\mathrm{mean}_{hw} \langle v, A \rangle \max(0.1,
    \cos(v, A))^p`.

    Reference: Carter, Armstrong, Schubert, Johnson, Olah, *Activation Atlas*, 2019, Distill.

    Args:
        layer, vector, batch, channel_dim, at_input, call: as in :func:`Direction`.
        power: p; 0 is :func:`Direction`.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis import CosineDirection
        >>> print(CosineDirection("layer3", torch.randn(256)))
        cosine direction in layer3
    """
    place = Place(module_or_name(layer), at_input, call)
    fixed, power = _vector(vector), as_number("power", power, 0)

    def score(view: View) -> Tensor:
        along, cosine = _along(place, view.at(place, channel_dim), fixed)
        return positions_mean(along * cosine.clamp_min(_COSINE_FLOOR) ** power)

    return at_place(score, place, batch, fixed, f"cosine direction in {place}")


def _vector(vector: Tensor) -> Tensor:
    if not isinstance(vector, Tensor) or vector.ndim not in (1, 2):
        got = tuple(vector.shape) if isinstance(vector, Tensor) else type(vector).__name__
        raise ArgumentError(f"vector: expected a tensor (C,) or (N, C), got {got}")
    return vector.detach().clone()


def _along(place: Place, maps: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    """Dot product and cosine of ``vector`` with each position of maps (N, C, ...): (N, P)."""
    if vector.shape[-1] != maps.shape[1] or (vector.ndim > 1 and len(vector) != len(maps)):
        raise ArgumentError(
            f"vector: got shape {tuple(vector.shape)}; expected ({maps.shape[1]},) or "
            f"({len(maps)}, {maps.shape[1]}) for layer {str(place)!r}"
        )
    columns = maps.reshape(*maps.shape[:2], -1)
    direction = vector.to(maps).expand(len(maps), -1)
    dot = torch.einsum("nc,ncp->np", direction, columns)
    norms = direction.norm(dim=1)[:, None] * columns.norm(dim=1)
    return dot, dot / norms.clamp_min(torch.finfo(maps.dtype).tiny ** 0.5)
