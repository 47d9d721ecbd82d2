"""Maps of several layers joined into one."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer
from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.attr.cams.base import JoinedLayers
from captum_cnn_ext.attr.cams.gradient_base import GradientCam
from captum_cnn_ext.attr.cams.gradient_cam import BASES, base_weights
from captum_cnn_ext.attr.resized_maps import LINEAR, resized
from captum_cnn_ext.errors import ArgumentError, choose

_SCALE = 2.0  # of the tanh: Jiang 2021, section III-D


def fuse(
    maps: Sequence[Tensor], how: str = "max-tanh", size: int | Sequence[int] | None = None
) -> Tensor:
    r"""Join maps of several layers: each made positive, scaled to at most 1, brought to one size.

    ``"max-tanh"`` is the maximum of tanh(2 M / max M), LayerCAM's fusion (Jiang 2021);
    ``"mean"`` the mean and ``"product"`` the product of the maps scaled to [0, 1] by their
    smallest and largest values, the product being RefineCAM's (arXiv:2605.14641). Scaling is done
    for each example and map, before resizing.

    Args:
        maps: tensors ``(N, C, *positions)`` with the same N and C, one for each layer.
        how: "max-tanh", "mean" or "product".
        size: positions of the result; None takes the largest map's.

    Returns:
        One tensor ``(N, C, *size)``; 0 where an example's maps are 0 or less.

    Raises:
        ArgumentError: there are no maps, or they do not belong together.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerLayerCam, fuse
        >>> cam = LayerLayerCam(resnet18().eval(), ["layer3", "layer4"])
        >>> fuse(cam.attribute(torch.randn(2, 3, 64, 64), target=3)).shape
        torch.Size([2, 1, 4, 4])
    """
    choose("how", how, ["max-tanh", "mean", "product"])
    maps = list(maps)
    for value in maps:
        if not isinstance(value, Tensor) or value.ndim - 2 not in LINEAR:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ArgumentError(
                "maps: expected a list of tensors (N, C, *positions) with 1 to 3 dimensions of "
                f"positions, one for each layer; got {found}"
            )
    kinds = {(m.ndim, *m.shape[:2]) for m in maps}
    if len(kinds) != 1:
        raise ArgumentError(
            "maps: expected at least one tensor, all with the same N and C, got "
            f"{', '.join(str(tuple(m.shape)) for m in maps) or 'none'}"
        )
    positions = _positions(maps, size)
    scaled = torch.stack([resized(_scaled(m, how), positions) for m in maps])
    if how == "max-tanh":
        return scaled.amax(0)
    return scaled.mean(0) if how == "mean" else scaled.prod(0)


def _scaled(maps: Tensor, how: str) -> Tensor:
    """The positive part of each example's map, brought to [0, 1]."""
    flat = maps.relu().flatten(1)
    if how != "max-tanh":
        flat = flat - flat.amin(1, keepdim=True)
    largest = flat.amax(1, keepdim=True)
    flat = torch.where(largest == 0, 0, flat / largest)
    return (torch.tanh(_SCALE * flat) if how == "max-tanh" else flat).reshape(maps.shape)


def _positions(maps: Sequence[Tensor], size: int | Sequence[int] | None) -> list[int]:
    dimensions = maps[0].ndim - 2
    if size is None:
        return [max(sizes) for sizes in zip(*(m.shape[2:] for m in maps), strict=True)]
    if not isinstance(size, Sequence):
        return [as_count("size", size)] * dimensions
    if len(size) != dimensions:
        raise ArgumentError(
            f"size={size!r}: expected an integer or {dimensions} of them, as the maps have "
            f"{dimensions} dimensions of positions"
        )
    return [as_count(f"size[{i}]", n) for i, n in enumerate(size)]


class LayerRefineCam(JoinedLayers, GradientCam):
    r"""RefineCAM: the product of the maps of several layers, from one forward and backward pass.

    .. math:: L = \prod_l U\,\frac{\mathrm{relu}(M_l) - \min}{\max - \min}

    M_l is the base CAM at layer l, U brings it to the largest layer's size: what is lit is lit at
    every layer, with the early layers' detail. A single map comes out, whatever the number of
    layers, and it is positive.

    Cost: one forward pass, one backward pass down to the earliest layer.

    Reference: *How to Evaluate and Refine your CAM*, 2026, arXiv:2605.14641.

    Args:
        layer: a list of modules or dotted names, in any order.
        base: "grad-cam++" as in the paper, "grad-cam", "x-grad-cam", "hires-cam" or "layer-cam".
        size: positions of the result; None takes the largest layer's.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerRefineCam
        >>> cam = LayerRefineCam(resnet18().eval(), ["layer2", "layer4"], base="layer-cam")
        >>> cam.attribute(torch.randn(2, 3, 64, 64), target=3).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        base: str = "grad-cam++",
        size: int | Sequence[int] | None = None,
    ) -> None:
        GradientCam.__init__(self, forward_func, layer, device_ids)
        self.base, self.size = choose("base", base, list(BASES)), size

    def _joined(self, maps: list[Tensor]) -> Tensor:
        return fuse(maps, "product", self.size)

    def _weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return base_weights(self.base, activations, gradients, type(self).__name__)
