"""Class activation maps from changes of the layer's own activation: only the tail is run.

Letters: n examples, k channels, p positions; A = activations, y = the target's score.
"""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.backward.lost_gradient import not_used
from captum_cnn_ext._engine.judging.arguments import Layer, observed_module
from captum_cnn_ext._engine.judging.captum_compat import TargetType
from captum_cnn_ext._engine.judging.output_targets import fixed_target, is_function
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.judging.targets import select_score
from captum_cnn_ext._engine.replay.affine_head import affine_gradients, used_tensors
from captum_cnn_ext._engine.replay.replay import Replay
from captum_cnn_ext._engine.running.batching import Chunk
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext._engine.wide_numbers import wide
from captum_cnn_ext.attr.cams.base import Evidence, Request
from captum_cnn_ext.attr.cams.perturbation_base import PerturbationCam, repeated
from captum_cnn_ext.attr.layers.reshape_transform import ReshapeTransform, flat
from captum_cnn_ext.errors import ArgumentError


def ablation_weights(scores: Tensor, ablated: Tensor, signed: bool = False) -> Tensor:
    """w_nk = (y_n - y_nk) / |y_n|, or / y_n; 0 where y_n is 0."""
    y = scores.unsqueeze(1)
    return torch.where(y == 0, 0, (y - ablated) / (y if signed else y.abs()))


def neighbourhood(positions: Sequence[int], part: slice, falls: Sequence[float]) -> Tensor:
    """How much of each position stays around each position of ``part``: (len(part), 1, P).

    The product over axes of falls[distance], 0 further away; [1] keeps one position alone.
    """
    kept = torch.ones(1)
    for axis in torch.meshgrid(*(torch.arange(n) for n in positions), indexing="ij"):
        distance = (axis.reshape(-1)[part, None] - axis.reshape(1, -1)).abs()
        kept = kept * torch.stack([f * (distance == d) for d, f in enumerate(falls)]).sum(0)
    return kept.reshape(-1, 1, math.prod(positions))


class ReplayCam(PerturbationCam):
    """Abstract: the scores of changes of the layer's own tensor, from replays of the tail."""

    def _scored(self, site: Site, chunk: Chunk, request: Request) -> list[Evidence]:
        replay = Replay(self.forward_func, site, chunk.inputs, chunk.extra, self.device_ids)
        request.keep(replay.output)
        chunk = dataclasses.replace(chunk, target=fixed_target(chunk.target, replay.output))
        scores = select_score(replay.output, chunk.target)
        rounding = 64 * torch.finfo(scores.dtype).eps if scores.is_floating_point() else 0
        scores = wide(scores)
        score = partial(_score_of, chunk.target, replay.length)
        gradients = affine_gradients(replay, score, is_ours=not is_function(chunk.target))
        found = []
        for i, tensor in enumerate(replay.activation):
            transform = request.transform(tensor, chunk, site)
            maps = transform(tensor)
            where = None if maps is tensor else _element_indices(tensor, maps, site.name, transform)
            total = self._passes(maps.shape)
            if gradients is not None:
                factors = self._factors(maps.shape, slice(0, total))
                changed = _affine(maps, transform(gradients[i]), scores, factors)
            else:
                run = partial(self._changed, replay, chunk.target, i, where, maps.shape)
                rows = request.internal_batch_size or replay.rows_at_once
                changed = torch.stack(
                    [
                        torch.cat(request.in_rows(partial(run, n), total, rows))
                        for n in range(replay.length)
                    ]
                )
            weights = self._weigh(scores, changed)
            if _all_near(changed, scores, rounding):  # the tensor may have no part in the score
                used = used_tensors(replay, score, observed_module(self.forward_func))
                if not any(used):
                    raise ArgumentError(not_used(site.name))
                weights = weights * used[i]
            found.append(Evidence(site, maps, (weights,), shaped=True))
        return found

    def _changed(
        self,
        replay: Replay,
        target: TargetType,
        i: int,
        where: Tensor | None,
        shape: torch.Size,
        n: int,
        part: slice,
    ) -> Tensor:
        """The scores of example n with a part of the changes of the layer's tensor i."""
        factors = self._factors(shape, part).to(replay.activation[i])
        count = len(factors)
        given = [t[n : n + 1].expand(count, *t.shape[1:]) for t in replay.activation]
        given[i] = _times(given[i], where, factors)
        output = replay(given, torch.full((count,), n, device=given[i].device))
        return wide(select_score(output, repeated(target, n, replay.length, count)))

    @abstractmethod
    def _passes(self, shape: torch.Size) -> int:
        """How many changes there are of maps ``(N, K, *positions)``."""

    @abstractmethod
    def _factors(self, shape: torch.Size, part: slice) -> Tensor:
        """What the map is multiplied by in each of these passes: (passes, K or 1, P or 1)."""

    @abstractmethod
    def _weigh(self, scores: Tensor, changed: Tensor) -> Tensor:
        """The evidence of the map from the scores (n,) and the changed ones (n, passes)."""


