"""Captum's layer methods along a path of inputs, with no graph before the layer.

Letters: m points on the path from the baselines x' to the inputs x; A_i = the layer's activation
at point i, g_i = the score's gradient there.
"""

from abc import ABC
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from captum.attr import InternalInfluence as CaptumInternalInfluence
from captum.attr import LayerConductance as CaptumLayerConductance
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer, find_layer
from captum_cnn_ext._engine.judging.captum_compat import (
    QUADRATURES,
    TargetType,
    format_additional_forward_args,
    log_usage,
    quadrature,
)
from captum_cnn_ext._engine.judging.inputs import as_baselines, as_tensors
from captum_cnn_ext._engine.judging.targets import as_target, select_score
from captum_cnn_ext._engine.nested_tensors import tensors_in
from captum_cnn_ext._engine.running.batching import (
    Chunk,
    captums_form,
    chunk_by_chunk,
    layer_results,
)
from captum_cnn_ext._engine.running.forward import copies, fixed_by_run
from captum_cnn_ext._engine.running.layer_sites import Site, layer_sites
from captum_cnn_ext._numbers import as_count, as_count_or_none
from captum_cnn_ext.attr.layers.base import LayerMap
from captum_cnn_ext.attr.layers.convergence_delta import ConvergenceDelta
from captum_cnn_ext.errors import ArgumentError, choose

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class _Path:
    """From baselines to inputs, and what the score of each point is."""

    site: Site
    starts: tuple[Tensor, ...]
    ends: tuple[Tensor, ...]
    target: TargetType
    extra: tuple[Any, ...]
    grad_kwargs: dict[str, Any] | None


class PathMethod(LayerMap, ABC):
    """Abstract: made from a layer's activations and gradients at points between baseline and input.

    There is no ``return_output`` here: the points lie between the two, so no pass of the model is
    of the inputs themselves.

    Args:
        layer: a module of the model, or its dotted name.
        internal_batch_size: at most so many points of all examples at once; None is all.
        attribute_to_layer_input: at what the layer receives instead of what it gives, as far as it
            acts through the layer; Captum counts other uses of that tensor (a skip connection
            around the layer) too.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer,
        device_ids: list[int] | None = None,
    ) -> None:
        LayerMap.__init__(self, forward_func, find_layer(forward_func, layer), device_ids)

    @final
    def _path(
        self,
        inputs: Any,
        baselines: Any,
        target: TargetType,
        additional_forward_args: Any,
        at_input: bool,
        grad_kwargs: dict[str, Any] | None,
        call: int | None,
    ) -> _Path:
        target, ends = as_target(target), as_tensors(inputs)
        starts = as_baselines(baselines, ends)
        (site,) = layer_sites(self.forward_func, self.layer, at_input, call)
        extra = format_additional_forward_args(additional_forward_args)
        return _Path(site, starts, ends, target, extra, grad_kwargs)

    @final
    def _totals(
        self,
        total: Callable[[Iterator[list[Pair]]], list[Tensor]],
        path: _Path,
        positions: Sequence[float],
        internal_batch_size: int | None,
        inputs: Any,
    ) -> Any:
        """What ``total`` makes of the points, in Captum's form; by parts where memory runs out."""
        most = as_count_or_none("internal_batch_size", internal_batch_size)
        return layer_results(
            lambda chunk: [tuple(total(self._points(chunk, path, positions, most)))],
            (*path.ends, *path.starts),
            path.target,
            path.extra,
            several_layers=False,
            form=lambda found, _: captums_form(found, inputs),
        )

    @final
    def _points(
        self, chunk: Chunk, path: _Path, positions: Sequence[float], most: int | None
    ) -> Iterator[list[Pair]]:
        """At each point of the path, for each of the layer's tensors: activation and gradient."""
        ends, starts = chunk.inputs[: len(path.ends)], chunk.inputs[len(path.ends) :]
        count = len(ends[0])
        target = fixed_by_run(chunk.target, self.forward_func, (*ends, *chunk.extra))

        def run(points: slice) -> tuple[int, list[Pair]]:
            part = positions[points]
            along = Chunk(
                tuple(_cat_points(a, b, part) for a, b in zip(starts, ends, strict=True)),
                _repeated_target(target, len(part), count),
                tuple(_repeated(value, len(part), count) for value in chunk.extra),
            )
            with self._recorded(along, [path.site], gradients=True) as recording:
                scores = select_score(recording.output, along.target)
                (gradients,) = recording.gradients(scores, path.grad_kwargs)
                return len(part), list(zip(recording.activations(0), gradients, strict=True))

        at_once = None if most is None else max(1, most // count)
        for points, found in chunk_by_chunk(run, len(positions), at_once):
            if any(len(a) != count * points for a, _ in found):
                raise ArgumentError(
                    f"layer {path.site.name!r}: its first dimension is not the batch, so the "
                    "points of the path cannot be told apart; pass internal_batch_size=1 with one "
                    "example"
                )
            for i in range(points):
                one = slice(i * count, (i + 1) * count)
                yield [(a[one], g[one]) for a, g in found]


class LayerConductance(PathMethod, ConvergenceDelta, CaptumLayerConductance):
    r"""Captum's ``LayerConductance`` with its values, without a graph before the layer.

    .. math:: \sum_i g_i \odot (A_{i+1} - A_i)

    How much of the change from baseline to input flows through each of the layer's values.

    Cost: ``n_steps`` + 1 forward passes, and as many backward passes of the tail. Memory is that
    of the tail; Captum keeps the graph of the whole network.

    Reference: Dhamdhere, Sundararajan, Yan, *How Important Is a Neuron?*, 2018, arXiv:1805.12233.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerConductance
        >>> model, x = resnet18().eval(), torch.randn(2, 3, 64, 64)
        >>> LayerConductance(model, "layer4").attribute(x, target=[3, 7], n_steps=8).shape
        torch.Size([2, 512, 2, 2])
    """

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Any = None,
        target: TargetType = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
        *,
        call: int | None = None,
    ) -> Any:
        """The conductance of each value of the layer.

        Args:
            n_steps: how many steps the path is cut into.

        Returns:
            A tensor of the layer's shape; a tuple where the layer has several tensors, and for a
            tuple of one input; with the delta, (N,), beside it where asked.

        Raises:
            ArgumentError: the layer is not reached, or the target does not depend on it.
            TargetError: the output has no such target.
        """
        method = choose("method", method, QUADRATURES)
        _, positions = quadrature(method, as_count("n_steps", n_steps) + 1)
        given = inputs, baselines, target, additional_forward_args
        path = self._path(*given, attribute_to_layer_input, grad_kwargs, call)

        def total(points: Iterator[list[Pair]]) -> list[Tensor]:
            before = next(points)
            found = [torch.zeros_like(activation) for activation, _ in before]
            for now in points:
                for i, ((a, g), (b, _)) in enumerate(zip(before, now, strict=True)):
                    found[i] = found[i] + g * (b - a)
                before = now
            return found

        result = self._totals(total, path, positions, internal_batch_size, inputs)
        if not return_convergence_delta:
            return result
        between = copies(path.starts), copies(path.ends)
        found = tuple(tensors_in(result))
        return result, self.compute_convergence_delta(found, *between, path.target, path.extra)


