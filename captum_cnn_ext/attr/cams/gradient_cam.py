"""Class activation maps whose weights come from gradients.

Each method is one pure function from activations and gradients to weights, and one class.
Letters: n examples, k channels, p positions (h x w flattened); A = activations, g = dy/dA.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer
from captum_cnn_ext._engine.warn_user import warn_user
from captum_cnn_ext.attr.cams.gradient_base import GradientCam

# --- the formulas: (A, g) of shape (n, k, p) -> weights (n, k, 1) or (n, k, p) -----------------


def grad_cam_weights(activations: Tensor, gradients: Tensor) -> Tensor:
    """w_k = mean_p g."""
    return gradients.mean(2, keepdim=True)


def grad_cam_plus_plus_weights(
    activations: Tensor, gradients: Tensor, normalize_alphas: bool = False
) -> Tensor:
    """w_k = sum_p alpha relu(g), alpha = g^2 / (2 g^2 + S_k g^3), S_k = sum_p A_k (eq. 19)."""
    # alpha divided through by g^2: no third powers to underflow; where g = 0, relu(g) is 0 too
    denominator = 2 + activations.sum(2, keepdim=True) * gradients
    positive = gradients.relu()
    alphas = torch.where(denominator == 0, 0, 1 / denominator) * (positive > 0)
    if normalize_alphas:
        total = alphas.sum(2, keepdim=True)
        alphas = torch.where(total == 0, 0, alphas / total)
    return (alphas * positive).sum(2, keepdim=True)


def x_grad_cam_weights(activations: Tensor, gradients: Tensor) -> Tensor:
    """w_k = sum_p g A / S_k; 0 where S_k is rounding error of sum_p |A_k|."""
    totals = activations.sum(2, keepdim=True)
    noise = torch.finfo(totals.dtype).eps * activations.abs().sum(2, keepdim=True)
    weights = (gradients * activations).sum(2, keepdim=True) / totals
    return torch.where(totals.abs() <= noise, 0, weights)


def hires_cam_weights(activations: Tensor, gradients: Tensor) -> Tensor:
    """w_kp = g."""
    return gradients


def layer_cam_weights(activations: Tensor, gradients: Tensor) -> Tensor:
    """w_kp = relu(g)."""
    return gradients.relu()


BASES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grad-cam": grad_cam_weights,
    "grad-cam++": grad_cam_plus_plus_weights,
    "x-grad-cam": x_grad_cam_weights,
    "hires-cam": hires_cam_weights,
    "layer-cam": layer_cam_weights,
}
"""Formulas that other methods (Finer-CAM, RefineCAM) build on, by the name of their argument."""


def base_weights(base: str, activations: Tensor, gradients: Tensor, method: str) -> Tensor:
    """The weights of the method that ``method`` builds on."""
    if base == "grad-cam++":
        warn_where_ill_posed(activations, method)
    return BASES[base](activations, gradients)


def warn_where_ill_posed(activations: Tensor, method: str) -> None:
    """Say that Grad-CAM++'s denominator can change sign on this layer."""
    if (activations.sum(2) < 0).any():
        warn_user(
            f"{method}: the layer has channels that sum to less than 0, for which Grad-CAM++ is "
            "ill-posed; choose a layer after its ReLU, or another method (LayerHiResCam, "
            "LayerLayerCam)"
        )


# --- the classes ------------------------------------------------------------------------------


class LayerGradCam(GradientCam):
    r"""Grad-CAM: feature maps, each weighted by its mean gradient.

    .. math:: L = \sum_k w_k A_k, \quad w_k = \mathrm{mean}_p\, g_{kp}

    The values of Captum's ``LayerGradCam``; the backward pass ends at the layer, and everything
    else that our classes take is taken here too: targets of `captum_cnn_ext.targets`, several
    layers and targets in one pass, ``return_output``. The map is signed, as Captum's is; the paper
    keeps its positive part (``relu_attributions=True``).

    Cost: one forward pass, one backward pass of the tail.

    Reference: Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, *Grad-CAM: Visual Explanations
    from Deep Networks via Gradient-based Localization*, 2017, arXiv:1610.02391.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerGradCam
        >>> model = resnet18().eval()
        >>> LayerGradCam(model, "layer4").attribute(torch.randn(2, 3, 64, 64), target=3).shape
        torch.Size([2, 1, 2, 2])
    """

    def _weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return grad_cam_weights(activations, gradients)


