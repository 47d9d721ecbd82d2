"""Captum's layer methods, with their signatures and values, computing only the layer's tail."""

from abc import ABC
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, final

import torch
from captum.attr import IntegratedGradients
from captum.attr import LayerFeatureAblation as CaptumLayerFeatureAblation
from captum.attr import LayerIntegratedGradients as CaptumLayerIntegratedGradients
from torch import Tensor

from captum_cnn_ext._engine.backward.activation_checkpoints import checkpoints_explained
from captum_cnn_ext._engine.judging.arguments import Layer, find_layers
from captum_cnn_ext._engine.judging.captum_compat import (
    QUADRATURES,
    Ablation,
    TargetType,
    format_additional_forward_args,
    log_usage,
)
from captum_cnn_ext._engine.judging.inputs import as_baselines, as_tensors
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.judging.targets import as_target, select_score
from captum_cnn_ext._engine.nested_tensors import tensors_in
from captum_cnn_ext._engine.running.batching import (
    Chunk,
    captums_form,
    check_by_example,
    fitting,
    layer_results,
)
from captum_cnn_ext._engine.running.forward import copies
from captum_cnn_ext._engine.running.layer_sites import layer_sites
from captum_cnn_ext._numbers import as_count, as_count_or_none
from captum_cnn_ext.attr.layers.base import LayerMap
from captum_cnn_ext.attr.layers.convergence_delta import ConvergenceDelta
from captum_cnn_ext.attr.layers.tail_forward import TailForward
from captum_cnn_ext.errors import choose


class TailMethod(LayerMap, ABC):
    """Abstract: an input method of Captum, run on what follows the layer."""

    @final
    def _tail(
        self, layer: Layer | list[Layer], chunk: Chunk, at_input: bool, call: int | None
    ) -> TailForward:
        """The target's score as a function of the layer, where the output has such a target."""
        tail = TailForward(
            self.forward_func,
            layer,
            chunk.inputs,
            chunk.extra,
            attribute_to_layer_input=at_input,
            call=call,
            device_ids=self.device_ids,
            target=chunk.target,
        )
        output_tensor(tail.output)  # a wrong target is named before the work
        return tail


class LayerFeatureAblation(TailMethod, CaptumLayerFeatureAblation):
    r"""Captum's ``LayerFeatureAblation`` with its values, computing only what follows the layer.

    .. math:: a_i = f(A) - f(A \text{ with group } i \text{ at its baseline})

    Cost: one forward pass, and one pass through what follows the layer for each group of features
    (each channel position when there is no mask). Layers whose tensors are a list, and targets
    that differ by example with several ``perturbations_per_eval``, work.

    Reference: Kokhlikyan et al., *Captum: A unified and generic model interpretability library
    for PyTorch*, 2020, arXiv:2009.07896.

    Args:
        layer: a module, its dotted name, or a list of these (explained one by one).

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerFeatureAblation
        >>> model, x = resnet18().eval(), torch.randn(1, 3, 64, 64)
        >>> channel = torch.arange(512).reshape(1, 512, 1, 1)
        >>> ablation = LayerFeatureAblation(model, "layer4")
        >>> ablation.attribute(x, target=3, layer_mask=channel, perturbations_per_eval=64).shape
        torch.Size([1, 512, 2, 2])
    """

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @torch.no_grad()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        layer_baselines: Any = None,
        target: TargetType = None,
        additional_forward_args: Any = None,
        layer_mask: Tensor | tuple[Tensor, ...] | None = None,
        attribute_to_layer_input: bool = False,
        perturbations_per_eval: int = 1,
        *,
        call: int | None = None,
        return_output: bool = False,
    ) -> Any:
        """The change of the target's score when features of the layer are put at their baselines.

        Args:
            layer_baselines: the layer's values that stand for absence; None is 0.
            layer_mask: integers that group the layer's features; None ablates each alone.
            attribute_to_layer_input: ablate what the layer receives instead of what it gives.
            perturbations_per_eval: how many groups go through the network at once.
            return_output: also give the model's output, from the pass that nothing is ablated in.

        Returns:
            A tensor of the layer's shape; a tuple where the layer has several tensors, and for a
            tuple of one input; a list of these when ``layer`` is a list. With ``return_output`` a
            pair of this and the model's output.

        Raises:
            ArgumentError: the layer is not reached or gives no tensor.
            TargetError: the output has no such target.
        """
        target = as_target(target)
        per_eval = as_count("perturbations_per_eval", perturbations_per_eval)
        extra = format_additional_forward_args(additional_forward_args)
        whole, found = Chunk(as_tensors(inputs), target, extra), []
        for module in self.layer if isinstance(self.layer, list) else [self.layer]:
            tail = self._tail(module, whole, attribute_to_layer_input, call)
            found.append(
                Ablation(tail).attribute(
                    tail.activations,
                    baselines=layer_baselines,
                    additional_forward_args=(tail.rows,),
                    feature_mask=layer_mask,
                    perturbations_per_eval=per_eval,
                )
            )
        results = [captums_form(tensors, inputs) for tensors in found]
        result = results if self._several_layers else results[0]
        return (result, tail.model_output) if return_output else result


