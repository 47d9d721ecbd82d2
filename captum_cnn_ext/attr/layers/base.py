"""The abstract base of every class that reads layers and gives one result for each of them."""

from abc import ABC
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, final

from captum.attr import GradientAttribution, LayerAttribution
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer, find_layers
from captum_cnn_ext._engine.running.batching import Chunk
from captum_cnn_ext._engine.running.layer_recording import Recording, record
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext.attr.argument_docs import Documented


class LayerMap(Documented, LayerAttribution, ABC):
    """Abstract: one layer, or a list of layers, of a model."""

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
    ) -> None:
        super().__init__(forward_func, find_layers(forward_func, layer), device_ids)
        if isinstance(self, GradientAttribution):
            GradientAttribution.__init__(self, forward_func)

    @property
    def _several_layers(self) -> bool:
        """Whether the result is a list with one entry for each layer."""
        return isinstance(self.layer, list)

    @final
    def _recorded(
        self, chunk: Chunk, sites: Sequence[Site], **options: Any
    ) -> AbstractContextManager[Recording]:
        """One forward pass of the chunk; ``options`` are those of ``record``."""
        given = {"device_ids": self.device_ids, **options}
        return record(self.forward_func, sites, chunk.inputs, chunk.extra, **given)

    @final
    def _activations(self, chunk: Chunk, sites: Sequence[Site]) -> list[tuple[Tensor, ...]]:
        """The tensors of every site, detached, from a forward pass that stops at the last."""
        with self._recorded(chunk, sites) as recording:
            return [recording.activations(i) for i in range(len(sites))]
