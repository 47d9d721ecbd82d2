"""Class activation maps whose weights are scores of masked inputs: each weight is a full forward.

Letters: n examples, k channels; A = activations, U = upsampling to the input (linear), x = the
input.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer
from captum_cnn_ext._engine.judging.output_targets import fixed_target, is_function
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.judging.probabilities import Ending, Scale
from captum_cnn_ext._engine.running.batching import Chunk, images_at_once
from captum_cnn_ext._engine.running.forward import FastOrder, run_model
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext._engine.to_device import to_device
from captum_cnn_ext._engine.wide_numbers import wide
from captum_cnn_ext._numbers import as_count_or_none
from captum_cnn_ext.attr.cams.base import Evidence, Request
from captum_cnn_ext.attr.cams.perturbation_base import PerturbationCam, repeated
from captum_cnn_ext.attr.resized_maps import LINEAR, resized
from captum_cnn_ext.errors import ArgumentError, choose


def unit_range(maps: Tensor) -> Tensor:
    """Each map (n, k, *positions) scaled to [0, 1]; a constant map is 0."""
    flat = maps.flatten(2)
    low, high = flat.amin(2, keepdim=True), flat.amax(2, keepdim=True)
    span = torch.where(high > low, high - low, 1)
    return ((flat - low) / span).reshape(maps.shape)


def varying_channels(maps: Tensor, top: int | None = None) -> list[Tensor]:
    """For each example (N, K, *positions) the channels that are not constant, on the CPU.

    The ``top`` of variance where there are more.
    """
    if not len(maps):
        return []
    flat = maps.reshape(*maps.shape[:2], -1)
    varies = flat.amax(2) > flat.amin(2)
    variance = torch.where(varies, flat.var(2, correction=0), -1).cpu()  # one question for all
    found = []
    for of_channel in variance:
        live = (of_channel >= 0).nonzero().flatten()
        if top is not None and len(live) > top:
            live = live[of_channel[live].topk(top).indices].sort().values
        found.append(live)
    return found


def times_mask(images: Tensor, mask: Tensor) -> Tensor:
    """Images times a mask, in the images' type where that is floating."""
    return images * (mask.to(images.dtype) if images.is_floating_point() else mask)


def masked_inputs(inputs: Sequence[Tensor], n: int, maps: Tensor) -> list[Tensor]:
    """Example n of each input, multiplied by U(maps) where it has positions as the maps have."""
    found = []
    for x in inputs:
        one = x[n : n + 1]
        if x.ndim == maps.ndim:
            one = times_mask(one, resized(maps, x.shape[2:]))
            one = one if x.is_floating_point() else one.round().to(x.dtype)  # bytes stay bytes
        else:
            one = one.expand(len(maps), *x.shape[1:]).clone()
        found.append(one)
    return found


