"""The abstract bases of class activation maps: activation x weight, summed over channels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from captum.attr import GradientAttribution, LayerAttribution
from torch import Tensor

from captum_cnn_ext._engine.arguments import ArgumentError, Layer, find_layers, select_score
from captum_cnn_ext._engine.batching import Chunk, layer_results
from captum_cnn_ext._engine.captum_compat import TargetType, log_usage
from captum_cnn_ext._engine.recording import Site, layer_sites, record

ReshapeTransform = Callable[[Tensor], Tensor]
Evidence = list[list[tuple[Tensor, Tensor]]]


class ClassActivationMap(LayerAttribution, ABC):
    """What the families of class activation maps share: layers in, maps out.

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

        Cost: one forward pass, one backward pass through what follows the (first) layer.

        Args:
            inputs: one tensor (N, ...) or a tuple of them.
            target: what is explained, in any of Captum's forms (int, tuple, tensor, list).
            additional_forward_args: further arguments of ``forward_func``.
            attribute_to_layer_input: explain the layer's input instead of its output.
            relu_attributions: keep the positive part only, as most papers draw it.
            attr_dim_summation: sum over channels; False keeps each channel's part.
            grad_kwargs: passed to ``torch.autograd.grad``.
            call: which call of a layer that runs several times; None is the last, as in Captum.
            reshape_transform: from the layer's tensor to (N, C, *positions), for tokens and
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
            return [
                tuple(
                    self._map(
                        channel_maps(activation, chunk.inputs, site.name, reshape_transform),
                        reshape_transform(evidence)
                        if reshape_transform and evidence.shape == activation.shape
                        else evidence,
                        relu_attributions,
                        attr_dim_summation,
                    )
                    for activation, evidence in pairs
                )
                for site, pairs in zip(
                    sites, self._evidence(chunk, sites, grad_kwargs), strict=True
                )
            ]

        return layer_results(
            maps,
            inputs,
            target,
            additional_forward_args,
            several_layers=isinstance(self.layer, list),
            internal_batch_size=internal_batch_size,
            show_progress=show_progress,
            description=self.get_name(),
        )

    @abstractmethod
    def _evidence(
        self, chunk: Chunk, sites: list[Site], grad_kwargs: dict[str, Any] | None
    ) -> Evidence:
        """Run the model: for each site its activations, each with what its weights come from."""

    @abstractmethod
    def _weights(self, activations: Tensor, evidence: Tensor) -> Tensor:
        """The method's formula: (n, k, p) and evidence -> weights (n, k, 1) or (n, k, p)."""

    def _map(self, activation: Tensor, evidence: Tensor, relu: bool, summation: bool) -> Tensor:
        """relu?(sum_k weight_k A_k), with positions as the activation has them."""
        # half precision would underflow in products of gradients
        dtype = torch.promote_types(activation.dtype, torch.float32)
        nkp = _flat(activation).to(dtype)
        maps = self._weights(nkp, _flat(evidence).to(dtype)) * nkp
        maps = maps.sum(1, keepdim=True) if summation else maps
        maps = maps.relu() if relu else maps
        return maps.reshape(*maps.shape[:2], *activation.shape[2:]).to(activation.dtype)


class GradientCam(ClassActivationMap, GradientAttribution):
    """Abstract: a class activation map from one forward pass and one backward pass of its tail."""

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
    ) -> None:
        ClassActivationMap.__init__(self, forward_func, layer, device_ids)
        GradientAttribution.__init__(self, forward_func)

    def _evidence(
        self, chunk: Chunk, sites: list[Site], grad_kwargs: dict[str, Any] | None
    ) -> Evidence:
        with record(
            self.forward_func,
            sites,
            chunk.inputs,
            chunk.extra,
            gradients=True,
            device_ids=self.device_ids,
        ) as recording:
            scores = select_score(recording.output, chunk.target)
            gradients = recording.gradients(scores, grad_kwargs)
            return [
                list(zip(recording.activations(i), gradients[i], strict=True))
                for i in range(len(sites))
            ]


def channel_maps(
    tensor: Tensor, inputs: Sequence[Tensor], name: str, reshape_transform: ReshapeTransform | None
) -> Tensor:
    """``tensor`` as (N, C, *positions), channels second, or an error where that is in doubt.

    Raises:
        ArgumentError: the layer gives tokens (N, L, C) or channels-last maps (N, H, W, C).
    """
    if reshape_transform is not None:
        tensor = reshape_transform(tensor)
        if tensor.ndim < 2:
            raise ArgumentError(
                f"reshape_transform: expected it to return (N, C, *positions), got shape "
                f"{tuple(tensor.shape)}"
            )
        return tensor
    images = [image for image in inputs if image.ndim == 4]
    if not images or tensor.ndim < 2:
        if tensor.ndim < 2:
            raise ArgumentError(
                f"layer {name!r}: expected an output (N, C, ...), got {tuple(tensor.shape)}"
            )
        return tensor
    if tensor.ndim == 3:
        raise ArgumentError(
            f"layer {name!r}: gives {tuple(tensor.shape)} for image inputs; are these tokens "
            "(N, L, C) or channels (N, C, L)? Say so with reshape_transform=, e.g. for a ViT with "
            "a class token and 14 x 14 patches: "
            "lambda t: t[:, 1:].transpose(1, 2).unflatten(2, (14, 14))"
        )
    if tensor.ndim == 4 and _channels_last(tensor.shape, images[0].shape):
        raise ArgumentError(
            f"layer {name!r}: gives {tuple(tensor.shape)} for inputs of shape "
            f"{tuple(images[0].shape)}, which looks like channels last (N, H, W, C). Pass "
            "reshape_transform=lambda t: t.permute(0, 3, 1, 2), or lambda t: t if it is not."
        )
    return tensor


def _channels_last(shape: Sequence[int], image: Sequence[int]) -> bool:
    """Whether (1, 2) have the image's proportions and (2, 3) have not."""

    def proportional(height: int, width: int) -> bool:
        # A map of h x w positions is the image divided by one step, up to rounding and borders.
        return abs(height * image[3] - width * image[2]) <= max(image[2:])

    _, first, second, third = shape
    return not proportional(second, third) and proportional(first, second) and second > 1


def _flat(tensor: Tensor) -> Tensor:
    """(N, K, *positions) or (N, K) as (n, k, p)."""
    return tensor.flatten(2) if tensor.ndim > 2 else tensor.unsqueeze(2)
