"""Activations of layers, from one forward pass that stops at the last of them."""

from typing import Any

from captum.attr import LayerActivation
from torch import Tensor

from captum_cnn_ext._engine.judging.captum_compat import log_usage
from captum_cnn_ext._engine.running.batching import Chunk, captums_form, layer_results
from captum_cnn_ext._engine.running.layer_sites import layer_sites
from captum_cnn_ext.attr.layers.base import LayerMap


class LayerFeatureMaps(LayerMap, LayerActivation):
    r"""The activations of one or several layers: Captum's ``LayerActivation``, without the rest.

    .. math:: F(x) = A(x)

    Cost: one forward pass up to the last layer asked for, however many layers there are. Where a
    layer may be called again later (``forward_func`` is a plain function, or its control flow
    depends on values) the whole forward is run, unless ``call=`` says which call is meant.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerFeatureMaps
        >>> model = resnet18().eval()
        >>> maps = LayerFeatureMaps(model, ["conv1", "layer1"])
        >>> [a.shape for a in maps.attribute(torch.randn(2, 3, 64, 64))]
        [torch.Size([2, 64, 32, 32]), torch.Size([2, 64, 16, 16])]
    """

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
        *,
        call: int | None = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
        return_output: bool = False,
    ) -> Any:
        """The layers' outputs (or inputs), detached, in the layers' dtype and on their device.

        Args:
            attribute_to_layer_input: give the layers' inputs instead of their outputs.
            return_output: also give the model's output, from a forward pass that does not stop.

        Returns:
            The tensor that the layer gives; a tuple when it gives several tensors, and for a tuple
            of one input; a list with one entry for each layer when ``layer`` is a list. With
            ``return_output`` a pair of this and the model's output.

        Raises:
            ArgumentError: a layer is not reached or gives no tensor; a ``ValueError`` and an
                ``AssertionError``.
        """
        sites = layer_sites(self.forward_func, self.layer, attribute_to_layer_input, call)
        outputs: list[Any] = []

        def run(chunk: Chunk) -> list[tuple[Tensor, ...]]:
            with self._recorded(chunk, sites, need_output=return_output) as recording:
                outputs[:] = [recording.output]
                return [recording.activations(i) for i in range(len(sites))]

        found = layer_results(
            run,
            inputs,
            None,
            additional_forward_args,
            several_layers=self._several_layers,
            form=captums_form,
            internal_batch_size=internal_batch_size,
            show_progress=show_progress,
            description=self.get_name(),
            outputs=outputs if return_output else None,
        )
        return (found, outputs[0]) if return_output else found