class MaskedInputCam(PerturbationCam):
    """Abstract: a channel weighs what the network scores when it sees only that channel's region.

    Args:
        score: "probability" (of the class) or "logit" (the output as the model gives it).
        top_channels: only so many channels of the highest variance; None is all of them.
    """

    samples = 1  # how many variants of each mask are scored

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        score: str = "probability",
        top_channels: int | None = None,
    ) -> None:
        PerturbationCam.__init__(self, forward_func, layer, device_ids)
        self.score = choose("score", score, ("probability", "logit"))
        self.top_channels = as_count_or_none("top_channels", top_channels)

    def _scored(self, site: Site, chunk: Chunk, request: Request) -> list[Evidence]:
        with Ending() as ending, self._recorded(chunk, [site], need_output=True) as recording:
            tensors = recording.activations(0)
            request.keep(recording.output)
            chunk = replace(chunk, target=fixed_target(chunk.target, recording.output))
            given = not is_function(chunk.target) and ending.gave(output_tensor(recording.output))
            scale = Scale(self.score, given)
            unmasked = wide(scale.scores(recording.output, chunk.target))
        found, order, widest = [], FastOrder(), max(chunk.inputs, key=lambda x: x.nbytes)
        for tensor in tensors:
            maps = request.transform(tensor, chunk, site)(tensor)
            self._check_masks(maps, chunk, site)
            rows = request.internal_batch_size or images_at_once(widest, tensor.device)
            weights = wide(torch.zeros(maps.shape[:2], dtype=maps.dtype, device=maps.device))
            for n, live in enumerate(varying_channels(maps, self.top_channels)):
                variants = live.repeat_interleave(self.samples)

                def scores(
                    part: slice, n: int = n, maps: Tensor = maps, variants: Tensor = variants
                ) -> Tensor:
                    return self._scores(chunk, n, maps, variants[part], part, scale, order)

                if len(live):
                    every = torch.cat(request.in_rows(scores, len(variants), rows))
                    weighed = self._weigh(every.reshape(-1, self.samples), unmasked[n])
                    weights[n, to_device(live, maps.device)] = weighed.to(weights.dtype)
            found.append(Evidence(site, maps, (weights,), shaped=True))
        return found

    def _check_masks(self, maps: Tensor, chunk: Chunk, site: Site) -> None:
        fitting = any(x.ndim == maps.ndim for x in chunk.inputs) and maps.ndim - 2 in LINEAR
        if maps.ndim > 2 and not fitting:
            shapes = [tuple(x.shape) for x in chunk.inputs]
            raise ArgumentError(
                f"layer {site.name!r}: gives {tuple(maps.shape)}, which cannot mask inputs of "
                f"shape {shapes}; expected as many dimensions"
            )

    def _scores(
        self,
        chunk: Chunk,
        n: int,
        maps: Tensor,
        channels: Tensor,
        part: slice,
        scale: Scale,
        order: FastOrder,
    ) -> Tensor:
        """The scores of example n masked by ``channels``, the slice ``part`` of all variants."""
        count, sizes = len(channels), [x.shape[2:] for x in chunk.inputs if x.ndim == maps.ndim]
        masks = maps[n, to_device(channels, maps.device)].unsqueeze(1)
        if len(set(sizes)) == 1:
            masks = resized(masks, sizes[0])
        masks = self._vary(unit_range(masks), channels, part)
        extra = [
            value[n : n + 1].expand(count, *value.shape[1:]).clone()
            if isinstance(value, Tensor) and value.shape[:1] == (len(maps),)
            else value
            for value in chunk.extra
        ]
        output = order(
            lambda images: run_model(self.forward_func, (*images, *extra)),
            masked_inputs(chunk.inputs, n, masks),
        )
        return wide(scale.scores(output, repeated(chunk.target, n, len(maps), count)))

    def _weigh(self, scores: Tensor, unmasked: Tensor) -> Tensor:
        """The weights (k,) from the scores (k, samples) and the unmasked example's score."""
        return scores.mean(1)

    def _vary(self, masks: Tensor, channels: Tensor, part: slice) -> Tensor:
        """The variants ``part`` of masks (rows, 1, *positions) in [0, 1]."""
        return masks


class LayerScoreCam(MaskedInputCam):
    r"""Score-CAM: a channel weighs the probability of the class in the image masked by it.

    .. math:: L = \sum_k w_k A_k, \quad w_k = p_c(x \odot \mathrm{minmax}(U(A_k)))

    As in the authors' code: softmax over classes, none over channels, no baseline, and constant
    maps are skipped, weight 0. That skipping is exact and saves every pass of a dead channel.
    ``relu_attributions=True`` gives the paper's map.

    Cost: one forward pass, and one on a masked image for each channel that is not constant, many at
    once, on a CPU in channels-last order. ``top_channels`` is Faster Score-CAM, an approximation.

    Reference: Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu, *Score-CAM: Score-Weighted Visual
    Explanations for Convolutional Neural Networks*, 2020, arXiv:1910.01279.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerScoreCam
        >>> model = resnet18().eval()
        >>> cam = LayerScoreCam(model, "layer4", top_channels=16)
        >>> cam.attribute(torch.randn(1, 3, 64, 64), target=3).shape
        torch.Size([1, 1, 2, 2])
    """
