"""The abstract base of class activation maps whose weights are scores of changed passes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from captum.attr import PerturbationAttribution
from torch import Tensor

from captum_cnn_ext._engine.judging.captum_compat import TargetType, log_usage
from captum_cnn_ext._engine.judging.targets import as_target
from captum_cnn_ext._engine.running.batching import Chunk, in_chunks, layer_results
from captum_cnn_ext._engine.running.layer_sites import Site, layer_sites
from captum_cnn_ext.attr.layers.base import LayerMap
from captum_cnn_ext.attr.layers.reshape_transform import ReshapeTransform


class PerturbationCam(LayerMap, PerturbationAttribution, ABC):
    """Abstract: a class activation map from the scores of many changed passes.

    Args:
        forward_func: the model, or any function of the inputs that runs it.
        layer: a module, its dotted name, or a list of these.
        device_ids: the replicas' devices, with ``DataParallel``.
    """

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @torch.no_grad()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: TargetType = None,
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
        relu_attributions: bool = False,
        attr_dim_summation: bool = True,
        grad_kwargs: dict[str, Any] | None = None,
        *,
        call: int | None = None,
        reshape_transform: ReshapeTransform | None = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Any:
        """The map of each input, at the layer's resolution, signed and not normalised.

        Args:
            inputs: one tensor (N, ...) or a tuple of them.
            target: what is explained, in any of Captum's forms (int, tuple, tensor, list).
            additional_forward_args: further arguments of ``forward_func``.
            attribute_to_layer_input: explain the layer's input instead of its output.
            relu_attributions: keep the positive part only, as most papers draw it.
            attr_dim_summation: sum over channels; False keeps each channel's part.
            grad_kwargs: there for Captum's order of arguments; no gradient is taken.
            call: which call of a layer that runs several times; None is the last, as in Captum.
            reshape_transform: from the layer's tensor to ``(N, C, *positions)``, for tokens and
                channels-last layers; it may move and leave out elements, not compute with them.
            internal_batch_size: at most so many rows in the network at once; None is what fits
                well in the device's memory.
            show_progress: draw a progress bar over the changed passes.

        Returns:
            (N, 1, H, W), or (N, C, H, W) without summation, detached, in the layer's dtype and on
            its device; a tuple of these when ``inputs`` is a tuple or the layer gives several
            tensors; a list with one entry for each layer when ``layer`` is a list.

        Raises:
            ArgumentError: the layer is not reached, or gives tokens.
            TargetError: the output has no such target.
        """
        sites = layer_sites(self.forward_func, self.layer, attribute_to_layer_input, call)
        chunks = partial(
            in_chunks,
            show_progress=show_progress,
            description=self.get_name(),
        )

        def maps(chunk: Chunk) -> list[tuple[Tensor, ...]]:
            found = [
                tuple(
                    self._map(activation, evidence, relu_attributions, attr_dim_summation)
                    for activation, evidence in self._scored(
                        site, chunk, reshape_transform, internal_batch_size, chunks
                    )
                )
                for site in sites
            ]
            return self._joined(found, sites)

        return layer_results(
            maps,
            inputs,
            as_target(target),
            additional_forward_args,
            several_layers=self._several_layers,
            internal_batch_size=internal_batch_size,
        )

    @abstractmethod
    def _scored(
        self,
        site: Site,
        chunk: Chunk,
        reshape: ReshapeTransform | None,
        size: int | None,
        chunks: Callable[..., list[Tensor]],
    ) -> list[tuple[Tensor, Tensor]]:
        """For each tensor of the layer: ``(N, C, *positions)`` and the scores for its weights.

        ``chunks(run, length, size)`` runs slices of the changed passes.
        """

    def _joined(
        self, found: list[tuple[Tensor, ...]], sites: Sequence[Site]
    ) -> list[tuple[Tensor, ...]]:
        """The layers' maps as they are returned."""
        return found

    def _map(self, maps: Tensor, weights: Tensor, relu: bool, summation: bool) -> Tensor:
        """relu?(sum_k weight_k A_k)"""
        weighted = weights.reshape(*weights.shape[:2], *[1] * (maps.ndim - 2)) * maps
        total = weighted.sum(1, keepdim=maps.ndim > 1) if summation else weighted
        return (total.relu() if relu else total).to(maps.dtype)


def repeated(target: TargetType, n: int, length: int, count: int) -> TargetType:
    """The target of example n, for ``count`` rows of it."""
    if isinstance(target, Tensor) and target.numel() > 1 and len(target) == length:
        return target[n].expand(count)
    if isinstance(target, list) and len(target) == length:
        return [target[n]] * count
    return target


def wide(scores: Tensor) -> Tensor:
    """Differences of half-precision scores would be rounding error."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
