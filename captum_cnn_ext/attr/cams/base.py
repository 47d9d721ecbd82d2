"""The abstract bases of class activation maps: activation x weight, summed over channels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from captum.attr import GradientAttribution
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer
from captum_cnn_ext._engine.judging.captum_compat import TargetType, log_usage
from captum_cnn_ext._engine.judging.targets import as_target, select_score, target_columns
from captum_cnn_ext._engine.running.batching import Chunk, layer_results
from captum_cnn_ext._engine.running.layer_recording import Recording, record
from captum_cnn_ext._engine.running.layer_sites import Site, layer_sites
from captum_cnn_ext.attr.layers.base import LayerMap
from captum_cnn_ext.attr.layers.reshape_transform import ReshapeTransform, channel_transform, flat

Evidence = list[list[tuple[Tensor, ...]]]
"""For each site its tensors, each as (activation, whatever the method makes its map from, ...)."""
T = TypeVar("T")


class ActivationMap(LayerMap, ABC):
    """What every family of maps from a layer's activations shares: layers in, maps out.

    Args:
        forward_func: the model, or any function of the inputs that runs it.
        layer: a module of the model, its dotted name, or a list of these.
        device_ids: the replicas' devices, where ``forward_func`` runs a ``DataParallel`` model.
    """

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
    ) -> Any:
        """The map of each input, at the layer's resolution, signed and not normalised.

        The order of arguments is that of Captum's ``LayerGradCam``. What a call costs in forward
        and backward passes is in the class's own text.

        Args:
            inputs: one tensor (N, ...) or a tuple of them.
            target: what is explained, in any of Captum's forms (int, tuple, tensor, list).
            additional_forward_args: further arguments of ``forward_func``.
            attribute_to_layer_input: explain the layer's input instead of its output.
            relu_attributions: keep the positive part only, as most papers draw it.
            attr_dim_summation: sum over channels; False keeps each channel's part.
            grad_kwargs: passed to ``torch.autograd.grad``.
            call: which call of a layer that runs several times; None is the last, as in Captum.
            reshape_transform: from the layer's tensor to ``(N, C, *positions)``, for tokens and
                channels-last layers.
            internal_batch_size: at most so many examples at once; None is all of them.
            show_progress: draw a progress bar over the examples.

        Returns:
            (N, 1, H, W), or (N, C, H, W) without summation, detached, in the layer's dtype and on
            its device; a tuple of these when ``inputs`` is a tuple or the layer gives several
            tensors; a list with one entry for each layer when ``layer`` is a list.

        Raises:
            ArgumentError: the layer is not reached, not on the path to the target, or gives
                tokens; a ``ValueError`` and an ``AssertionError``.
            TargetError: the output has no such target; an ``IndexError`` besides.
        """
        sites = layer_sites(self.forward_func, self.layer, attribute_to_layer_input, call)

        def maps(chunk: Chunk) -> list[tuple[Tensor, ...]]:
            evidence = self._evidence(chunk, sites, grad_kwargs)
            return self._maps(
                evidence, chunk, sites, reshape_transform, relu_attributions, attr_dim_summation
            )

        return layer_results(
            maps,
            inputs,
            as_target(target),
            additional_forward_args,
            several_layers=self._several_layers,
            internal_batch_size=internal_batch_size,
            show_progress=show_progress,
            description=self.get_name(),
        )

    @abstractmethod
    def _evidence(
        self, chunk: Chunk, sites: list[Site], grad_kwargs: dict[str, Any] | None
    ) -> Evidence:
        """Run the model: for each site its activations, each with what the map is made from."""

    @abstractmethod
    def _parts(self, activations: Tensor, *evidence: Any, **_: Any) -> Tensor:
        """Each channel's part of the map: (n, k, p) and evidence -> (n, k, p)."""

    def _maps(
        self,
        evidence: Evidence,
        chunk: Chunk,
        sites: list[Site],
        reshape_transform: ReshapeTransform | None,
        relu: bool,
        summation: bool,
    ) -> list[tuple[Tensor, ...]]:
        """relu?(sum_k part_k) of every tensor at every site, positions as its activation has."""
        return [
            tuple(
                self._map(
                    _channels_second(tensors, chunk, site, reshape_transform), relu, summation
                )
                for tensors in found
            )
            for site, found in zip(sites, evidence, strict=True)
        ]

    def _map(self, tensors: Sequence[Tensor], relu: bool, summation: bool) -> Tensor:
        # half precision would underflow in products of gradients
        dtype = torch.promote_types(tensors[0].dtype, torch.float32)
        maps = self._parts(*(flat(tensor).to(dtype) for tensor in tensors))
        maps = maps.sum(1, keepdim=True) if summation else maps
        maps = maps.relu() if relu else maps
        maps = maps.reshape(*maps.shape[:2], *tensors[0].shape[2:])
        return maps.to(tensors[0].dtype)


