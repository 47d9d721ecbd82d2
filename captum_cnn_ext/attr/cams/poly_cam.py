"""Poly-CAM: Score-CAM's maps of several layers, each refining the coarser one after it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer
from captum_cnn_ext._engine.to_device import to_device
from captum_cnn_ext.attr.cams.base import JoinedLayers
from captum_cnn_ext.attr.cams.score_cam import MaskedInputCam
from captum_cnn_ext.attr.resized_maps import resized
from captum_cnn_ext.errors import choose

_VARIANTS = ("+", "-", "+-")
_SMALLEST = 1e-12  # of what a map is divided by, as the authors' code


def local_normalisation(maps: Tensor, size: Sequence[int]) -> Tensor:
    """M / U(D(M)): a map divided by itself as it looks at the coarser ``size``."""
    coarse = resized(maps, size)
    return maps / resized(coarse, maps.shape[2:]).clamp_min(_SMALLEST)


def refined(maps: Sequence[Tensor]) -> Tensor:
    """From the coarsest map to the finest: P_l = norm(M_l) U(P_{l+1})."""
    product = maps[0]
    for finer in maps[1:]:
        product = local_normalisation(finer, product.shape[2:]) * resized(product, finer.shape[2:])
    return product


class LayerPolyCam(JoinedLayers, MaskedInputCam):
    r"""Poly-CAM: a late layer's map, refined through earlier layers to a high resolution.

    .. math::
        P_L = M_L, \quad P_l = \frac{M_l}{U(D(M_l))} \odot U(P_{l+1}), \quad
        M_l = \mathrm{relu}\Big(\sum_k w_k A_k\Big)

    D brings a map to the coarser layer's size and U back, so that only the local detail of the
    finer map counts. With masks m_k = minmax(U(A_k)) the weights are

    .. math::
        w_k^+ = p_c(x \odot m_k), \quad
        w_k^- = \mathrm{relu}(p_c(x) - p_c(x \odot (1 - m_k))), \quad
        w_k^{\pm} = \mathrm{relu}(p_c(x \odot m_k) + p_c(x) - p_c(x \odot (1 - m_k)))

    A single map comes out, positive and at the finest layer's resolution. Masks are scaled as in
    ``LayerScoreCam``, by their smallest and largest value; the authors' code cuts 0.1 % of the
    values at either end, and divides by the largest value instead of the range.

    Cost: one forward pass for each layer, and one on a masked image for each of its channels that
    is not constant; twice that with "+-". Early layers have few channels, late ones many.

    Reference: Englebert, Cornu, De Vleeschouwer, *Poly-CAM: High resolution class activation map
    for convolutional neural networks*, 2022, arXiv:2204.13359.

    Args:
        layer: a list of modules or dotted names, in any order: the maps are joined from the
            coarsest to the finest; of two with the same size the one named later comes first.
        variant: "+" (what a channel's region scores), "-" (what is lost without it) or "+-".

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerPolyCam
        >>> model = resnet18().eval()
        >>> cam = LayerPolyCam(model, ["layer2", "layer3", "layer4"], top_channels=4)
        >>> cam.attribute(torch.randn(1, 3, 64, 64), target=3).shape
        torch.Size([1, 1, 8, 8])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        variant: str = "+-",
        score: str = "probability",
        top_channels: int | None = None,
    ) -> None:
        MaskedInputCam.__init__(
            self, forward_func, layer, device_ids, score=score, top_channels=top_channels
        )
        self.variant = choose("variant", variant, _VARIANTS)
        self.samples = len(self.variant)

    def _vary(self, masks: Tensor, channels: Tensor, part: slice) -> Tensor:
        signs = [self.variant[i % self.samples] for i in range(part.start, part.stop)]
        turned = to_device(torch.tensor([sign == "-" for sign in signs]), masks.device)
        return torch.where(turned.reshape(-1, *[1] * (masks.ndim - 1)), 1 - masks, masks)

    def _weigh(self, scores: Tensor, unmasked: Tensor) -> Tensor:
        if self.variant == "+":
            return scores[:, 0]
        lost = unmasked - scores[:, -1]
        return (lost if self.variant == "-" else scores[:, 0] + lost).relu()

    def _joined(self, maps: list[Tensor]) -> Tensor:
        coarse_first = sorted(reversed(maps), key=lambda each: each.shape[1:].numel())
        return refined([each.relu() for each in coarse_first])
