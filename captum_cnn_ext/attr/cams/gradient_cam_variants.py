"""Gradient CAMs that change what is explained, average over noise, or look at the curvature.

Each method is one pure function and one class. Letters as in ``gradient_cam``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer
from captum_cnn_ext._engine.judging.captum_compat import TargetType
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.judging.targets import refuse_function, select_score
from captum_cnn_ext._engine.running.batching import Chunk
from captum_cnn_ext._engine.running.forward import fixed_by_run
from captum_cnn_ext._engine.running.layer_recording import Recording
from captum_cnn_ext._engine.wide_numbers import wide
from captum_cnn_ext._numbers import as_count, as_number, as_seed
from captum_cnn_ext.attr.cams.base import Evidence, Request
from captum_cnn_ext.attr.cams.gradient_base import GradientCam, T
from captum_cnn_ext.attr.cams.gradient_cam import BASES, base_weights, warn_where_ill_posed
from captum_cnn_ext.attr.cams.principal_components import first_direction
from captum_cnn_ext.errors import ArgumentError, choose

# --- the formulas -----------------------------------------------------------------------------


def smooth_grad_cam_plus_plus_weights(
    activations: Tensor, first: Tensor, second: Tensor, third: Tensor
) -> Tensor:
    """w_k = sum_p alpha relu(D1), alpha = D2 / (2 D2 + S_k D3), D1 to D3 the means of g to g^3."""
    denominator = 2 * second + activations.sum(2, keepdim=True) * third
    alphas = torch.where(denominator == 0, 0, second / denominator)
    return (alphas * first.relu()).sum(2, keepdim=True)


def shapley_cam_weights(gradients: Tensor, hessian_product: Tensor) -> Tensor:
    """w_k = mean_p (g - H A / 2)."""
    return (gradients - hessian_product / 2).mean(2, keepdim=True)


def eigen_grad_cam_weights(activations: Tensor, gradients: Tensor) -> Tensor:
    """w_kp = v_k g, v the first right singular vector of g A as (p, k)."""
    return first_direction(gradients * activations) * gradients


def finer_score(output: Tensor, classes: Tensor, gamma: float, references: int) -> Tensor:
    """sum_i p_i (y_c - gamma y_i) / sum_i p_i over the classes i whose score is nearest to y_c."""
    own = output.gather(1, classes[:, None])
    distance = (output.detach() - own.detach()).abs().scatter(1, classes[:, None], -1)
    others = distance.argsort(dim=1, stable=True)[:, 1 : references + 1]
    share = output.detach().gather(1, others).softmax(1)  # p_i / sum p_i, of the softmax
    return (share * (own - gamma * output.gather(1, others))).sum(1)


# --- the classes ------------------------------------------------------------------------------


class LayerSmoothGradCamPlusPlus(GradientCam):
    r"""Smooth Grad-CAM++: Grad-CAM++ with gradients averaged over noisy copies of the input.

    .. math::
        L = \sum_k w_k A_k, \quad w_k = \sum_p \alpha_{kp}\, \mathrm{relu}(D^1_{kp}), \quad
        \alpha_{kp} = \frac{D^2_{kp}}{2 D^2_{kp} + D^3_{kp} \sum_q A_{kq}}

    D1, D2, D3 are the means of g, g^2 and g^3 over the noisy copies; A is that of the clean
    input. Every example gets the same noise, so a result does not depend on its batch, and equal
    calls give equal maps. The global random state is not used.

    Cost: n forward passes, n backward passes of the tail, one forward pass up to the layer.

    Reference: Omeiza, Speakman, Cintas, Weldermariam, *Smooth Grad-CAM++: An Enhanced Inference
    Level Visualization Technique for Deep Convolutional Neural Network Models*, 2019,
    arXiv:1908.01224.

    Args:
        samples: the number n of noisy copies.
        noise: the noise's standard deviation, as a fraction of each input's range (max - min).
        seed: of the noise.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerSmoothGradCamPlusPlus
        >>> cam = LayerSmoothGradCamPlusPlus(resnet18().eval(), "layer4", samples=2)
        >>> cam.attribute(torch.randn(2, 3, 64, 64), target=3).shape
        torch.Size([2, 1, 2, 2])
    """

    _differentiable = False

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        samples: int = 8,
        noise: float = 0.15,
        seed: int = 0,
    ) -> None:
        GradientCam.__init__(self, forward_func, layer, device_ids)
        self.samples, self.seed = as_count("samples", samples), as_seed("seed", seed)
        self.noise = as_number("noise", noise, 0)

    def _each_target(
        self,
        chunk: Chunk,
        request: Request,
        targets: Sequence[TargetType],
        use: Callable[[list[Evidence]], T],
    ) -> list[T]:
        clean = self._bare(chunk, request)
        given = self.forward_func, (*chunk.inputs, *chunk.extra)
        targets = [fixed_by_run(target, *given) for target in targets]
        totals: list[list[Tensor]] = []
        for inputs in self._noisy(chunk.inputs):
            noisy = replace(chunk, inputs=inputs)
            found = super()._each_target(noisy, replace(request, outputs=None), targets, _powers)
            totals = list(map(_added, totals, found)) if totals else found
        return [
            use(
                [
                    replace(each, others=(powers / self.samples).unbind())
                    for each, powers in zip(clean, total, strict=True)
                ]
            )
            for total in totals
        ]

    def _noisy(self, inputs: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
        """The inputs with noise, ``samples`` times."""
        generators = {x.device: torch.Generator(x.device).manual_seed(self.seed) for x in inputs}

        def disturbed(x: Tensor) -> Tensor:
            if not x.is_floating_point() or not x.numel():
                return x
            draw = torch.randn(
                x.shape[1:], generator=generators[x.device], device=x.device, dtype=torch.float32
            )
            values = x.detach().reshape(len(x), -1)
            spread = (values.amax(1) - values.amin(1)).reshape(-1, *[1] * (x.ndim - 1))
            return x.detach() + self.noise * spread * draw.to(x.dtype)

        for _ in range(self.samples):
            yield tuple(disturbed(x) for x in inputs)

    def _weights(self, activations: Tensor, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
        warn_where_ill_posed(activations, type(self).__name__)
        return smooth_grad_cam_plus_plus_weights(activations, first, second, third)


class LayerFinerCam(GradientCam):
    r"""Finer-CAM: what tells the class from the classes that the model finds most similar.

    .. math::
        \text{the base CAM of} \quad
        \frac{\sum_i p_i\, (y_c - \gamma\, y_i)}{\sum_i p_i}

    i runs over the classes whose scores are nearest to that of class c, p is the softmax of the
    scores, held constant. With gamma = 0 it is the base CAM.

    Cost: one forward pass, one backward pass of the tail.

    Reference: Zhang, Zhang, Gu, Bai, Chao and others, *Finer-CAM: Spotting the Difference Reveals
    Finer Details for Visual Explanation*, 2025, arXiv:2501.11309.

    Args:
        forward_func: the model, or any function of the inputs that runs it; its output is (N,
            classes).
        gamma: how much of the similar classes is taken away; 1 in the authors' code.
        references: how many similar classes; 3 in the authors' code.
        base: "grad-cam", "grad-cam++", "x-grad-cam", "hires-cam" or "layer-cam".

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerFinerCam
        >>> cam = LayerFinerCam(resnet18().eval(), "layer4", base="hires-cam")
        >>> cam.attribute(torch.randn(2, 3, 64, 64), target=3).shape
        torch.Size([2, 1, 2, 2])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        gamma: float = 1.0,
        references: int = 3,
        base: str = "grad-cam",
    ) -> None:
        GradientCam.__init__(self, forward_func, layer, device_ids)
        self.gamma = as_number("gamma", gamma, 0)
        self.references = as_count("references", references)
        self.base = choose("base", base, list(BASES))

    _differentiable = False  # its references and their shares are constants

    def _score(self, output: Any, target: TargetType) -> Tensor:
        refuse_function(
            target,
            "LayerFinerCam takes away the classes whose scores are nearest, which only a class has "
            "(targets.Difference with another class says against which)",
        )
        output = output_tensor(output)
        own = select_score(output, target)
        if output.ndim != 2 or output.shape[1] < 2:
            raise ArgumentError(
                "LayerFinerCam compares classes: expected the model to return (N, classes) with 2 "
                f"classes or more, got shape {tuple(output.shape)}"
            )
        classes = torch.arange(output.shape[1], device=output.device).expand(len(own), -1)
        return finer_score(output, select_score(classes, target), self.gamma, self.references)

    def _weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return base_weights(self.base, activations, gradients, type(self).__name__)


