"""How much each pixel of a unit's field counts: the effective receptive field."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.backward.autograd_graph import connected
from captum_cnn_ext._engine.judging.arguments import Layer, find_layer
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.running.batching import in_chunks
from captum_cnn_ext._engine.running.layer_recording import record
from captum_cnn_ext._engine.running.layer_sites import layer_sites
from captum_cnn_ext._numbers import whole
from captum_cnn_ext.errors import ArgumentError

# Luo et al. count the pixels that matter more than two standard deviations of a Gaussian do
_BEYOND_TWO_SIGMA = 1 - 0.9545


@dataclass(frozen=True)
class EffectiveField:
    """What each pixel contributes to a position of a layer, on average.

    ``map`` (H, W) is 1 at its maximum; ``size`` is the side of a square of as many pixels as
    contribute more than 4.55 % of the maximum.
    """

    map: Tensor
    position: tuple[int, int]
    images: int

    __repr__ = brief

    @property
    def size(self) -> float:
        """Side in pixels, as Luo et al. measure it."""
        return math.sqrt(float((self.map > _BEYOND_TWO_SIGMA).sum()))


def effective_receptive_field(
    model: Callable[..., Any],
    layer: Layer,
    images: Tensor,
    position: Sequence[int] | None = None,
    *,
    call: int | None = None,
    internal_batch_size: int = 16,
    show_progress: bool = False,
) -> EffectiveField:
    r"""The effective receptive field of a layer: the mean size of its gradient at each pixel.

    .. math:: E_{ij} = \frac{1}{N} \sum_n \sum_c
        \left| \frac{\partial \sum_k A_k(p)}{\partial x_{n c i j}} \right| / \max E

    The theoretical field says which pixels may count; this one, on real images, how much they do.

    Reference: Luo, Li, Urtasun, Zemel, *Understanding the Effective Receptive Field in Deep
    Convolutional Neural Networks*, 2016, arXiv:1701.04128.

    Cost: one forward pass up to the layer and one backward pass from it, for all images.

    Args:
        model: the network, or a function of the images that runs it.
        layer: a module that gives (N, C, H, W), or its dotted name.
        images: (N, C, H, W), network inputs; many, since one image's gradient is noisy.
        position: (row, column) of the unit; None is the middle of the map.
        call: which call of a layer that runs several times; None is the last.
        internal_batch_size: at most so many images at once.
        show_progress: draw a progress bar over the images.

    Raises:
        ArgumentError: the layer gives no maps or has no such position, or does not depend on the
            images.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.evidence import effective_receptive_field
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5), torch.nn.ReLU())
        >>> field = effective_receptive_field(net, "0", torch.rand(4, 3, 32, 32))
        >>> field.map.shape, round(field.size, 3)
        (torch.Size([32, 32]), 5.0)
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or not len(images):
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ArgumentError(f"images: expected a tensor (N, C, H, W), got {got}")
    (site,) = layer_sites(model, find_layer(model, layer), False, call)
    places: list[tuple[int, int]] = []

    def run(rows: slice) -> Tensor:
        with record(model, [site], (images[rows],), from_inputs=True) as recording:
            (output, *_), (leaf,) = recording.outputs(0), recording.inputs
            places.append(_position(output, position, site.name))
            if not connected([leaf], output):
                raise ArgumentError(f"layer {site.name!r} does not depend on the images")
            row, column = places[-1]
            (gradient,) = torch.autograd.grad(output[:, :, row, column].sum(), leaf)
            return gradient.abs().sum((0, 1))

    total = sum(
        in_chunks(
            run,
            len(images),
            internal_batch_size,
            show_progress=show_progress,
            description="effective receptive field",
        ),
        start=torch.zeros((), device=images.device),
    )
    if not total.max() > 0:
        raise ArgumentError(
            f"layer {site.name!r}: the gradient at {places[0]} is 0 for these images; take more "
            "images or another position"
        )
    return EffectiveField((total / total.max()).detach(), places[0], len(images))


def _position(output: Tensor, position: Sequence[int] | None, layer: str) -> tuple[int, int]:
    if output.ndim != 4:
        raise ArgumentError(
            f"layer {layer!r}: gives {tuple(output.shape)}; expected maps (N, C, H, W)"
        )
    height, width = output.shape[2:]
    if position is None:
        return height // 2, width // 2
    given = [whole(index) for index in position] if isinstance(position, Sequence) else []
    inside = [i is not None and 0 <= i < n for i, n in zip(given, (height, width), strict=False)]
    if len(given) != 2 or not all(inside):
        raise ArgumentError(
            f"position={position!r}: expected (row, column); layer {layer!r} has {height} x "
            f"{width} positions"
        )
    return int(position[0]), int(position[1])
