"""The one driver of maps of a layer.

A subclass of :class:`ActivationMap` fills in two methods: ``_evidence`` runs the model and says
what it found at each layer, ``_parts`` makes each channel's part of the map from that. Everything
else is done here: judging arguments, chunks of the batch, layouts of layers, precision, sums over
channels, the form of the result.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar, final

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.captum_compat import TargetType, log_usage
from captum_cnn_ext._engine.judging.inputs import as_tensors, check_examples
from captum_cnn_ext._engine.judging.targets import as_target
from captum_cnn_ext._engine.nested_tensors import with_tensors
from captum_cnn_ext._engine.running.batching import (
    Chunk,
    in_chunks,
    layer_results,
    tuples_for_tuples,
)
from captum_cnn_ext._engine.running.layer_sites import Site, layer_sites
from captum_cnn_ext._engine.wide_numbers import wide_dtype
from captum_cnn_ext.attr.layers.base import LayerMap
from captum_cnn_ext.attr.layers.reshape_transform import ReshapeTransform, channel_transform, flat
from captum_cnn_ext.errors import ArgumentError

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What one call of ``attribute`` asks for, besides inputs and targets."""

    sites: list[Site]
    description: str
    relu: bool = False
    summation: bool = True
    grad_kwargs: dict[str, Any] | None = None
    reshape_transform: ReshapeTransform | None = None
    internal_batch_size: int | None = None
    show_progress: bool = False
    create_graph: bool = False
    outputs: list[Any] | None = None

    def keep(self, output: Any) -> None:
        """Note the model's output of a chunk, if it is asked for."""
        if self.outputs is not None:
            graph = self.create_graph
            self.outputs[:] = [
                with_tensors(output, lambda found: [t if graph else t.detach() for t in found])
            ]

    def with_output(self, maps: Any) -> Any:
        """The maps, and the model's output beside them where it is asked for."""
        return maps if self.outputs is None else (maps, self.outputs[0])

    def transform(self, tensor: Tensor, chunk: Chunk, site: Site) -> ReshapeTransform:
        """What brings tensors with this one's layout to ``(N, C, *positions)``."""
        return channel_transform(tensor, chunk.inputs, site.name, self.reshape_transform)

    def in_rows(self, run: Callable[[slice], T], length: int, rows: int) -> list[T]:
        """``run`` over slices of ``length`` further passes, at most so many rows at once."""
        progress, description = self.show_progress, self.description
        return in_chunks(run, length, rows, show_progress=progress, description=description)


@dataclass(frozen=True)
class Evidence:
    """What a run of the model left for the map of one tensor of a layer.

    Args:
        site: the layer, and where there.
        activation: the tensor.
        others: what its map is made from besides: gradients, scores. Those of the activation's
            shape have its layout.
        shaped: whether it has been brought to ``(N, C, *positions)``.
    """

    site: Site
    activation: Tensor
    others: tuple[Tensor, ...] = ()
    shaped: bool = False

    def channels_second(self, chunk: Chunk, request: Request) -> list[Tensor]:
        """The tensors with channels second; what is not shaped as the activation stays."""
        tensors, shape = [self.activation, *self.others], self.activation.shape
        if self.shaped:
            return tensors
        transform = request.transform(self.activation, chunk, self.site)
        return [transform(t) if t.shape == shape else t for t in tensors]