class LayerShapleyCam(GradientCam):
    r"""ShapleyCAM: Grad-CAM with the second-order term of the score.

    .. math:: L = \sum_k w_k A_k, \quad w_k = \mathrm{mean}_p\,\bigl(g - \tfrac12 H A\bigr)_{kp}

    H is the Hessian of the score with respect to the layer's activation. Where everything after
    the layer is piecewise linear (ReLU, pooling, linear layers) H is 0 and this **is** Grad-CAM;
    it differs with SiLU, GELU, tanh, softmax.

    Cost: one forward pass, two backward passes of the tail, and one more for each further layer.

    Reference: Cai, *CAMs as Shapley Value-based Explainers*, 2025, arXiv:2501.06261.

    Example::

        >>> import torch
        >>> from torchvision.models import efficientnet_b0
        >>> from captum_cnn_ext.attr import LayerShapleyCam
        >>> cam = LayerShapleyCam(efficientnet_b0().eval(), "features.7")
        >>> cam.attribute(torch.randn(1, 3, 64, 64), target=3).shape
        torch.Size([1, 1, 2, 2])
    """

    _twice = True
    _differentiable = False  # third derivatives would be needed

    def _found(self, recording: Recording, target: TargetType, request: Request) -> list[Evidence]:
        scores = self._score(recording.output, target)
        found = enumerate(recording.gradients_and_curvature(scores, request.grad_kwargs))
        return [
            Evidence(request.sites[i], activation, pair)
            for i, pairs in found
            for activation, pair in zip(recording.activations(i), pairs, strict=True)
        ]

    def _weights(self, activations: Tensor, gradients: Tensor, hessian_product: Tensor) -> Tensor:
        return shapley_cam_weights(gradients, hessian_product)