class LayerAblationCam(ReplayCam):
    r"""Ablation-CAM: a channel weighs as much as the score falls without it; no gradients.

    .. math::
        L = \sum_k w_k A_k, \quad w_k = \frac{y - y_{A_k = 0}}{|y|}

    The paper divides by y. That turns the map's sign where the logit is negative, so the default
    here is its absolute value; ``signed=True`` is the paper's. Channels are set to zero whatever
    their sign.

    Cost: one forward pass and K passes through what follows the layer, in chunks; only these, as
    the rest comes from a recording. Where what follows is average pooling and a linear layer, one
    forward and backward pass of it instead, in closed form.

    Reference: Desai, Ramaswamy, *Ablation-CAM: Visual Explanations for Deep Convolutional Network
    via Gradient-free Localization*, WACV 2020.

    Args:
        signed: divide by y as the paper does, not by its absolute value.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerAblationCam
        >>> model = resnet18().eval()
        >>> LayerAblationCam(model, "layer4").attribute(torch.randn(2, 3, 64, 64), [3, 7]).shape
        torch.Size([2, 1, 2, 2])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        signed: bool = False,
    ) -> None:
        ReplayCam.__init__(self, forward_func, layer, device_ids)
        self.signed = signed

    def _passes(self, shape: torch.Size) -> int:
        return shape[1]

    def _factors(self, shape: torch.Size, part: slice) -> Tensor:
        channels = torch.arange(shape[1])
        return (channels[part, None] != channels).unsqueeze(2)

    def _weigh(self, scores: Tensor, changed: Tensor) -> Tensor:
        return ablation_weights(scores, changed, self.signed)


class LayerReciproCam(ReplayCam):
    r"""Recipro-CAM: what one position of the feature map alone says to the rest of the network.

    .. math:: L_p = y \text{ of } A \text{ kept at position } p \text{ only, and 0 elsewhere}

    Cost: one forward pass and H W passes through what follows the layer; one forward and backward
    pass of it where that is average pooling and a linear layer. The map is a score for
    each position, not a sum over channels: ``attr_dim_summation`` changes nothing.

    Reference: Byun, Lee, *Recipro-CAM: Fast gradient-free visual explanations for convolutional
    neural networks*, 2022, arXiv:2209.14074.

    Args:
        gaussian: keep a 3 x 3 neighbourhood, weighted 1/4 at the position, 1/8 beside it and 1/16
            at the corners, as in the authors' code; not the position alone.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerReciproCam
        >>> model = resnet18().eval()
        >>> LayerReciproCam(model, "layer4").attribute(torch.randn(2, 3, 64, 64), [3, 7]).shape
        torch.Size([2, 1, 2, 2])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        gaussian: bool = False,
    ) -> None:
        ReplayCam.__init__(self, forward_func, layer, device_ids)
        self.gaussian = gaussian

    def _passes(self, shape: torch.Size) -> int:
        return math.prod(shape[2:])

    def _factors(self, shape: torch.Size, part: slice) -> Tensor:
        return neighbourhood(shape[2:] or (1,), part, [0.5, 0.25] if self.gaussian else [1.0])

    def _weigh(self, scores: Tensor, changed: Tensor) -> Tensor:
        return changed

    def _parts(self, activations: Tensor, scores: Tensor) -> Tensor:
        return scores.transpose(1, 2)


def _score_of(target: TargetType, length: int, output: Any) -> Tensor:
    """The scores of the recorded batch, or of its first example alone."""
    if is_function(target):  # how many rows there are is theirs to say
        first = select_score(output, repeated(target, 0, length, 1))
        return first if len(first) != length else select_score(output, target)
    output = output_tensor(output)
    return select_score(output, target if len(output) == length else repeated(target, 0, length, 1))


def _affine(maps: Tensor, slopes: Tensor, scores: Tensor, factors: Tensor) -> Tensor:
    """The scores (n, passes) with maps times each of the factors: y - sum((1 - f) dy/dA A)."""
    parts = wide(flat(maps) * flat(slopes))
    gone = 1 - factors.to(parts)
    for axis in (1, 2):
        parts = parts.sum(axis, keepdim=True) if gone.shape[axis] == 1 else parts
    return scores.unsqueeze(1) - torch.einsum("nkp,ikp->ni", parts, gone)


def _all_near(changed: Tensor, scores: Tensor, rounding: float) -> bool:
    """Whether no change did more to the scores than rounding may."""
    return bool(((changed - scores.unsqueeze(1)).abs() <= rounding * scores.abs().max()).all())


def _element_indices(tensor: Tensor, maps: Tensor, name: str, reshape: ReshapeTransform) -> Tensor:
    """Where each element of (K, P) is in an example of the layer's tensor."""
    one = tensor[:1]
    numbers = torch.arange(one.numel(), dtype=torch.float64, device=tensor.device)
    where = reshape(numbers.reshape(one.shape)).flatten(2)[0]
    inside = where.shape == maps.flatten(2).shape[1:] and bool((where < one.numel()).all())
    places = where.flatten().long() if inside else where.flatten()
    if (
        not inside
        or bool(places.sort().values.diff().eq(0).any())
        or not torch.equal(one.flatten()[places].nan_to_num(), maps[0].flatten().nan_to_num())
    ):
        raise ArgumentError(
            f"reshape_transform: for layer {name!r} it must only move or leave out elements, "
            "because changed elements are put back; it computes new ones"
        )
    return where.long()


def _times(rows: Tensor, where: Tensor | None, factors: Tensor) -> Tensor:
    """Each row's elements multiplied by ``factors`` (rows, K or 1, P or 1)."""
    if where is None:
        return (flat(rows) * factors).reshape(rows.shape)
    every = torch.ones(len(rows), rows[0].numel(), dtype=rows.dtype, device=rows.device)
    spread = factors.expand(len(rows), *where.shape).flatten(1)
    return rows * every.scatter(1, where.flatten().expand_as(spread), spread).reshape(rows.shape)
