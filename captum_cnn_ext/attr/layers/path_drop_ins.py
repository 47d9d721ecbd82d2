"""Captum's layer methods along a path of inputs, with no graph before the layer.

Letters: m points on the path from the baselines x' to the inputs x; A_i = the layer's activation
at point i, g_i = the score's gradient there.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from captum.attr import InternalInfluence as CaptumInternalInfluence
from captum.attr import LayerConductance as CaptumLayerConductance
from torch import Tensor

from captum_cnn_ext._engine.backward.saved_tensors import through_hidden_writes
from captum_cnn_ext._engine.judging.arguments import ArgumentError, Layer, choose, find_layer
from captum_cnn_ext._engine.judging.captum_compat import (
    QUADRATURES,
    TargetType,
    format_additional_forward_args,
    log_usage,
    quadrature,
)
from captum_cnn_ext._engine.judging.inputs import as_baselines, as_tensors
from captum_cnn_ext._engine.judging.targets import as_target, select_score
from captum_cnn_ext._engine.running.batching import captums_form
from captum_cnn_ext._engine.running.forward import copies
from captum_cnn_ext._engine.running.layer_recording import record
from captum_cnn_ext._engine.running.layer_sites import Site, layer_sites
from captum_cnn_ext._numbers import as_count, as_count_or_none
from captum_cnn_ext.attr.layers.convergence_delta import ConvergenceDelta

Pair = tuple[Tensor, Tensor]


class LayerConductance(ConvergenceDelta, CaptumLayerConductance):
    r"""Captum's ``LayerConductance`` with its values, without a graph before the layer.

    .. math:: \sum_i g_i \odot (A_{i+1} - A_i)

    How much of the change from baseline to input flows through each of the layer's values.

    Cost: ``n_steps`` + 1 forward passes, and as many backward passes of the tail. Memory is that
    of the tail; Captum keeps the graph of the whole network.

    Reference: Dhamdhere, Sundararajan, Yan, *How Important Is a Neuron?*, 2018, arXiv:1805.12233.

    Args:
        forward_func: the model, or any function of the inputs that runs it.
        layer: a module or its dotted name.
        device_ids: the replicas' devices, with ``DataParallel``.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerConductance
        >>> model, x = resnet18().eval(), torch.randn(2, 3, 64, 64)
        >>> LayerConductance(model, "layer4").attribute(x, target=[3, 7], n_steps=8).shape
        torch.Size([2, 512, 2, 2])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer,
        device_ids: list[int] | None = None,
    ) -> None:
        layer = find_layer(forward_func, layer)
        CaptumLayerConductance.__init__(self, forward_func, layer, device_ids)

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
            inputs: one tensor (N, ...) or a tuple of them.
            baselines: inputs that stand for absence: a number, or a tensor that broadcasts to the
                input; a tuple of these for a tuple of inputs; None is 0.
            target: what is explained, in any of Captum's forms.
            additional_forward_args: further arguments of ``forward_func``.
            n_steps: how many steps the path is cut into.
            method: the quadrature rule, by Captum's names.
            internal_batch_size: at most so many points of all examples at once; None is all.
            return_convergence_delta: also how far the sum is from f(inputs) - f(baselines).
            attribute_to_layer_input: at what the layer receives instead of what it gives, as far
                as it acts through the layer; Captum counts other uses of that tensor (a skip
                connection around the layer) too.
            grad_kwargs: passed to ``torch.autograd.grad``.
            call: which call of a layer that runs several times; None is the last, as in Captum.

        Returns:
            A tensor of the layer's shape; a tuple where the layer has several tensors, and for a
            tuple of one input; with the delta, (N,), beside it where asked.

        Raises:
            ArgumentError: the layer is not reached, or the target does not depend on it.
            TargetError: the output has no such target.
        """
        target, method = as_target(target), choose("method", method, QUADRATURES)
        _, positions = quadrature(method, as_count("n_steps", n_steps) + 1)
        path = as_baselines(baselines, as_tensors(inputs)), as_tensors(inputs)
        (site,) = layer_sites(self.forward_func, self.layer, attribute_to_layer_input, call)
        rows = target, format_additional_forward_args(additional_forward_args)
        points = _along(self, site, path, positions, rows, internal_batch_size, grad_kwargs)
        before = next(points)
        total = [torch.zeros_like(activation) for activation, _ in before]
        for now in points:
            for i, ((a, g), (b, _)) in enumerate(zip(before, now, strict=True)):
                total[i] = total[i] + g * (b - a)
            before = now
        result = captums_form(tuple(total), inputs)
        if not return_convergence_delta:
            return result
        start, end = map(copies, path)
        return result, self.compute_convergence_delta(tuple(total), start, end, *rows)


class InternalInfluence(CaptumInternalInfluence):
    r"""Captum's ``InternalInfluence`` with its values, without a graph before the layer.

    .. math:: \sum_i s_i\, g_i

    s_i are the quadrature's step sizes: the mean gradient of the score by the layer's values on
    the path from baseline to input.

    Cost: ``n_steps`` forward passes, and as many backward passes of the tail. Memory is that of
    the tail; Captum keeps the graph of the whole network.

    Reference: Leino, Sen, Datta, Fredrikson, Li, *Influence-Directed Explanations for Deep
    Convolutional Networks*, 2018, arXiv:1802.03788.

    Args:
        forward_func: the model, or any function of the inputs that runs it.
        layer: a module or its dotted name.
        device_ids: the replicas' devices, with ``DataParallel``.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import InternalInfluence
        >>> model, x = resnet18().eval(), torch.randn(2, 3, 64, 64)
        >>> InternalInfluence(model, "layer4").attribute(x, target=[3, 7], n_steps=8).shape
        torch.Size([2, 512, 2, 2])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer,
        device_ids: list[int] | None = None,
    ) -> None:
        layer = find_layer(forward_func, layer)
        CaptumInternalInfluence.__init__(self, forward_func, layer, device_ids)

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

        Args:
            inputs: one tensor (N, ...) or a tuple of them.
            baselines: inputs that stand for absence: a number, or a tensor that broadcasts to the
                input; a tuple of these for a tuple of inputs; None is 0.
            target: what is explained, in any of Captum's forms.
            additional_forward_args: further arguments of ``forward_func``.
            n_steps: points of the quadrature.
            method: the quadrature rule, by Captum's names.
            internal_batch_size: at most so many points of all examples at once; None is all.
            attribute_to_layer_input: at what the layer receives instead of what it gives, as far
                as it acts through the layer; Captum counts other uses of that tensor (a skip
                connection around the layer) too.
            grad_kwargs: passed to ``torch.autograd.grad``.
            call: which call of a layer that runs several times; None is the last, as in Captum.

        Returns:
            A tensor of the layer's shape; a tuple where the layer has several tensors, and for a
            tuple of one input.

        Raises:
            ArgumentError: the layer is not reached, or the target does not depend on it.
            TargetError: the output has no such target.
        """
        target, method = as_target(target), choose("method", method, QUADRATURES)
        sizes, positions = quadrature(method, as_count("n_steps", n_steps))
        path = as_baselines(baselines, as_tensors(inputs)), as_tensors(inputs)
        (site,) = layer_sites(self.forward_func, self.layer, attribute_to_layer_input, call)
        rows = target, format_additional_forward_args(additional_forward_args)
        points = _along(self, site, path, positions, rows, internal_batch_size, grad_kwargs)
        total: list[Tensor] = []
        for size, now in zip(sizes, points, strict=True):
            parts = [g * size for _, g in now]
            total = [t + p for t, p in zip(total, parts, strict=True)] if total else parts
        return captums_form(tuple(total), inputs)


def _along(
    method: CaptumLayerConductance | CaptumInternalInfluence,
    site: Site,
    path: tuple[Sequence[Tensor], Sequence[Tensor]],
    positions: Sequence[float],
    rows: tuple[TargetType, tuple[Any, ...]],
    internal_batch_size: int | None,
    grad_kwargs: dict[str, Any] | None,
) -> Iterator[list[Pair]]:
    """At each point of the path, for each of the layer's tensors: activation and gradient."""
    (starts, ends), (target, extra) = path, rows
    count = len(ends[0])
    chunk = as_count_or_none("internal_batch_size", internal_batch_size)
    at_once = len(positions) if chunk is None else max(1, chunk // count)
    for begin in range(0, len(positions), at_once):
        part = positions[begin : begin + at_once]
        points = tuple(_cat_points(a, b, part) for a, b in zip(starts, ends, strict=True))
        args = tuple(_repeated(value, len(part), count) for value in extra)
        targets = _repeated_target(target, len(part), count)

        def run(
            points: Any = points, args: Any = args, targets: TargetType = targets
        ) -> list[Pair]:
            with record(
                method.forward_func,
                [site],
                points,
                args,
                gradients=True,
                device_ids=method.device_ids,
            ) as recording:
                scores = select_score(recording.output, targets)
                (gradients,) = recording.gradients(scores, grad_kwargs)
                return list(zip(recording.activations(0), gradients, strict=True))

        found = through_hidden_writes(run)
        if any(len(a) != count * len(part) for a, _ in found):
            raise ArgumentError(
                f"layer {site.name!r}: its first dimension is not the batch, so the points of the "
                "path cannot be told apart; pass internal_batch_size=1 with one example"
            )
        for i in range(len(part)):
            one = slice(i * count, (i + 1) * count)
            yield [(a[one], g[one]) for a, g in found]


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
