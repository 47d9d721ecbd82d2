"""The abstract base of every class that reads layers and gives one result for each of them."""

from abc import ABC
from collections.abc import Callable, Sequence
from typing import Any

from captum.attr import LayerAttribution

from captum_cnn_ext._engine.judging.arguments import Layer, find_layers


class LayerMap(LayerAttribution, ABC):
    """Abstract: one layer, or a list of layers, of a model.

    Args:
        forward_func: the model, or any function of the inputs that runs it.
        layer: a module of the model, its dotted name, or a list of these.
        device_ids: the replicas' devices, where ``forward_func`` runs a ``DataParallel`` model.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
    ) -> None:
        LayerAttribution.__init__(self, forward_func, find_layers(forward_func, layer), device_ids)

    @property
    def _several_layers(self) -> bool:
        """Whether the result is a list with one entry for each layer."""
        return isinstance(self.layer, list)
