"""Images that excite a unit of a network, called as Captum's neuron attributions are."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from captum.attr import GradientAttribution, NeuronAttribution
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer, find_layer, root_module
from captum_cnn_ext._engine.judging.captum_compat import TargetType, log_usage
from captum_cnn_ext._engine.judging.input_sizes import input_shape
from captum_cnn_ext._engine.judging.inputs import as_tensors, check_devices, check_examples
from captum_cnn_ext._engine.judging.targets import NeuronSelector, select_neuron
from captum_cnn_ext._numbers import as_numbers
from captum_cnn_ext.attr.argument_docs import Documented
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.synthesis import Objective, Recipe, Synthesis, Target, maximize
from captum_cnn_ext.synthesis.objectives.algebra import Place
from captum_cnn_ext.synthesis.spatial_axes import KINDS


class ActivationMaximization(Documented, NeuronAttribution, GradientAttribution):
    r"""Inputs that a unit or a class answers most to: :math:`\arg\max_x f(x)`, by gradient ascent.

    In contrast to an attribution it explains the network and not an input: the result is what the
    unit looks for. :func:`captum_cnn_ext.synthesis.maximize` has every objective, parameterisation
    and transform; this is its face for those who work with Captum.

    Cost: for each step one forward pass up to the layer and one backward pass from it, 256 steps
    by default; one forward pass at the end.

    Reference: Erhan, Bengio, Courville, Vincent, *Visualizing Higher-Layer Features of a Deep
    Network*, 2009; the default recipe is :func:`captum_cnn_ext.synthesis.presets.transferable`.

    Args:
        layer: a module of the model, or its dotted name; None is the model's output.
        device_ids: as in Captum; not used.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import ActivationMaximization
        >>> model = resnet18().eval()
        >>> neuron = ActivationMaximization(model, "layer2")
        >>> neuron.attribute(torch.zeros(1, 3, 64, 64), (5, 3, 3), steps=2).shape
        torch.Size([1, 3, 64, 64])
        >>> ActivationMaximization(model).attribute(target=[3, 5], size=64, steps=2).shape
        torch.Size([2, 3, 64, 64])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | None = None,
        device_ids: list[int] | None = None,
    ) -> None:
        found = None if layer is None else find_layer(forward_func, layer)
        NeuronAttribution.__init__(self, forward_func, found, device_ids)
        GradientAttribution.__init__(self, forward_func)

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...] | None = None,
        neuron_selector: NeuronSelector | None = None,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        *,
        target: TargetType = None,
        size: int | Sequence[int] = 224,
        recipe: str | Recipe = "transferable",
        steps: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        call: int | None = None,
        seed: int = 0,
        show_progress: bool = False,
        **options: Any,
    ) -> Any:
        """The images as the network takes them: ``forward_func(result)`` shows what was reached.

        Args:
            inputs: where to begin, (N, C, H, W), as the network takes them; not modified. None
                begins with noise, of ``size``. Signals (N, C, L) and volumes or videos
                (N, C, D, H, W) are taken as well.
            neuron_selector: an index after the batch (int or tuple; slices are summed), or a
                function of the layer's output that returns one value per example.
            target: instead of a neuron, a class in any of Captum's forms.
            size: of the images where ``inputs`` is None: 224, (224, 224), (3, 224, 224) or
                (1, 3, 224, 224).
            recipe, steps: how, see :func:`captum_cnn_ext.synthesis.maximize`.
            mean, std: the normalisation that the network's inputs have; None where they are in
                [0, 1].
            seed: for all random numbers.
            show_progress: draw a progress bar.
            options: further arguments of ``maximize``, such as ``transforms``, or ``grey=True`` for
                images without colour.

        Returns:
            A tensor of the inputs' shape, detached; a tuple when ``inputs`` is a tuple.

        Raises:
            TargetError: the layer or the output has no such neuron or class.
            ArgumentError: a neuron and a class, or several inputs; the layer is not reached.
        """
        found = self.synthesize(
            inputs,
            neuron_selector,
            additional_forward_args,
            attribute_to_neuron_input,
            target=target,
            size=size,
            recipe=recipe,
            steps=steps,
            mean=mean,
            std=std,
            call=call,
            seed=seed,
            show_progress=show_progress,
            **options,
        )
        images = found.images
        if isinstance(inputs, (Tensor, tuple)):
            images = images.to(as_tensors(inputs)[0].dtype)
        middle, width = _columns("mean", mean, images), _columns("std", std, images)
        result = (images - middle) / width
        return (result,) if isinstance(inputs, tuple) else result

    def synthesize(
        self,
        inputs: Tensor | tuple[Tensor, ...] | None = None,
        neuron_selector: NeuronSelector | None = None,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        *,
        target: TargetType = None,
        size: int | Sequence[int] = 224,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        call: int | None = None,
        **options: Any,
    ) -> Synthesis:
        """The same with images in [0, 1], what they reached, and the history.

        Args:
            options: further arguments of :meth:`attribute`.
        """
        start: Any
        if inputs is None:
            start = input_shape("size", size, root_module(self.forward_func))
        else:
            tensors = as_tensors(inputs)
            axes = tensors[0].ndim - 2
            if len(tensors) > 1 or axes not in KINDS or not tensors[0].is_floating_point():
                shapes = ", ".join(f"{tuple(t.shape)} {t.dtype}" for t in tensors)
                raise ArgumentError(
                    "inputs: expected one floating point tensor of "
                    f"{', '.join(KINDS.values())}; got {shapes}; other inputs of the model go into "
                    "additional_forward_args"
                )
            check_examples(tensors)
            check_devices(root_module(self.forward_func), tensors)
            middle, width = _columns("mean", mean, tensors[0]), _columns("std", std, tensors[0])
            start = tensors[0].detach() * width + middle
        return maximize(
            self.forward_func,
            self._objective(neuron_selector, target, attribute_to_neuron_input, call),
            start,
            mean=mean,
            std=std,
            additional_forward_args=additional_forward_args,
            **options,
        )

    def _objective(
        self,
        neuron_selector: NeuronSelector | None,
        target: TargetType,
        at_input: bool,
        call: int | None,
    ) -> Objective:
        if neuron_selector is None:
            return Target(target, self.layer)
        if target is not None:
            raise ArgumentError(
                f"neuron_selector={neuron_selector!r}, target={target!r}: expected one of them"
            )
        selector = neuron_selector
        if self.layer is None:
            return Objective(
                lambda view: select_neuron((view.output,), selector),
                needs_output=True,
                name=f"neuron {selector}",
            )
        place = Place(self.layer, at_input, call)
        return Objective(
            lambda view: select_neuron(view.tensors[place], selector),
            (place,),
            name=f"neuron {selector} of {place}",
        )


def _columns(name: str, values: Sequence[float] | None, like: Tensor) -> Tensor:
    neutral = 0.0 if name == "mean" else 1.0
    numbers = torch.tensor(as_numbers(name, neutral if values is None else values))
    return numbers.to(like).reshape(1, -1, *[1] * (like.ndim - 2))
