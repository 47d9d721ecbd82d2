"""The abstract base of class activation maps from one forward and one backward pass."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, final

import torch
from captum.attr import GradientAttribution
from torch import Tensor

from captum_cnn_ext._engine.judging.captum_compat import TargetType
from captum_cnn_ext._engine.judging.targets import select_score, target_columns
from captum_cnn_ext._engine.running.batching import Chunk
from captum_cnn_ext._engine.running.layer_recording import Recording
from captum_cnn_ext.attr.cams.base import ActivationMap, Evidence, Request
from captum_cnn_ext.attr.layers.reshape_transform import ReshapeTransform

T = TypeVar("T")


class GradientCam(ActivationMap, GradientAttribution, ABC):
    """Abstract: activation x weight, the weights from gradients of the tail of the network."""

    _differentiable = True
    _twice = False  # whether second derivatives are taken

    @final
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
        return_output: bool = False,
        create_graph: bool = False,
    ) -> Any:
        """The maps of T targets of each input: what T calls of ``attribute`` give, in one forward.

        Cost: the forward pass of one ``attribute`` and T backward passes, which go no further
        down than the (first) layer.

        Args:
            targets: T targets that all inputs share, as a list or a tensor (T,) of class indices
                (a list of tuples where the output has more dimensions); or each input's own T,
                as a tensor (N, T) or a list of N lists.

        Returns:
            (N, T, 1, H, W), or (N, T, C, H, W) without summation; a tuple or list of these where
            ``attribute`` gives one; with ``return_output`` a pair of this and the output.

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
        columns = target_columns(targets, inputs)

        def maps(chunk: Chunk) -> list[tuple[Tensor, ...]]:
            each = columns.of(chunk.target)
            found = self._each_target(
                chunk, request, each, lambda evidence: self._maps(evidence, chunk, request)
            )
            return [
                tuple(torch.stack(tensors, 1) for tensors in zip(*site, strict=True))
                for site in zip(*found, strict=True)
            ]

        given = inputs, columns.own, additional_forward_args
        return request.with_output(self._results(maps, request, *given))

    @abstractmethod
    def _weights(self, activations: Tensor, *others: Any, **_: Any) -> Tensor:
        """The method's formula: (n, k, p) and evidence -> weights (n, k, 1) or (n, k, p)."""

    @final
    def _parts(self, activations: Tensor, *others: Any, **_: Any) -> Tensor:
        return self._weights(activations, *others) * activations

    @final
    def _evidence(self, chunk: Chunk, request: Request) -> list[Evidence]:
        return self._each_target(chunk, request, [chunk.target], lambda found: found)[0]

    def _each_target(
        self,
        chunk: Chunk,
        request: Request,
        targets: Sequence[TargetType],
        use: Callable[[list[Evidence]], T],
    ) -> list[T]:
        """Run the model once; what ``use`` makes of each target's evidence, one after another."""
        kept = {**(request.grad_kwargs or {}), "retain_graph": True}
        requests = [replace(request, grad_kwargs=kept)] * (len(targets) - 1) + [request]
        options = {
            "gradients": True,
            "differentiable_twice": self._twice or request.create_graph,
            "in_graph": request.create_graph,
        }
        with self._recorded(chunk, request.sites, **options) as recording:
            request.keep(recording.output)
            return [
                use(self._found(recording, target, each))
                for target, each in zip(targets, requests, strict=True)
            ]

    def _found(self, recording: Recording, target: TargetType, request: Request) -> list[Evidence]:
        """One target's evidence: activations and gradients."""
        scores, graph = self._score(recording.output, target), request.create_graph
        options = {**(request.grad_kwargs or {}), **({"create_graph": True} if graph else {})}
        activations = recording.outputs if graph else recording.activations
        return [
            Evidence(request.sites[i], activation, (gradient,))
            for i, gradients in enumerate(recording.gradients(scores, options))
            for activation, gradient in zip(activations(i), gradients, strict=True)
        ]

    def _score(self, output: Any, target: TargetType) -> Tensor:
        """What is explained: the target's score of each example."""
        return select_score(output, target)