class ActivationMap(LayerMap, ABC):
    """Abstract: maps of layers, made from activations and what else a run of the model gives."""

    _counts_rows = False  # whether further passes are counted by a progress bar, not the examples
    _joins_chunks = False  # whether the map of an example depends on the examples beside it
    _sums_channels = True  # whether the parts are channels', which attr_dim_summation is about
    _differentiable = False  # whether create_graph may be asked for
    _why_one_map = ""  # why channels cannot be had one by one, where that is so

    @final
    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
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
        return_output: bool = False,
        create_graph: bool = False,
    ) -> Any:
        """The map of each input, at the layer's resolution, signed and not normalised.

        The order of arguments is that of Captum's ``LayerGradCam``. What a call costs in forward
        and backward passes is in the class's own text.

        Args:
            relu_attributions: keep the positive part only, as most papers draw it.
            attr_dim_summation: sum over channels; False keeps each channel's part.
            grad_kwargs: passed to ``torch.autograd.grad``, by methods that take gradients.
            reshape_transform: from the layer's tensor to ``(N, C, *positions)``, for tokens and
                channels-last layers. Where changed elements are put back into the layer
                (Ablation-CAM, Recipro-CAM) it may move and leave out elements, not compute.
            internal_batch_size: at most so many examples at once, and so many rows of further
                passes; None is all examples, and as many rows as fit well in the device's memory.
            show_progress: draw a progress bar over the examples, or over further passes where a
                method makes many for each example.
            return_output: also give the model's output, detached, from the same forward pass.
            create_graph: keep the map in the graph of the inputs and of the model's parameters,
                for losses on maps; for methods that take one gradient of the score.

        Returns:
            (N, 1, H, W), or (N, C, H, W) without summation, detached, in the layer's dtype and on
            its device; a tuple of these when ``inputs`` is a tuple or the layer gives several
            tensors; a list with one entry for each layer when ``layer`` is a list. With
            ``return_output`` a pair of this and the model's output.

        Raises:
            ArgumentError: the layer is not reached, not on the path to the target, or gives
                tokens; a ``ValueError`` and an ``AssertionError``.
            TargetError: the output has no such target; an ``IndexError`` besides.
        """
        request = self._request(
            attribute_to_layer_input,
            call,
            relu=relu_attributions,
            summation=attr_dim_summation,
            grad_kwargs=grad_kwargs,
            reshape_transform=reshape_transform,
            internal_batch_size=internal_batch_size,
            show_progress=show_progress,
            create_graph=create_graph,
            outputs=[] if return_output else None,
        )
        given = inputs, as_target(target), additional_forward_args
        if self._joins_chunks:
            found = self._of_all(lambda tensor: self._map((tensor,), request), request, *given)
            return request.with_output(found)

        def maps(chunk: Chunk) -> list[tuple[Tensor, ...]]:
            return self._maps(self._evidence(chunk, request), chunk, request)

        return request.with_output(self._results(maps, request, *given))

    @abstractmethod
    def _evidence(self, chunk: Chunk, request: Request) -> list[Evidence]:
        """Run the model: what it leaves of each tensor of each site."""

    @abstractmethod
    def _parts(self, activations: Tensor, *others: Any, **_: Any) -> Tensor:
        """Each channel's part of the map: (n, k, p) and the evidence's others -> (n, k, p)."""

    @final
    def _request(self, at_input: bool, call: int | None, **options: Any) -> Request:
        sites = layer_sites(self.forward_func, self.layer, at_input, call)
        request = Request(sites, self.get_name(), **options)
        if request.create_graph and not self._differentiable:
            raise ArgumentError(
                f"create_graph=True: the map of {type(self).__name__} is not differentiated; "
                "methods that take one gradient of the score are, such as LayerHiResCam"
            )
        if self._why_one_map and not request.summation:
            why = self._why_one_map.format(type(self).__name__)
            raise ArgumentError(f"attr_dim_summation=False: {why}")
        return request

    @final
    def _results(
        self,
        run: Callable[[Chunk], list[tuple[Tensor, ...]]],
        request: Request,
        *given: Any,
        form: Callable[[tuple[Tensor, ...], Any], Any] = tuples_for_tuples,
    ) -> Any:
        """``run`` over chunks of inputs, targets and more, joined, in the form users expect."""
        with torch.enable_grad() if request.create_graph else nullcontext():
            return layer_results(
                run,
                *given,
                several_layers=self._several_layers,
                form=form,
                outputs=request.outputs,
                internal_batch_size=request.internal_batch_size,
                show_progress=request.show_progress and not self._counts_rows,
                description=request.description,
            )

    @final
    def _of_all(self, make: Callable[[Tensor], Any], request: Request, *given: Any) -> Any:
        """What ``make`` makes of each tensor of the layers, all chunks of the batch joined."""
        check_examples(as_tensors(given[0]))

        def activations(chunk: Chunk) -> list[tuple[Tensor, ...]]:
            evidence = self._evidence(chunk, request)
            shaped = [each.channels_second(chunk, request)[0] for each in evidence]
            return _by_site(evidence, shaped, request)

        def form(tensors: tuple[Tensor, ...], inputs: Any) -> Any:
            return tuples_for_tuples(tuple(map(make, tensors)), inputs)

        return self._results(activations, request, *given, form=form)

    @final
    def _bare(self, chunk: Chunk, request: Request) -> list[Evidence]:
        """The activations alone; the forward pass stops at the last layer, if it can."""
        need_output = request.outputs is not None
        with self._recorded(chunk, request.sites, need_output=need_output) as recording:
            request.keep(recording.output)
            return [
                Evidence(site, tensor)
                for i, site in enumerate(request.sites)
                for tensor in recording.activations(i)
            ]

    @final
    def _maps(
        self, evidence: list[Evidence], chunk: Chunk, request: Request
    ) -> list[tuple[Tensor, ...]]:
        """relu?(sum_k part_k) of every tensor at every site, positions as its activation has."""
        maps = [self._map(each.channels_second(chunk, request), request) for each in evidence]
        return self._of_layers(_by_site(evidence, maps, request), request.sites)

    @final
    def _map(self, tensors: Sequence[Tensor], request: Request) -> Tensor:
        # half precision would underflow in products of gradients
        dtype = wide_dtype(tensors[0].dtype)
        maps = self._parts(*(flat(tensor).to(dtype) for tensor in tensors))
        maps = maps.sum(1, keepdim=True) if request.summation and self._sums_channels else maps
        maps = maps.relu() if request.relu else maps
        maps = maps.reshape(*maps.shape[:2], *tensors[0].shape[2:])
        return maps.to(tensors[0].dtype)

    def _of_layers(
        self, maps: list[tuple[Tensor, ...]], sites: Sequence[Site]
    ) -> list[tuple[Tensor, ...]]:
        """The layers' maps as they are returned: one by one, but for ``JoinedLayers``."""
        return maps


class JoinedLayers(ActivationMap, ABC):
    """Abstract: one map from the maps of several layers, whatever their number."""

    _why_one_map = "channels of different layers do not correspond, so {} has one map only"

    @property
    def _several_layers(self) -> bool:
        return False

    @abstractmethod
    def _joined(self, maps: list[Tensor]) -> Tensor:
        """One map (N, 1, *positions) from that of each layer."""

    @final
    def _of_layers(
        self, maps: list[tuple[Tensor, ...]], sites: Sequence[Site]
    ) -> list[tuple[Tensor, ...]]:
        for site, found in zip(sites, maps, strict=True):
            if len(found) != 1 or found[0].ndim < 3:
                raise ArgumentError(
                    f"layer {site.name!r}: {type(self).__name__} joins layers with one tensor (N, "
                    f"C, *positions) each; this gives {[tuple(m.shape) for m in found]}"
                )
        return [(self._joined([found[0] for found in maps]),)]


def _by_site(
    evidence: list[Evidence], maps: list[Tensor], request: Request
) -> list[tuple[Tensor, ...]]:
    """What was made of the evidence, as a tuple for each site."""
    pairs = list(zip(evidence, maps, strict=True))
    return [tuple(made for e, made in pairs if e.site is site) for site in request.sites]