class InternalInfluence(PathMethod, CaptumInternalInfluence):
    r"""Captum's ``InternalInfluence`` with its values, without a graph before the layer.

    .. math:: \sum_i s_i\, g_i

    s_i are the quadrature's step sizes: the mean gradient of the score by the layer's values on
    the path from baseline to input.

    Cost: ``n_steps`` forward passes, and as many backward passes of the tail. Memory is that of
    the tail; Captum keeps the graph of the whole network.

    Reference: Leino, Sen, Datta, Fredrikson, Li, *Influence-Directed Explanations for Deep
    Convolutional Networks*, 2018, arXiv:1802.03788.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import InternalInfluence
        >>> model, x = resnet18().eval(), torch.randn(2, 3, 64, 64)
        >>> InternalInfluence(model, "layer4").attribute(x, target=[3, 7], n_steps=8).shape
        torch.Size([2, 512, 2, 2])
    """

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Any = None,
        target: TargetType = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        attribute_to_layer_input: bool = False,
        grad_kwargs: dict[str, Any] | None = None,
        *,
        call: int | None = None,
    ) -> Any:
        """The influence of each value of the layer.

        Returns:
            A tensor of the layer's shape; a tuple where the layer has several tensors, and for a
            tuple of one input.

        Raises:
            ArgumentError: the layer is not reached, or the target does not depend on it.
            TargetError: the output has no such target.
        """
        method = choose("method", method, QUADRATURES)
        sizes, positions = quadrature(method, as_count("n_steps", n_steps))
        given = inputs, baselines, target, additional_forward_args
        path = self._path(*given, attribute_to_layer_input, grad_kwargs, call)

        def total(points: Iterator[list[Pair]]) -> list[Tensor]:
            found: list[Tensor] = []
            for size, now in zip(sizes, points, strict=True):
                parts = [g * size for _, g in now]
                found = [t + p for t, p in zip(found, parts, strict=True)] if found else parts
            return found

        return self._totals(total, path, positions, internal_batch_size, inputs)


def _cat_points(start: Tensor, end: Tensor, positions: Sequence[float]) -> Tensor:
    if not end.is_floating_point() and not end.is_complex():
        start, end = start.float(), end.float()  # the difference of two bytes would wrap around
    return torch.cat([start + position * (end - start) for position in positions])


def _repeated(value: Any, times: int, count: int) -> Any:
    """A tensor of ``count`` examples for ``times`` points; anything else as it is."""
    if isinstance(value, Tensor) and value.ndim and len(value) == count:
        return value.repeat(times, *[1] * (value.ndim - 1))
    return value


def _repeated_target(target: Any, times: int, count: int) -> Any:
    """A target for each example has as many rows as these; one target stays as it is."""
    if isinstance(target, list) and len(target) == count:
        return target * times
    one = isinstance(target, Tensor) and target.numel() == 1
    return target if one else _repeated(target, times, count)
