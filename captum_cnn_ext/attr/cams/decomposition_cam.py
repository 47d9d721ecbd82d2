"""Maps from the activations alone: principal components, outliers, factors. No gradients.

The forward pass stops at the last layer. ``target`` is accepted and ignored, at its usual place,
so that these classes stand in a loop with Captum's and ours: there is no class in these maps.
"""

from abc import ABC
from collections.abc import Callable, Sequence
from typing import Any, final

from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer
from captum_cnn_ext._engine.running.batching import Chunk
from captum_cnn_ext._numbers import as_number
from captum_cnn_ext.attr.cams.base import ActivationMap, Evidence, Request
from captum_cnn_ext.attr.cams.principal_components import first_direction, kernel_projection
from captum_cnn_ext.errors import ArgumentError, choose

# --- the formulas: A of shape (n, k, p) -> each channel's part of the map ----------------------


def eigen_cam_parts(activations: Tensor) -> Tensor:
    """v_k A_k, v the first right singular vector of A as (p, k), not centred."""
    return first_direction(activations) * activations


def fem_parts(activations: Tensor, deviations: float = 2.0) -> Tensor:
    """mean_k 1[A_k > mean_k + 2 sd_k]."""
    mean = activations.mean(2, keepdim=True)
    spread = activations.std(2, correction=0, keepdim=True)
    return mean * (activations > mean + deviations * spread)


# --- the classes ------------------------------------------------------------------------------


class DecompositionCam(ActivationMap, ABC):
    """Abstract: a map from one forward pass that stops at the layer."""

    @final
    def _evidence(self, chunk: Chunk, request: Request) -> list[Evidence]:
        return self._bare(chunk, request)


class LayerEigenCam(DecompositionCam):
    r"""Eigen-CAM: the activations projected on their first principal direction.

    .. math:: L_p = \sum_k v_k A_{kp}

    v is the first right singular vector of A as a matrix of positions by channels, not centred,
    as in the paper. Its sign, which a singular vector does not have, makes the map correlate with
    the energy sum_k A_k^2, so that it is the strong positions that are lit. The map does not
    depend on a class; ``target`` is ignored.

    Cost: one forward pass up to the layer, and one symmetric eigenvalue problem of size
    min(channels, positions) for each example, batched on the device.

    Reference: Muhammad, Yeasin, *Eigen-CAM: Class Activation Map using Principal Components*,
    2020, arXiv:2008.00299.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerEigenCam
        >>> cam = LayerEigenCam(resnet18().eval(), "layer4")
        >>> cam.attribute(torch.randn(2, 3, 64, 64)).shape
        torch.Size([2, 1, 2, 2])
    """

    def _parts(self, activations: Tensor) -> Tensor:
        return eigen_cam_parts(activations)


class LayerFem(DecompositionCam):
    r"""FEM: where channels are unusually active, weighted by the channels' means.

    .. math:: L_p = \sum_k \mu_k\, 1[A_{kp} > \mu_k + 2 \sigma_k]

    mu and sigma are the mean and standard deviation of channel k over its positions. The map does
    not depend on a class; ``target`` is ignored.

    Cost: one forward pass up to the layer.

    Reference: Fuad, Martin, Giot, Bourqui, Benois-Pineau, Zemmari, *Features Understanding in 3D
    CNNs for Actions Recognition in Video*, 2020.

    Args:
        deviations: standard deviations above the mean that count as unusual; 2 in the paper.
            Of P positions none is more than sqrt(P - 1) above it; a map that can only be 0 is an
            ``ArgumentError``.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerFem
        >>> cam = LayerFem(resnet18().eval(), "layer3")
        >>> cam.attribute(torch.randn(2, 3, 64, 64)).shape
        torch.Size([2, 1, 4, 4])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        deviations: float = 2.0,
    ) -> None:
        DecompositionCam.__init__(self, forward_func, layer, device_ids)
        self.deviations = as_number("deviations", deviations)

    def _parts(self, activations: Tensor) -> Tensor:
        positions = activations.shape[2]
        if not len(activations):
            return activations
        if positions - 1 <= max(self.deviations, 0) ** 2:
            raise ArgumentError(
                f"LayerFem: of {positions} positions none can be {self.deviations:g} standard "
                f"deviations above their mean (the most is {(positions - 1) ** 0.5:.2g}), so the "
                "map would always be 0; choose an earlier layer, or fewer deviations="
            )
        return fem_parts(activations, self.deviations)


class LayerKPCACam(DecompositionCam):
    r"""KPCA-CAM: the activations' first kernel principal component.

    .. math::
        L = \sqrt{\lambda}\, u, \quad \bar K u = \lambda u, \quad
        K_{pq} = \tanh(\gamma\, \tilde A_p \cdot \tilde A_q + 1)

    Positions are the samples, centred (A with a tilde); K with a bar is K centred, lambda its
    largest eigenvalue. The sign makes the map correlate with the energy sum_k A_k^2, as in
    ``LayerEigenCam``. It is no sum over channels, so ``attr_dim_summation=False`` is refused. The
    map does not depend on a class; ``target`` is ignored.

    Cost: one forward pass up to the layer, and one symmetric eigenvalue problem of the size of
    the number of positions for each example: use it at late layers.

    Reference: Karmani, Sivakaran, Prasad, Ali, Yang, Tang, *KPCA-CAM: Visual Explainability of
    Deep Computer Vision Models using Kernel PCA*, 2024, arXiv:2410.00267.

    Args:
        kernel: "sigmoid" as the authors' code, "rbf" or "linear".
        gamma: of the sigmoid and rbf kernels; None is 1 / channels.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerKPCACam
        >>> cam = LayerKPCACam(resnet18().eval(), "layer3", kernel="rbf")
        >>> cam.attribute(torch.randn(2, 3, 64, 64)).shape
        torch.Size([2, 1, 4, 4])
    """

    _why_one_map = "a kernel's principal component has no channels; LayerEigenCam has"

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        kernel: str = "sigmoid",
        gamma: float | None = None,
    ) -> None:
        DecompositionCam.__init__(self, forward_func, layer, device_ids)
        self.kernel = choose("kernel", kernel, ["sigmoid", "rbf", "linear"])
        self.gamma = None if gamma is None else as_number("gamma", gamma, above=0)

    def _parts(self, activations: Tensor) -> Tensor:
        return kernel_projection(activations, self.kernel, self.gamma)