class LayerIntegratedGradients(TailMethod, ConvergenceDelta, CaptumLayerIntegratedGradients):
    r"""Captum's ``LayerIntegratedGradients`` with its values, computing only the layer's tail.

    .. math:: (A - A') \int_0^1 \frac{\partial f(A' + \alpha (A - A'))}{\partial A}\, d\alpha

    A is the layer's activation for the inputs, A' for the baselines.

    Cost: two forward passes, and ``n_steps`` forward and backward passes through what follows the
    layer. Several layers are integrated jointly, as in Captum: none may feed another, and the
    passes are of the whole network.

    Reference: Sundararajan, Taly, Yan, *Axiomatic Attribution for Deep Networks*, 2017,
    arXiv:1703.01365.

    Args:
        multiply_by_inputs: False leaves out the factor A - A'.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerIntegratedGradients
        >>> model, x = resnet18().eval(), torch.randn(2, 3, 64, 64)
        >>> method = LayerIntegratedGradients(model, "layer4")
        >>> method.attribute(x, target=[3, 7], n_steps=8).shape
        torch.Size([2, 512, 2, 2])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | list[Layer],
        device_ids: list[int] | None = None,
        multiply_by_inputs: bool = True,
    ) -> None:
        CaptumLayerIntegratedGradients.__init__(
            self, forward_func, find_layers(forward_func, layer), device_ids, multiply_by_inputs
        )

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @torch.inference_mode(False)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Any,
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
        return_output: bool = False,
    ) -> Any:
        """Gradients at the layer, integrated from the baselines' activation to the inputs'.

        Args:
            internal_batch_size: at most so many points at once; None is all.
            attribute_to_layer_input: at what the layer receives instead of what it gives.
            return_output: also give the model's output for the inputs, from the same pass.

        Returns:
            A tensor of the layer's shape; a tuple where the layer has several tensors, and for a
            tuple of one input; a list of these when ``layer`` is a list; with the delta, (N,), and
            the model's output beside it where asked, in this order.

        Raises:
            ArgumentError: the layer is not reached or gives no tensor.
            TargetError: the output has no such target.
        """
        target = as_target(target)
        tensors, starts = as_tensors(inputs), as_baselines(baselines, as_tensors(inputs))
        sites = layer_sites(self.forward_func, self.layer, attribute_to_layer_input, call)
        n_steps = as_count("n_steps", n_steps)
        method = choose("method", method, QUADRATURES)
        most = as_count_or_none("internal_batch_size", internal_batch_size)
        outputs: list[Any] = []

        def run(chunk: Chunk) -> list[tuple[Tensor, ...]]:
            ends, begins = chunk.inputs[: len(tensors)], chunk.inputs[len(tensors) :]
            start = self._activations(replace(chunk, inputs=begins), sites)
            tail = self._tail(
                self.layer, replace(chunk, inputs=ends), attribute_to_layer_input, call
            )
            outputs[:] = [tail.model_output] if return_output else []
            if len(ends[0]) < len(tensors[0]):
                names = ", ".join(repr(site.name) for site in sites)
                check_by_example(tail.activations, len(ends[0]), f"layer {names}")
            ig = IntegratedGradients(tail, self.multiplies_by_inputs)
            ig.gradient_func = partial(_gradients, grad_kwargs=grad_kwargs)
            rows = len(tail.activations[0])

            def integrate(points: int) -> Any:
                return ig.attribute(
                    tail.activations,
                    baselines=tuple(tensor for each in start for tensor in each),
                    additional_forward_args=(tail.rows,),
                    n_steps=n_steps,
                    method=method,
                    internal_batch_size=None if points == n_steps else points * rows,
                )

            points = n_steps if most is None else min(n_steps, max(1, most // rows))
            parts = iter([tensor.detach() for tensor in fitting(integrate, points)[0]])
            return [tuple(islice(parts, len(each))) for each in start]

        result = layer_results(
            run,
            (*tensors, *starts),
            target,
            additional_forward_args,
            several_layers=self._several_layers,
            form=lambda found, _: captums_form(found, inputs),
            outputs=outputs if return_output else None,
        )
        beside = []
        if return_convergence_delta:
            beside = [
                self.compute_convergence_delta(
                    tuple(tensors_in(result)),
                    copies(starts),
                    copies(tensors),
                    target=target,
                    additional_forward_args=additional_forward_args,
                )
            ]
        return (result, *beside, *outputs) if beside or outputs else result


def _gradients(
    forward_fn: Callable[..., Any],
    inputs: tuple[Tensor, ...],
    target_ind: TargetType = None,
    additional_forward_args: Any = None,
    *,
    grad_kwargs: dict[str, Any] | None,
) -> tuple[Tensor, ...]:
    """As Captum's ``compute_gradients``; zeros for a tensor that the score does not use."""
    with torch.enable_grad(), checkpoints_explained():
        extra = format_additional_forward_args(additional_forward_args)
        scores = select_score(forward_fn(*inputs, *extra), target_ind)
        options = {"materialize_grads": True, **(grad_kwargs or {})}
        return torch.autograd.grad(scores.sum(), inputs, **options)