class LayerGradCamPlusPlus(GradientCam):
    r"""Grad-CAM++: weights that count positive gradients, whatever the area they come from.

    .. math::
        L = \sum_k w_k A_k, \quad w_k = \sum_p \alpha_{kp}\, \mathrm{relu}(g_{kp}), \quad
        \alpha_{kp} = \frac{g_{kp}^2}{2 g_{kp}^2 + g_{kp}^3 \sum_q A_{kq}}

    alpha is 0 where its denominator is. No constant is added to the denominator, so there is
    nothing to tune. On a layer with negative activations (a linear bottleneck, a convolution
    before its ReLU) the denominator can change sign: the paper does not define that case, and a
    warning says so.

    Cost: one forward pass, one backward pass of the tail.

    Reference: Chattopadhyay, Sarkar, Howlader, Balasubramanian, *Grad-CAM++: Improved Visual
    Explanations for Deep Convolutional Networks*, 2018, arXiv:1710.11063, equation 19.

    Args:
        layer: a module, its dotted name, or a list of these; usually the last convolution stage.
        normalize_alphas: divide each channel's alphas by their sum over positive gradients, as
            the authors' code does and the paper does not.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerGradCamPlusPlus
        >>> model = resnet18().eval()
        >>> cam = LayerGradCamPlusPlus(model, "layer4")
        >>> cam.attribute(torch.randn(2, 3, 64, 64), target=3).shape
        torch.Size([2, 1, 2, 2])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        normalize_alphas: bool = False,
    ) -> None:
        GradientCam.__init__(self, forward_func, layer, device_ids)
        self.normalize_alphas = normalize_alphas

    def _weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        warn_where_ill_posed(activations, type(self).__name__)
        return grad_cam_plus_plus_weights(activations, gradients, self.normalize_alphas)


class LayerXGradCam(GradientCam):
    r"""XGrad-CAM: gradients weighted by the share that each position has of its channel.

    .. math::
        L = \sum_k w_k A_k, \quad w_k = \frac{\sum_p g_{kp} A_{kp}}{\sum_p A_{kp}}

    On piecewise-linear networks without bias after the layer the map sums to the score. A channel
    whose sum is rounding error beside the sum of its absolute values gets weight 0.

    Cost: one forward pass, one backward pass of the tail.

    Reference: Fu, Hu, Dong, Guo, Gao, Li, *Axiom-based Grad-CAM: Towards Accurate Visualization
    and Explanation of CNNs*, 2020, arXiv:2008.02312.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerXGradCam
        >>> model = resnet18().eval()
        >>> LayerXGradCam(model, model.layer4).attribute(torch.randn(1, 3, 64, 64), 3).shape
        torch.Size([1, 1, 2, 2])
    """

    def _weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return x_grad_cam_weights(activations, gradients)


class LayerHiResCam(GradientCam):
    r"""HiResCAM: gradient times activation at each position, summed over channels.

    .. math:: L_p = \sum_k g_{kp} A_{kp}

    Where a linear head follows the layer, the map's sum plus the head's bias is the score, so the
    map shows exactly what the model used. Grad-CAM does not promise that.

    Cost: one forward pass, one backward pass of the tail.

    Reference: Draelos, Carin, *Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks*, 2020, arXiv:2011.08891.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerHiResCam
        >>> model = resnet18().eval()
        >>> x = torch.randn(1, 3, 64, 64)
        >>> total = LayerHiResCam(model, "layer4").attribute(x, 3).sum() + model.fc.bias[3]
        >>> torch.allclose(total, model(x)[0, 3], atol=1e-4)
        True
    """

    def _weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return hires_cam_weights(activations, gradients)


class LayerLayerCam(GradientCam):
    r"""LayerCAM: positive gradients times activations at each position; works at early layers too.

    .. math:: L_p = \sum_k \mathrm{relu}(g_{kp})\, A_{kp}

    Cost: one forward pass, one backward pass of the tail.

    Reference: Jiang, Zhang, Hou, Cheng, Wei, *LayerCAM: Exploring Hierarchical Class Activation
    Maps for Localization*, IEEE Transactions on Image Processing 30, 2021.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerLayerCam
        >>> model = resnet18().eval()
        >>> early, late = LayerLayerCam(model, ["layer2", "layer4"]).attribute(
        ...     torch.randn(1, 3, 64, 64), target=3)
        >>> early.shape, late.shape
        (torch.Size([1, 1, 8, 8]), torch.Size([1, 1, 2, 2]))
    """

    def _weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return layer_cam_weights(activations, gradients)
