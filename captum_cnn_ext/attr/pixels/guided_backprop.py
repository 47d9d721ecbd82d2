"""Captum's deconvolution and guided backpropagation, right for networks of any spelling."""

from abc import ABC
from collections.abc import Callable
from typing import Any

import captum.attr
from captum.attr import GradientAttribution, NeuronAttribution
from torch import Tensor

from captum_cnn_ext._engine.backward.coverage import Coverage
from captum_cnn_ext._engine.backward.rules import SMOOTH_OPTIONS, backpropagate
from captum_cnn_ext._engine.backward.saved_tensors import through_hidden_writes
from captum_cnn_ext._engine.judging.arguments import Layer, find_layer
from captum_cnn_ext._engine.judging.captum_compat import TargetType, log_usage
from captum_cnn_ext._engine.judging.inputs import as_tensors
from captum_cnn_ext._engine.judging.targets import NeuronSelector, select_neuron, select_score
from captum_cnn_ext._engine.running.layer_recording import Recording, record
from captum_cnn_ext._engine.running.layer_sites import Site, layer_sites
from captum_cnn_ext.attr.argument_docs import Documented
from captum_cnn_ext.errors import ArgumentError, choose

Select = Callable[[Recording], Tensor]


def ruled_attribution(
    forward_func: Callable[..., Any],
    inputs: tuple[Tensor, ...],
    additional_forward_args: Any,
    sites: list[Site],
    select: Select,
    rule: str,
    smooth: str,
    device_ids: list[int] | None = None,
) -> tuple[tuple[Tensor, ...], Coverage]:
    """d(selected)/d(inputs) with the rectifiers' backward by ``rule``: one forward, one backward.

    The forward stops at the last site, where there is one.
    """
    choose("smooth", smooth, SMOOTH_OPTIONS)

    def run() -> tuple[tuple[Tensor, ...], Coverage]:
        how: dict[str, Any] = {"need_output": not sites, "device_ids": device_ids}
        with record(
            forward_func, sites, inputs, additional_forward_args, from_inputs=True, **how
        ) as recording:
            scores = select(recording)
            found = backpropagate(recording.inputs, scores, rule, smooth)
            if found is None:
                raise ArgumentError(recording.why_no_gradient(None, scores))
            return found

    return through_hidden_writes(run)


class _RuledBackprop(Documented, GradientAttribution, ABC):
    """What the two classes of a whole model share."""

    _rule: str

    def __init__(self, model: Callable[..., Any]) -> None:
        GradientAttribution.__init__(self, model)
        self.model = model
        self.backward_hooks: list[Any] = []  # as in Captum; nothing is hooked here
        self.use_relu_grad_output = self._rule == "deconvnet"

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: TargetType = None,
        additional_forward_args: Any = None,
        *,
        smooth: str = "gate",
    ) -> Any:
        """The attribution of each input to the target.

        Cost: one forward pass and one backward pass. Warns when an operation may be a rectifier
        that the rule does not know.

        Returns:
            A tensor of the inputs' shape, detached; a tuple when ``inputs`` is a tuple. Inputs
            that the target does not depend on get zeros.

        Raises:
            TargetError: the output has no such target; an ``IndexError`` and ``AssertionError``.
            ArgumentError: nothing depends on the inputs, or a compiled part hides its operations.
        """
        found, coverage = self._run(inputs, target, additional_forward_args, smooth)
        coverage.warn_of_unknown(type(self).__name__)
        return found if isinstance(inputs, tuple) else found[0]

    def coverage(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: TargetType = None,
        additional_forward_args: Any = None,
    ) -> Coverage:
        """What the rule meets in this model: rectifiers, switches, gates, and what is unknown."""
        return self._run(inputs, target, additional_forward_args, "gate")[1]

    def _run(
        self, inputs: Any, target: TargetType, additional_forward_args: Any, smooth: str
    ) -> tuple[tuple[Tensor, ...], Coverage]:
        return ruled_attribution(
            self.forward_func,
            as_tensors(inputs),
            additional_forward_args,
            [],
            lambda recording: select_score(recording.output, target),
            self._rule,
            smooth,
        )


class Deconvolution(_RuledBackprop, captum.attr.Deconvolution):
    r"""The gradient of a target with each rectifier's backward replaced by relu(incoming).

    .. math:: R_x = \mathrm{relu}(R_{f(x)})

    A drop-in for ``captum.attr.Deconvolution``: equal to it where every rectifier is an
    ``nn.ReLU`` module whose input goes nowhere else, and right also for functional and in-place
    calls, ReLU6, shared inputs, parallel branches and compiled wrappers. The model need not be a
    module, and nothing is hooked.

    From a class score the picture hardly depends on the class, see :func:`class_blindness`.
    To see what a feature map responds to, use :class:`DeconvNet`.

    Cost: one forward pass and one backward pass.

    Reference: Zeiler, Fergus, *Visualizing and Understanding Convolutional Networks*, 2014,
    arXiv:1311.2901; as a backward rule: Springenberg, Dosovitskiy, Brox, Riedmiller, *Striving for
    Simplicity: The All Convolutional Net*, 2015, arXiv:1412.6806.

    Example::

        >>> import torch
        >>> from torchvision.models import googlenet
        >>> from captum_cnn_ext.attr import Deconvolution
        >>> model = googlenet(init_weights=False, aux_logits=False).eval()  # functional ReLUs
        >>> deconv = Deconvolution(model)
        >>> x = torch.randn(2, 3, 64, 64)
        >>> deconv.attribute(x, target=3).shape
        torch.Size([2, 3, 64, 64])
        >>> deconv.coverage(x, target=3).rectifiers
        {'Relu': 57}
    """

    _rule = "deconvnet"


