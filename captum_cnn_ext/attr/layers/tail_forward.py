"""The rest of the network as a function of one layer's activation."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.backward.autograd_graph import connected
from captum_cnn_ext._engine.backward.lost_gradient import gradient_end, values_stay, why_no_gradient
from captum_cnn_ext._engine.backward.saved_tensors import differentiable
from captum_cnn_ext._engine.judging.arguments import Layer, find_layers, observed_module
from captum_cnn_ext._engine.judging.captum_compat import format_additional_forward_args
from captum_cnn_ext._engine.judging.inputs import as_tensors
from captum_cnn_ext._engine.judging.output_targets import fixed_target
from captum_cnn_ext._engine.judging.outputs import OutputError, output_tensor
from captum_cnn_ext._engine.judging.targets import as_target, select_score
from captum_cnn_ext._engine.nested_tensors import tensors_of_output, with_tensors
from captum_cnn_ext._engine.replay.joint_replay import JointReplay, RecordedLayers
from captum_cnn_ext._engine.replay.replay import Replay
from captum_cnn_ext._engine.running.layer_sites import layer_sites
from captum_cnn_ext.attr.argument_docs import Documented
from captum_cnn_ext.errors import ArgumentError


class TailForward(Documented):
    r"""What follows a layer, as a ``forward_func`` of the layer's activation.

    .. math:: \mathrm{tail}(A(x), n) = f(x_n), \quad f = \mathrm{tail} \circ A

    Every Captum input method (IntegratedGradients, GradientShap, FeatureAblation,
    ShapleyValueSampling, Occlusion) becomes a method for the layer, with the same mathematics:
    the activation is its input, and only what follows the layer is computed. Pass ``tail.rows`` as
    additional argument: Captum repeats it together with the activation, in whatever order, so that
    each row finds the rest of its own example (skip connections, other branches). Gradients flow.

    Cost: one forward pass to construct; each call what follows the layer costs. The whole forward
    runs where the model's calls cannot be followed (``forward_func`` is a plain function, or
    compiled in place), and, with a warning, where they come in another order than recorded.

    Args:
        layer: a module of the model or its dotted name; or a list of these, none of which feeds
            another: their tensors are replaced together, one layer after another, and the whole
            forward runs.
        inputs: one tensor (N, ...) or a tuple of them: the examples to explain.
        attribute_to_layer_input: replace what the layer receives instead of what it gives.
        device_ids: the replicas' devices, where ``forward_func`` is a function around a
            ``DataParallel`` model.
        target: as in every ``attribute``. With one, calls give its score of each row, and Captum's
            methods get no target: so they take those of `captum_cnn_ext.targets` too.

    Raises:
        ArgumentError: the layer is not in the model, is not reached, or gives no tensor.

    Example::

        >>> import torch
        >>> from captum.attr import IntegratedGradients
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import TailForward
        >>> model, x = resnet18().eval(), torch.randn(2, 3, 64, 64)
        >>> tail = TailForward(model, "layer4", x)
        >>> torch.equal(tail(tail.activation, tail.rows), model(x))
        True
        >>> method = IntegratedGradients(tail)
        >>> method.attribute(tail.activation, target=[3, 7], additional_forward_args=(tail.rows,),
        ...                  n_steps=8).shape
        torch.Size([2, 512, 2, 2])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        inputs: Tensor | tuple[Tensor, ...],
        additional_forward_args: Any = None,
        *,
        attribute_to_layer_input: bool = False,
        call: int | None = None,
        device_ids: list[int] | None = None,
        target: Any = None,
    ) -> None:
        modules = find_layers(forward_func, layer)
        sites = layer_sites(forward_func, modules, attribute_to_layer_input, call)
        self._root = observed_module(forward_func)
        self._name = ", ".join(site.name for site in sites)
        tensors = as_tensors(inputs)
        extra = format_additional_forward_args(additional_forward_args)
        self._replay: RecordedLayers = (
            Replay(forward_func, sites[0], tensors, extra, device_ids)
            if len(sites) == 1
            else JointReplay(forward_func, sites, tensors, extra, device_ids)
        )
        self._target = fixed_target(as_target(target), self._replay.output)

    @property
    def activation(self) -> Any:
        """The layer's tensor for ``inputs``, detached; a tuple where there are several."""
        return self.activations if len(self.activations) > 1 else self.activations[0]

    @property
    def activations(self) -> tuple[Tensor, ...]:
        """The layer's tensors for ``inputs``, detached."""
        return self._replay.activation

    @property
    def rows(self) -> Tensor:
        """The index of each example, (N,): the additional argument of a Captum method."""
        return torch.arange(self._replay.length)  # on the CPU, where it is read

    @property
    def output(self) -> Any:
        """The model's output for ``inputs``, or the tensor of scores where that is certain."""
        return self._read(self._replay.output)

    @property
    def model_output(self) -> Any:
        """All that the model gave for ``inputs``, detached, in whatever form it has."""
        return with_tensors(self._replay.output, lambda found: [t.detach() for t in found])

    def __call__(self, *activation_and_rows: Tensor) -> Any:
        """The model's output for rows of other activations.

        Of a collection it is the tensor of scores, where it is certain which that is.

        Args:
            activation_and_rows: the layer's tensor (R, ...), or its tensors, and last ``rows``
                (R,), the recorded example of each row. Without ``rows`` the activation is one for
                each recorded example.
        """
        count = len(self._replay.activation)
        if len(activation_and_rows) not in (count, count + 1):
            raise ArgumentError(
                f"TailForward: expected {count} activation tensor(s) and rows, got "
                f"{len(activation_and_rows)} arguments; with a Captum method pass "
                "additional_forward_args=(tail.rows,)"
            )
        rows = activation_and_rows[count] if len(activation_and_rows) > count else None
        given = activation_and_rows[:count]
        with values_stay():
            output = differentiable(lambda: self._read(self._replay(given, rows), rows))
        starts = [t for t in given if t.requires_grad]
        if torch.is_grad_enabled() and starts:
            if not any(connected(starts, end) for end in tensors_of_output(output)):
                end = gradient_end(self._root, starts, lambda: self._replay(given, rows))
                raise ArgumentError(why_no_gradient(self._name, starts, end))
        return output

    def _read(self, output: Any, rows: Tensor | None = None) -> Any:
        """The scores of the target; without one the tensor of scores, as far as it is certain."""
        if self._target is None:
            return _readable(output)
        target, examples = self._target, self._replay.length
        if rows is not None and isinstance(target, Tensor) and target.numel() > 1:
            target = target.tolist()
        if rows is not None and isinstance(target, list) and len(target) == examples:
            target = [target[n] for n in rows.tolist()]
        return select_score(output, target)


def _readable(output: Any) -> Any:
    """The tensor of scores, which Captum's methods read; the whole output where it is not sure."""
    try:
        return output_tensor(output)
    except OutputError:
        return output
