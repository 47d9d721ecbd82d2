"""Deep feature factorization: the parts that images share, as non-negative factors."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import ArgumentError, Layer
from captum_cnn_ext._engine.judging.captum_compat import TargetType, log_usage
from captum_cnn_ext._engine.judging.inputs import as_tensors, check_examples
from captum_cnn_ext._engine.running.batching import Chunk, layer_results
from captum_cnn_ext._engine.running.layer_recording import record
from captum_cnn_ext._engine.running.layer_sites import layer_sites
from captum_cnn_ext._engine.running.state import imported
from captum_cnn_ext._numbers import as_count, as_seed
from captum_cnn_ext.attr.layers.base import LayerMap
from captum_cnn_ext.attr.layers.reshape_transform import ReshapeTransform, channel_maps
from captum_cnn_ext.errors import install


def factors(activations: Tensor, components: int, seed: int) -> tuple[Tensor, Tensor]:
    """relu(A) as (n p, k) = maps (n p, c) x concepts (c, k), both 0 or more, least squares.

    Returns the maps as (n, c, *positions) and the concepts as (c, k).
    """
    n, k = activations.shape[:2]
    matrix = activations.flatten(2) if activations.ndim > 2 else activations.unsqueeze(2)
    samples = matrix.relu().transpose(1, 2).flatten(0, 1)
    if components > min(samples.shape):
        raise ArgumentError(
            f"components={components}: expected at most {min(samples.shape)}, the smaller of "
            f"{k} channels and {len(samples)} positions in the batch"
        )
    model = _nmf(components, seed)
    maps = model.fit_transform(samples.double().cpu().numpy())
    shaped = torch.from_numpy(maps).reshape(n, -1, components).transpose(1, 2)
    concepts = torch.from_numpy(model.components_)
    return (
        shaped.reshape(n, components, *activations.shape[2:]).to(activations),
        concepts.to(activations),
    )


def _nmf(components: int, seed: int) -> Any:
    """Scikit-learn's factorization, which nothing else in the package needs."""
    try:
        decomposition = imported("sklearn.decomposition")
    except ImportError as error:
        raise ImportError(
            f"LayerDeepFeatureFactorization needs scikit-learn: {install('decomposition')}"
        ) from error
    # a deterministic start; enough steps to end by the tolerance
    return decomposition.NMF(components, init="nndsvda", max_iter=5000, random_state=seed)


class LayerDeepFeatureFactorization(LayerMap):
    r"""DFF: a batch of activations as a few parts that its images share.

    .. math:: \min_{M, C \ge 0} \lVert \mathrm{relu}(A) - M C \rVert^2

    A is the layer's activation with the positions of all images as rows and channels as columns;
    M has a column, and so a map, for each component, and C holds the components' concepts in the
    space of channels. One factorization for the whole batch: component i is the same part in
    every image, and a map depends on the images beside it. Negative activations count as 0, as
    after the ReLU that the paper assumes. ``target`` is ignored, and so are
    ``relu_attributions`` and ``attr_dim_summation``: maps are positive, one for each component.

    Cost: one forward pass up to the layer, and scikit-learn's ``NMF`` on the CPU
    (``pip install -e '.[decomposition]'`` in the repository).

    Reference: Collins, Achanta, Susstrunk, *Deep Feature Factorization For Concept Discovery*,
    2018, arXiv:1806.10206.

    Args:
        forward_func: the model, or any function of the inputs that runs it.
        layer: a module, its dotted name, or a list of these.
        device_ids: the replicas' devices, with ``DataParallel``.
        components: the number of parts.
        seed: of the factorization's start.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerDeepFeatureFactorization
        >>> dff = LayerDeepFeatureFactorization(resnet18().eval(), "layer3", components=3)
        >>> maps, concepts = dff.factorize(torch.randn(2, 3, 64, 64))
        >>> maps.shape, concepts.shape
        (torch.Size([2, 3, 4, 4]), torch.Size([3, 256]))
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        components: int = 4,
        seed: int = 0,
    ) -> None:
        LayerMap.__init__(self, forward_func, layer, device_ids)
        self.components, self.seed = as_count("components", components), as_seed("seed", seed)

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
        """The components' maps, ``(N, components, *positions)``, at the layer's resolution.

        Args:
            inputs: one tensor (N, ...) or a tuple of them.
            target: ignored, as are ``relu_attributions``, ``attr_dim_summation`` and
                ``grad_kwargs``; they have the places that they have in ``LayerGradCam``.
            additional_forward_args: further arguments of ``forward_func``.
            attribute_to_layer_input: factorize the layer's input instead of its output.
            call: which call of a layer that runs several times; None is the last.
            reshape_transform: from the layer's tensor to ``(N, C, *positions)``.
            internal_batch_size: at most so many examples at once in the forward pass; they are
                factorized together all the same.
            show_progress: draw a progress bar over the examples.

        Returns:
            A tensor; a tuple when ``inputs`` is a tuple or the layer gives several tensors; a
            list with one entry for each layer when ``layer`` is a list.

        Raises:
            ArgumentError: the layer is not reached, or ``components`` is too large.
            ImportError: scikit-learn is not installed.
        """
        maps, _ = self.factorize(
            inputs,
            additional_forward_args,
            attribute_to_layer_input,
            call=call,
            reshape_transform=reshape_transform,
            internal_batch_size=internal_batch_size,
            show_progress=show_progress,
        )
        return maps

    def factorize(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
        *,
        call: int | None = None,
        reshape_transform: ReshapeTransform | None = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> tuple[Any, Any]:
        """``attribute``'s maps and, in the same nesting, the concepts (components, channels)."""
        check_examples(as_tensors(inputs))
        sites = layer_sites(self.forward_func, self.layer, attribute_to_layer_input, call)

        def activations(chunk: Chunk) -> list[tuple[Tensor, ...]]:
            with record(
                self.forward_func, sites, chunk.inputs, chunk.extra, device_ids=self.device_ids
            ) as recording:
                return [
                    tuple(
                        channel_maps(tensor, chunk.inputs, site.name, reshape_transform)
                        for tensor in recording.activations(i)
                    )
                    for i, site in enumerate(sites)
                ]

        found = layer_results(
            activations,
            inputs,
            None,
            additional_forward_args,
            several_layers=self._several_layers,
            internal_batch_size=internal_batch_size,
            show_progress=show_progress,
            description=self.get_name(),
        )
        return self._factorized(found)

    def _factorized(self, found: Any) -> tuple[Any, Any]:
        """Maps and concepts, in the nesting of the activations."""
        if isinstance(found, Tensor):
            return factors(found, self.components, self.seed)
        pairs = [self._factorized(item) for item in found]
        return type(found)(m for m, _ in pairs), type(found)(c for _, c in pairs)