class LayerEigenGradCam(GradientCam):
    r"""Eigen-Grad-CAM: the first principal component of gradient times activation.

    .. math:: L_p = \sum_k v_k\, g_{kp} A_{kp}

    v is the first right singular vector of g A as a matrix of positions by channels, not centred;
    its sign makes the map correlate with sum_k (g A)_k^2. The class selects the components, but
    the sign of what they say about it is lost: positive values are strong, not necessarily for.

    Cost: one forward pass, one backward pass of the tail, one symmetric eigenvalue problem of
    size min(channels, positions) for each example.

    Reference: Muhammad, Yeasin, *Eigen-CAM: Class Activation Map using Principal Components*,
    2020, arXiv:2008.00299, applied to g A.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerEigenGradCam
        >>> cam = LayerEigenGradCam(resnet18().eval(), "layer3")
        >>> cam.attribute(torch.randn(2, 3, 64, 64), target=3).shape
        torch.Size([2, 1, 4, 4])
    """

    def _weights(self, activations: Tensor, gradients: Tensor) -> Tensor:
        return eigen_grad_cam_weights(activations, gradients)


def _powers(evidence: list[Evidence]) -> list[Tensor]:
    """g, g^2, g^3 in at least single precision, where cubes of small numbers survive."""
    gradients = [each.others[0] for each in evidence]
    return [torch.stack((g, g**2, g**3)) for g in map(wide, gradients)]


def _added(left: list[Tensor], right: list[Tensor]) -> list[Tensor]:
    """Sums of tensors at the same places."""
    return [a + b for a, b in zip(left, right, strict=True)]