class GuidedBackprop(_RuledBackprop, captum.attr.GuidedBackprop):
    r"""The gradient of a target, kept at each rectifier where it is positive and so is the input.

    .. math:: R_x = 1[x > 0]\, \mathrm{relu}(R_{f(x)})

    A drop-in for ``captum.attr.GuidedBackprop``, right for rectifiers of any spelling (see
    :class:`Deconvolution`). ReLU6 passes where 0 < x < 6. From a class score the picture hardly
    depends on the class, see :func:`class_blindness`.

    Cost: one forward pass and one backward pass.

    Reference: Springenberg, Dosovitskiy, Brox, Riedmiller, *Striving for Simplicity: The All
    Convolutional Net*, 2015, arXiv:1412.6806.

    Example::

        >>> import torch
        >>> from torchvision.models import mobilenet_v2
        >>> from captum_cnn_ext.attr import GuidedBackprop
        >>> guided = GuidedBackprop(mobilenet_v2().eval())
        >>> guided.attribute(torch.randn(2, 3, 64, 64), target=[3, 5]).shape
        torch.Size([2, 3, 64, 64])
    """

    _rule = "guided"


class _NeuronRuledBackprop(Documented, NeuronAttribution, GradientAttribution, ABC):
    """What the two classes of one neuron share.

    Args:
        layer: the neuron's layer, a module of the model or its dotted name.
    """

    _rule: str

    def __init__(
        self, model: Callable[..., Any], layer: Layer, device_ids: list[int] | None = None
    ) -> None:
        NeuronAttribution.__init__(self, model, find_layer(model, layer), device_ids)
        GradientAttribution.__init__(self, model)

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        neuron_selector: NeuronSelector,
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        *,
        smooth: str = "gate",
        call: int | None = None,
    ) -> Any:
        """The attribution of each input to one neuron of each example.

        Cost: one forward pass up to the layer and one backward pass from it.

        Args:
            neuron_selector: an index after the batch (int or tuple; slices are summed), or a
                function of the layer's output that returns one value per example (a vector of
                another length is summed, as in Captum).

        Returns:
            A tensor of the inputs' shape, detached; a tuple when ``inputs`` is a tuple.

        Raises:
            TargetError: the layer has no such neuron; an ``IndexError`` and ``AssertionError``.
            ArgumentError: the layer is not reached or does not depend on the inputs.
        """
        found, coverage = ruled_attribution(
            self.forward_func,
            as_tensors(inputs),
            additional_forward_args,
            layer_sites(self.forward_func, self.layer, attribute_to_neuron_input, call),
            lambda recording: select_neuron(recording.outputs(0), neuron_selector, any_number=True),
            self._rule,
            smooth,
            self.device_ids,
        )
        coverage.warn_of_unknown(type(self).__name__)
        return found if isinstance(inputs, tuple) else found[0]


class NeuronDeconvolution(_NeuronRuledBackprop, captum.attr.NeuronDeconvolution):
    r"""Deconvolution from one neuron of a layer, with 1 as its value.

    .. math:: R_x = \mathrm{relu}(R_{f(x)})

    A drop-in for ``captum.attr.NeuronDeconvolution``; the forward pass stops at the layer. For
    many feature maps at once, and the paper's seeds, use :class:`DeconvNet`.

    Cost: one forward pass up to the layer and one backward pass from it.

    Reference: Zeiler, Fergus, *Visualizing and Understanding Convolutional Networks*, 2014,
    arXiv:1311.2901.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import NeuronDeconvolution
        >>> neuron = NeuronDeconvolution(resnet18().eval(), "layer2")
        >>> neuron.attribute(torch.randn(2, 3, 64, 64), (5, 3, 3)).shape
        torch.Size([2, 3, 64, 64])
    """

    _rule = "deconvnet"

    def __init__(
        self, model: Callable[..., Any], layer: Layer, device_ids: list[int] | None = None
    ) -> None:
        _NeuronRuledBackprop.__init__(self, model, layer, device_ids)
        self.deconv = Deconvolution(model)


class NeuronGuidedBackprop(_NeuronRuledBackprop, captum.attr.NeuronGuidedBackprop):
    r"""Guided backpropagation from one neuron of a layer, with 1 as its value.

    .. math:: R_x = 1[x > 0]\, \mathrm{relu}(R_{f(x)})

    A drop-in for ``captum.attr.NeuronGuidedBackprop``; the forward pass stops at the layer.

    Cost: one forward pass up to the layer and one backward pass from it.

    Reference: Springenberg, Dosovitskiy, Brox, Riedmiller, *Striving for Simplicity: The All
    Convolutional Net*, 2015, arXiv:1412.6806.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import NeuronGuidedBackprop
        >>> neuron = NeuronGuidedBackprop(resnet18().eval(), "layer2")
        >>> neuron.attribute(torch.randn(2, 3, 64, 64), lambda t: t[:, 5].amax((1, 2))).shape
        torch.Size([2, 3, 64, 64])
    """

    _rule = "guided"

    def __init__(
        self, model: Callable[..., Any], layer: Layer, device_ids: list[int] | None = None
    ) -> None:
        _NeuronRuledBackprop.__init__(self, model, layer, device_ids)
        self.guided_backprop = GuidedBackprop(model)