class ClassActivationMap(ActivationMap, ABC):
    """Abstract: a map that is activation x weight, summed over channels."""

    @abstractmethod
    def _weights(self, activations: Tensor, *evidence: Any, **_: Any) -> Tensor:
        """The method's formula: (n, k, p) and evidence -> weights (n, k, 1) or (n, k, p)."""

    def _parts(self, activations: Tensor, *evidence: Any, **_: Any) -> Tensor:
        return self._weights(activations, *evidence) * activations


class GradientCam(ClassActivationMap, GradientAttribution, ABC):
    """Abstract: a class activation map from one forward pass and one backward pass of its tail."""

    _twice = False  # whether second derivatives are taken

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
    ) -> None:
        ClassActivationMap.__init__(self, forward_func, layer, device_ids)
        GradientAttribution.__init__(self, forward_func)

    def attribute_targets(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        targets: Sequence[int | tuple[int, ...] | list[int]] | Tensor,
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
        """The maps of T targets of each input: what T calls of ``attribute`` give, in one forward.

        Cost: the forward pass of one ``attribute`` and T backward passes, which go no further
        down than the (first) layer.

        Args:
            inputs: one tensor (N, ...) or a tuple of them.
            targets: T targets that all inputs share, as a list or a tensor (T,) of class indices
                (a list of tuples where the output has more dimensions); or each input's own T,
                as a tensor (N, T) or a list of N lists.
            additional_forward_args: as in ``attribute``, and so is every argument after it.

        Returns:
            (N, T, 1, H, W), or (N, T, C, H, W) without summation; a tuple or list of these where
            ``attribute`` gives one.

        Raises:
            ArgumentError: as ``attribute``; or ``targets`` is empty or of another form.

        Example::

            >>> import torch
            >>> from torchvision.models import resnet18
            >>> from captum_cnn_ext.attr import LayerHiResCam
            >>> cam = LayerHiResCam(resnet18().eval(), "layer4")
            >>> cam.attribute_targets(torch.randn(2, 3, 64, 64), [1, 5, 7]).shape
            torch.Size([2, 3, 1, 2, 2])
        """
        sites = layer_sites(self.forward_func, self.layer, attribute_to_layer_input, call)
        columns = target_columns(targets, inputs)

        def maps(chunk: Chunk) -> list[tuple[Tensor, ...]]:
            def use(evidence: Evidence) -> list[tuple[Tensor, ...]]:
                return self._maps(
                    evidence, chunk, sites, reshape_transform, relu_attributions, attr_dim_summation
                )

            each = columns.of(chunk.target)
            found = self._each_target(chunk, sites, each, grad_kwargs, use)
            return [
                tuple(torch.stack(tensors, 1) for tensors in zip(*site, strict=True))
                for site in zip(*found, strict=True)
            ]

        return layer_results(
            maps,
            inputs,
            columns.own,
            additional_forward_args,
            several_layers=self._several_layers,
            internal_batch_size=internal_batch_size,
            show_progress=show_progress,
            description=self.get_name(),
        )

    def _evidence(
        self, chunk: Chunk, sites: list[Site], grad_kwargs: dict[str, Any] | None
    ) -> Evidence:
        return self._each_target(chunk, sites, [chunk.target], grad_kwargs, lambda found: found)[0]

    def _each_target(
        self,
        chunk: Chunk,
        sites: list[Site],
        targets: Sequence[TargetType],
        grad_kwargs: dict[str, Any] | None,
        use: Callable[[Evidence], T],
    ) -> list[T]:
        """Run the model once; what ``use`` makes of each target's evidence, one after another."""
        keep = {**(grad_kwargs or {}), "retain_graph": True}
        with record(
            self.forward_func,
            sites,
            chunk.inputs,
            chunk.extra,
            gradients=True,
            differentiable_twice=self._twice,
            device_ids=self.device_ids,
        ) as recording:
            return [
                use(self._found(recording, sites, target, grad_kwargs if left == 0 else keep))
                for left, target in zip(reversed(range(len(targets))), targets, strict=True)
            ]

    def _found(
        self,
        recording: Recording,
        sites: list[Site],
        target: TargetType,
        grad_kwargs: dict[str, Any] | None,
    ) -> Evidence:
        """One target's evidence: activations and gradients."""
        gradients = recording.gradients(self._score(recording.output, target), grad_kwargs)
        return [
            list(zip(recording.activations(i), gradients[i], strict=True))
            for i in range(len(sites))
        ]

    def _score(self, output: Any, target: TargetType) -> Tensor:
        """What is explained: the target's score of each example."""
        return select_score(output, target)


def _channels_second(
    tensors: tuple[Tensor, ...],
    chunk: Chunk,
    site: Site,
    reshape_transform: ReshapeTransform | None,
) -> list[Tensor]:
    """A site's tensors with channels second; what is not shaped as the activation stays."""
    first = tensors[0]
    transform = channel_transform(first, chunk.inputs, site.name, reshape_transform)
    return [transform(t) if t.shape == first.shape else t for t in tensors]
