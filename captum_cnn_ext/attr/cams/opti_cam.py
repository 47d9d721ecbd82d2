"""Opti-CAM: a class activation map whose weights are optimised."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.backward.activation_checkpoints import checkpoints_explained
from captum_cnn_ext._engine.backward.lost_gradient import gradient_end, values_stay, why_no_gradient
from captum_cnn_ext._engine.backward.saved_tensors import differentiable
from captum_cnn_ext._engine.judging.arguments import Layer, root_module
from captum_cnn_ext._engine.judging.probabilities import Scale
from captum_cnn_ext._engine.running.batching import Chunk
from captum_cnn_ext._engine.running.forward import copies, fixed_by_run, run_model
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext._engine.wide_numbers import wide, wide_dtype
from captum_cnn_ext._numbers import as_count, as_number
from captum_cnn_ext.attr.cams.base import Evidence, Request
from captum_cnn_ext.attr.cams.score_cam import MaskedInputCam, times_mask, unit_range
from captum_cnn_ext.attr.resized_maps import resized
from captum_cnn_ext.errors import ArgumentError


def combined(logits: Tensor, maps: Tensor) -> Tensor:
    """sum_k softmax(u)_k A_k, (n, 1, *positions)."""
    return torch.einsum("nk,nk...->n...", logits.softmax(1), maps).unsqueeze(1)


class LayerOptiCam(MaskedInputCam):
    r"""Opti-CAM: the weights whose map, as a mask, gives the target the highest score.

    .. math::
        L = \sum_k \mathrm{softmax}(u)_k A_k, \quad
        u = \arg\max_u\, y(x \odot \mathrm{minmax}(U(\textstyle\sum_k \mathrm{softmax}(u)_k A_k)))

    u starts at 0 and takes ``steps`` of Adam; nothing is random.

    Cost: one forward pass, and one forward and backward pass of the whole network for each step,
    all examples together.

    Reference: Zhang, Torres, Sicre, Avrithis, Ayache, *Opti-CAM: Optimizing saliency maps for
    interpretability*, 2023, arXiv:2301.07002.

    Args:
        score: "logit" (the output as the model gives it) or "probability" (of the class).
        steps: of Adam.
        lr: Adam's step size.

    Raises:
        ArgumentError: (by ``attribute``) the mean of the layer's channels, where the ascent begins,
            is the same at every position, as after a layer norm.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerOptiCam
        >>> model = resnet18().eval()
        >>> cam = LayerOptiCam(model, "layer4", steps=3)
        >>> cam.attribute(torch.randn(1, 3, 64, 64), target=3).shape
        torch.Size([1, 1, 2, 2])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        score: str = "logit",
        steps: int = 100,
        lr: float = 0.1,
    ) -> None:
        MaskedInputCam.__init__(self, forward_func, layer, device_ids, score=score)
        self.steps, self.lr = as_count("steps", steps), as_number("lr", lr, above=0)

    def _scored(self, site: Site, chunk: Chunk, request: Request) -> list[Evidence]:
        with torch.inference_mode(False):
            tensors = [e.activation for e in self._bare(chunk, replace(request, sites=[site]))]
            given = self.forward_func, (*chunk.inputs, *chunk.extra)
            chunk = replace(chunk, target=fixed_by_run(chunk.target, *given))
            found = []
            for tensor in tensors:
                maps = request.transform(tensor, chunk, site)(tensor).clone()
                self._check_masks(maps, chunk, site)
                _check_start(maps, site)
                weights = self._optimised(chunk, maps, request)
                found.append(Evidence(site, maps, (weights,), shaped=True))
        return found

    def _optimised(self, chunk: Chunk, maps: Tensor, request: Request) -> Tensor:
        dtype = wide_dtype(maps.dtype)
        logits = torch.zeros(maps.shape[:2], dtype=dtype, device=maps.device, requires_grad=True)
        adam = torch.optim.Adam([logits], lr=self.lr)
        scored = partial(Scale(self.score).scores, target=chunk.target)
        images = [t.detach().clone() for t in chunk.inputs]  # also those of inference mode

        def step(_: slice) -> Tensor:
            with torch.enable_grad(), values_stay():
                mask = combined(logits, maps.to(dtype))

                def masked() -> Any:
                    args = [
                        times_mask(x, unit_range(resized(mask, x.shape[2:])))
                        if x.ndim == maps.ndim and x.ndim > 2
                        else x.clone()
                        for x in images
                    ]
                    return run_model(self.forward_func, (*args, *copies(chunk.extra)))

                score = scored(differentiable(masked)).sum()
                if score.requires_grad:
                    with checkpoints_explained():
                        (logits.grad,) = torch.autograd.grad(-score, [logits], allow_unused=True)
                if logits.grad is None and maps.ndim > 2:  # without positions there is no mask
                    root = root_module(self.forward_func)
                    end = gradient_end(root, [logits], masked, scored)
                    raise ArgumentError(why_no_gradient(None, [logits], end))
            adam.step()
            return logits

        request.in_rows(step, self.steps, 1)
        return logits.detach().softmax(1)


def _check_start(maps: Tensor, site: Site) -> None:
    """That the even mixture of channels, where the ascent begins, is a picture."""
    if maps.ndim == 2:  # no positions, no mask
        return
    flat = wide(maps.flatten(2))
    # sums in float32 add up more roundings than values that were rounded to a short type once
    times = 64 if maps.dtype in (torch.float32, torch.float64) else 4
    rounding = times * torch.finfo(maps.dtype).eps * flat.abs().amax((1, 2))
    mean, varies = flat.mean(1), flat.amax(2) - flat.amin(2)
    blank = mean.amax(1) - mean.amin(1) <= rounding
    if bool((blank & (varies.amax(1) > 2 * rounding)).any()):
        raise ArgumentError(
            f"layer {site.name!r}: the mean of its channels is the same at every position, as "
            "after a layer norm; Opti-CAM begins there and its mask would be rounding errors. "
            "Expected another layer, such as the one before the norm"
        )
