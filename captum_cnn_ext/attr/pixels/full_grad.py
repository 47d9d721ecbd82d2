"""FullGrad: the gradient of the input and of every bias, drawn over the input."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from captum.attr import GradientAttribution
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from captum_cnn_ext._engine.judging.arguments import refuse_scripted, root_module
from captum_cnn_ext._engine.judging.captum_compat import (
    TargetType,
    format_additional_forward_args,
    log_usage,
)
from captum_cnn_ext._engine.judging.inputs import as_tensors, check_initialised
from captum_cnn_ext._engine.judging.targets import as_target, select_score, target_columns
from captum_cnn_ext._engine.running.batching import Chunk, layer_results
from captum_cnn_ext._engine.running.graph_nodes import has_inlined_biases
from captum_cnn_ext._engine.running.layer_recording import record
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext.attr.argument_docs import Documented
from captum_cnn_ext.attr.resized_maps import LINEAR, resized
from captum_cnn_ext.errors import ArgumentError

T = TypeVar("T")
Terms = tuple[tuple[Tensor, ...], dict[str, tuple[Tensor, ...]]]


def normalised_magnitude(term: Tensor) -> Tensor:
    """psi: |term| brought to [0, 1] over all channels and positions of each example."""
    flat = term.abs().flatten(1)
    flat = flat - flat.amin(1, keepdim=True)
    largest = flat.amax(1, keepdim=True)
    return torch.where(largest == 0, 0, flat / largest).reshape(term.shape)


def full_grad_map(image_term: Tensor, layer_terms: Sequence[Tensor]) -> Tensor:
    """psi(g_x x) + sum_l U(psi(b_l g_l)), each summed over channels: ``(N, 1, *positions)``."""
    total = normalised_magnitude(image_term).sum(1, keepdim=True)
    for term in layer_terms:
        # upsampling is linear: channels are summed first
        layer = normalised_magnitude(term).sum(1, keepdim=True)
        total = total + resized(layer, image_term.shape[2:], align_corners=True)
    return total


class FullGrad(Documented, GradientAttribution):
    r"""FullGrad: what the input and each layer's biases add to the score, in one picture.

    .. math::
        L = \psi(g_x \odot x) + \sum_l \sum_k U\,\psi(b_l \odot g_l)_k

    g_x is the gradient at the input, g_l that at the output of layer l and b_l the layer's bias;
    psi takes absolute values and scales them to [0, 1] once for each image and layer, U upsamples
    with corners aligned, both as in the authors' code (without the constant that it adds to the
    largest value). Convolutions (also transposed), linear layers and batch norms count, subclasses
    too; a batch norm's bias is the one it has as an affine map, beta - mean gamma / sqrt(var +
    eps). Linear layers without positions have no place in the map, but ``decompose`` gives them.

    On networks of these layers with ReLU and max or average pooling, ``decompose`` adds up to the
    score: sum(g_x x) + sum(b_l g_l) = y. What other layers (group and layer norm, SiLU, biases
    used outside a module) add is missing there.

    Cost: one forward pass and one backward pass of the whole network; activations are kept.

    Reference: Srinivas, Fleuret, *Full-Gradient Representation for Neural Network Visualization*,
    2019, arXiv:1905.00780.

    Args:
        forward_func: the model, a ``torch.nn.Module``.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import FullGrad
        >>> model, x = resnet18().eval(), torch.randn(2, 3, 64, 64)
        >>> FullGrad(model).attribute(x, target=3).shape
        torch.Size([2, 1, 64, 64])
        >>> (at_input,), at_biases = FullGrad(model).decompose(x, target=3)
        >>> total = at_input.sum() + sum(t.sum() for ts in at_biases.values() for t in ts)
        >>> torch.allclose(total, model(x)[:, 3].sum(), atol=1e-3)
        True
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        GradientAttribution.__init__(self, forward_func)
        root = root_module(forward_func)
        if root is None:
            raise ArgumentError(
                "forward_func: FullGrad reads the biases of the model's layers, so it needs the "
                f"torch.nn.Module itself; got {type(forward_func).__name__}"
            )
        for name, module in root.named_modules():
            refuse_scripted(module, f"forward_func, layer {name!r}" if name else "forward_func")
            if has_inlined_biases(module):
                raise ArgumentError(
                    "forward_func: the layers of this exported or traced program are part of its "
                    "code, where FullGrad does not see their biases; pass the original "
                    "torch.nn.Module"
                )
        self._root = root

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: TargetType = None,
        additional_forward_args: Any = None,
        *,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Any:
        """The map of each input, at the input's resolution, 0 or more.

        Args:
            inputs: images ``(N, C, *positions)``, or a tuple of them.

        Returns:
            ``(N, 1, *positions)``, detached; a tuple of these when ``inputs`` is a tuple.

        Raises:
            ArgumentError: an input has no positions, or a batch norm is in training mode.
            TargetError: the output has no such target.
        """
        return self._results(
            lambda chunk: self._terms(chunk, [chunk.target], _maps),
            inputs,
            as_target(target),
            additional_forward_args,
            internal_batch_size=internal_batch_size,
            show_progress=show_progress,
        )

    def attribute_targets(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        targets: Sequence[int | tuple[int, ...] | list[int]] | Tensor,
        additional_forward_args: Any = None,
        *,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Any:
        """The maps of T targets of each input, from one forward pass and T backward passes.

        Args:
            targets: T targets that all inputs share, as a list or a tensor (T,); or each input's
                own, as a tensor (N, T) or a list of N lists.

        Returns:
            ``(N, T, 1, *positions)``; a tuple of these when ``inputs`` is a tuple.
        """
        columns = target_columns(targets, inputs)

        def run(chunk: Chunk) -> list[tuple[Tensor, ...]]:
            each = columns.of(chunk.target)
            found = self._terms(chunk, each, _maps)
            return [tuple(torch.stack(maps, 1) for maps in zip(*found, strict=True))]

        return self._results(
            run,
            inputs,
            columns.own,
            additional_forward_args,
            internal_batch_size=internal_batch_size,
            show_progress=show_progress,
        )

    def _results(self, run: Callable[[Chunk], Any], *given: Any, **options: Any) -> Any:
        options |= {"several_layers": False, "description": self.get_name()}
        try:
            return layer_results(run, *given, **options)
        except _OneForAllError:  # its gradient belongs to no single example
            return layer_results(run, *given, **{**options, "internal_batch_size": 1})

    def decompose(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: TargetType = None,
        additional_forward_args: Any = None,
    ) -> Terms:
        """The score's parts: g_x x for each input, b_l g_l for each layer and call of it.

        Returns:
            A tuple with a tensor of each input's shape, and a dictionary from a layer's name to a
            tuple with a tensor of its output's shape for each of its calls.

        Raises:
            ArgumentError: a batch norm is in training mode.
            TargetError: the output has no such target.
        """
        extra = format_additional_forward_args(additional_forward_args)
        chunk = Chunk(as_tensors(inputs), target, extra)
        return self._terms(chunk, [target], lambda terms: terms)[0]

    def _terms(
        self, chunk: Chunk, targets: Sequence[TargetType], use: Callable[[Terms], T]
    ) -> list[T]:
        """Run the model once; what ``use`` makes of each target's terms."""
        check_initialised(self._root)
        layers = {
            name: bias
            for name, module in self._root.named_modules()
            if (bias := _bias(module, name)) is not None
        }
        modules = dict(self._root.named_modules())
        sites = [Site(self._root, "the model's input", at_input=True)]
        sites += [Site(modules[name], name, every=True) for name in layers]
        with record(
            self.forward_func, sites, chunk.inputs, chunk.extra, gradients=True
        ) as recording:
            images = recording.activations(0)[: len(chunk.inputs)]
            results = []
            for left, target in zip(reversed(range(len(targets))), targets, strict=True):
                scores = select_score(recording.output, target)
                found = recording.gradients(scores, {"retain_graph": left > 0})
                at_inputs = tuple(g * x for g, x in zip(found[0], images, strict=False))
                at_layers = {
                    name: tuple(g * _along(bias, g, modules[name]) for g in gradients)
                    for (name, bias), gradients in zip(layers.items(), found[1:], strict=True)
                    if gradients
                }
                results.append(use((at_inputs, at_layers)))
        return results


class _OneForAllError(Exception):
    """A layer's output is one for all examples, such as an encoding of positions."""


def _maps(terms: Terms) -> tuple[Tensor, ...]:
    """One map for each input."""
    at_inputs, at_layers = terms
    for term in at_inputs:
        if term.ndim - 2 not in LINEAR:
            raise ArgumentError(
                "inputs: FullGrad draws over inputs (N, C, L), (N, C, H, W) or (N, C, D, H, W); "
                f"got shape {tuple(term.shape)}"
            )
    flat = [term for calls in at_layers.values() for term in calls]
    for image in at_inputs:
        if len(image) > 1 and any(t.ndim == image.ndim and len(t) == 1 for t in flat):
            raise _OneForAllError
    return tuple(
        full_grad_map(image, [t for t in flat if t.ndim == image.ndim and len(t) == len(image)])
        for image in at_inputs
    )


def _bias(module: nn.Module, name: str) -> Tensor | None:
    """What a layer adds to each channel, or None where it adds nothing or is of another kind."""
    if isinstance(module, _BatchNorm):
        mean, variance = module.running_mean, module.running_var
        if module.training or mean is None or variance is None:
            raise ArgumentError(
                f"layer {name!r}: FullGrad needs the bias of this batch norm, which depends on "
                "the batch in training mode or without running statistics; call model.eval()"
            )
        scale = torch.rsqrt(variance + module.eps)
        bias = -mean * scale
        if module.affine:
            bias = bias * module.weight + module.bias
        return bias.detach()
    if isinstance(module, (_ConvNd, nn.Linear)) and isinstance(module.bias, Tensor):
        return module.bias.detach()
    return None


def _along(bias: Tensor, tensor: Tensor, module: nn.Module) -> Tensor:
    """The bias shaped so that it lies along the tensor's channels."""
    if isinstance(module, nn.Linear):
        return bias
    return bias.reshape(-1, *[1] * (tensor.ndim - 2))
