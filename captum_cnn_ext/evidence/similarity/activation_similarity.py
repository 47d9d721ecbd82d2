"""Channels that respond to turned images as others do to upright ones, at any layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import Layer, find_layer
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.progress import tqdm
from captum_cnn_ext._engine.running.layer_sites import layer_sites
from captum_cnn_ext._engine.running.streaming import streamed
from captum_cnn_ext._numbers import as_count
from captum_cnn_ext._renamed import renamed
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence.fields.receptive_field import receptive_field
from captum_cnn_ext.evidence.similarity.turned_kernels import Turn, turns_of


@dataclass(frozen=True, eq=False)
class ActivationSimilarity:
    """How far channel a's map of the turned image is the turned map of channel b.

    Args:
        scores: (C, C) best correlation over the group, the identity left out where there is more.
        which: (C, C) index into ``turns``.
        turns: the transforms, the identity first.
        turned: (C,) each channel's best match with another channel under a transform.
        itself: (C,) its best match with itself under a transform: an invariant channel.
        duplicate: (C,) its best match with another channel on the same upright image: a control.
        other_image: (C,) ``turned`` with the maps of another image: what chance gives.
        images, size: how many images, and the side in pixels that they were cut to.
    """

    scores: Tensor
    which: Tensor
    turns: tuple[Turn, ...]
    turned: Tensor
    itself: Tensor
    duplicate: Tensor
    other_image: Tensor
    images: int
    size: int

    __repr__ = brief

    def __str__(self) -> str:
        def mean(values: Tensor) -> str:
            return f"{float(values.mean()):.2f}"

        return (
            f"{len(self.scores)} channels over {self.images} images of {self.size} pixels: best "
            f"turned partner {mean(self.turned)} on average, of another image "
            f"{mean(self.other_image)}, best unturned partner {mean(self.duplicate)}, itself "
            f"turned {mean(self.itself)}"
        )


@renamed(batch_size="internal_batch_size")
def activation_similarity(
    model: nn.Module,
    layer: Layer,
    images: Tensor | Iterable[Tensor],
    group: str = "rotations",
    *,
    call: int | None = None,
    internal_batch_size: int = 16,
    show_progress: bool = False,
) -> ActivationSimilarity:
    r"""Which channels of a layer are turned copies of others, by what they respond to.

    .. math:: s_{ab} = \max_{g \ne 1} \operatorname{corr}_{n, p}(A_a(g\, x_n)_p,\; (g A_b(x_n))_p)

    over all images and positions. Unlike a comparison of weights this takes along that the input
    channels of deeper layers turn too. Rotations by 90 degrees and mirrorings, which are exact;
    images are cut to a square whose pixels, less one, are a multiple of the layer's stride, so that
    the map's positions fall onto each other when it turns.

    Cost: for each image one forward pass up to the layer per transform. Memory does not grow with
    the number of images.

    Args:
        model: the network, in evaluation mode.
        layer: a module that gives (N, C, H, W), or its dotted name.
        images: (N, C, H, W), or batches of them; at least two images in each batch, so that
            another image's maps can serve as control.
        group: "rotations" or "rotations+flips".
        call: which call of a layer that runs several times; None is the last.
        internal_batch_size: images per pass, where ``images`` is one tensor.
        show_progress: draw a progress bar over the batches.

    Raises:
        ArgumentError: a layer without square maps, a batch of one image, or another group.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.evidence import activation_similarity
        >>> conv = torch.nn.Conv2d(1, 2, 3, bias=False).eval()
        >>> conv.weight.data[1] = conv.weight.data[0].rot90(1, (1, 2))
        >>> found = activation_similarity(torch.nn.Sequential(conv).eval(), "0",
        ...     torch.rand(4, 1, 12, 12))
        >>> str(found.turns[found.which[1, 0]]), round(float(found.scores[1, 0]), 4)
        ('90°', 1.0)
    """
    turns = turns_of(group, 4, exact=True)
    if len(turns) < 2:
        raise ArgumentError("group='none': there is nothing to turn; expected rotations")
    module = find_layer(model, layer)
    (site,) = layer_sites(model, module, False, call)
    chunk = as_count("internal_batch_size", internal_batch_size, 2)
    parts: Any = torch.split(images, chunk) if isinstance(images, Tensor) else images
    sums: list[_Sums] = []
    count = size = 0
    with streamed(model, site) as run, torch.inference_mode():
        for batch in tqdm(parts, desc=site.name, unit="batch", disable=not show_progress):
            if batch.ndim != 4 or len(batch) < 2:
                raise ArgumentError(
                    f"images: got a batch {tuple(batch.shape)}; expected (N, C, H, W), N >= 2"
                )
            if not size:
                size = _square(model, module, batch, run, call)
            batch = _middle(batch, size)
            upright = run(batch)
            if upright.ndim != 4 or upright.shape[2] != upright.shape[3]:
                raise ArgumentError(
                    f"layer {site.name!r}: gives {tuple(upright.shape)}; expected square maps"
                )
            for place, turn in enumerate(turns):
                maps = upright if place == 0 else run(turn(batch).contiguous())
                if len(sums) <= place:
                    sums.append(_Sums.empty(upright))
                sums[place].add(maps, turn(upright))
            count += len(batch)
    if not count:
        raise ArgumentError("images: got none, expected at least one batch")
    return _result(sums, turns, count, size)


def _square(
    model: nn.Module,
    module: nn.Module,
    batch: Tensor,
    run: Callable[[Tensor], Tensor],
    call: int | None,
) -> int:
    """The largest side whose grid of positions turns onto itself."""
    side = min(batch.shape[2:])
    try:
        stride = receptive_field(model, module, batch[:1], call=call).stride[0]
    except (ArgumentError, ValueError):
        stride = 0.0
    if stride < 1:  # units see the whole image: count positions instead
        maps = run(batch[:1])
        stride = side / maps.shape[2] if maps.ndim == 4 else 1.0
    step = max(1, round(stride))
    return (side - 1) // step * step + 1


def _middle(batch: Tensor, size: int) -> Tensor:
    top, left = ((length - size) // 2 for length in batch.shape[2:])
    return batch[:, :, top : top + size, left : left + size]


@dataclass
class _Sums:
    """Running sums of two sets of C maps, and of their products."""

    count: int
    a: Tensor
    b: Tensor
    aa: Tensor
    bb: Tensor
    ab: Tensor
    other: Tensor

    @staticmethod
    def empty(maps: Tensor) -> _Sums:
        channels = maps.shape[1]
        zero = torch.zeros(channels, dtype=torch.float64, device=maps.device)
        square = torch.zeros(channels, channels, dtype=torch.float64, device=maps.device)
        return _Sums(0, zero, zero, zero, zero, square, square)

    def add(self, first: Tensor, second: Tensor) -> None:
        """Maps (N, C, H, W) of the same images; ``other`` pairs each with the next image's."""
        a, b, c = (
            t.double().transpose(0, 1).flatten(1) for t in (first, second, second.roll(1, 0))
        )
        self.count += a.shape[1]
        self.a, self.b = self.a + a.sum(1), self.b + b.sum(1)
        self.aa, self.bb = self.aa + (a * a).sum(1), self.bb + (b * b).sum(1)
        self.ab, self.other = self.ab + a @ b.T, self.other + a @ c.T

    def correlations(self, products: Tensor) -> Tensor:
        """Pearson's correlation of each pair; 0 for a constant map."""
        n = self.count
        spread_a = (self.aa - self.a**2 / n).clamp_min(0).sqrt()
        spread_b = (self.bb - self.b**2 / n).clamp_min(0).sqrt()
        both = spread_a[:, None] * spread_b
        tiny = 1e-7 * (self.aa.sqrt()[:, None] * self.bb.sqrt())
        centred = products - self.a[:, None] * self.b / n
        return torch.where(both > tiny, centred / both.clamp_min(1e-300), 0).clamp(-1, 1)


def _result(sums: list[_Sums], turns: list[Turn], count: int, size: int) -> ActivationSimilarity:
    turned = torch.stack([s.correlations(s.ab) for s in sums[1:]])
    other = torch.stack([s.correlations(s.other) for s in sums[1:]])
    scores, which = turned.max(0)
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    plain = sums[0].correlations(sums[0].ab)
    return ActivationSimilarity(
        scores.float(),
        which + 1,
        tuple(turns),
        scores.masked_fill(own, -1).amax(1).float(),
        scores.diagonal().float().clone(),
        plain.masked_fill(own, -1).amax(1).float(),
        other.amax(0).masked_fill(own, -1).amax(1).float(),
        count,
        size,
    )
