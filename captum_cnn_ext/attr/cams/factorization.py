"""Deep feature factorization: the parts that images share, as non-negative factors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer
from captum_cnn_ext._engine.running.state import imported
from captum_cnn_ext._numbers import as_count, as_seed
from captum_cnn_ext.attr.cams.decomposition_cam import DecompositionCam
from captum_cnn_ext.attr.layers.reshape_transform import ReshapeTransform, flat
from captum_cnn_ext.errors import ArgumentError, needing


@dataclass(frozen=True)
class Factors:
    """Maps (n, c, *positions) and concepts (c, k), whose product is nearest to the activations."""

    maps: Tensor
    concepts: Tensor


def factors(activations: Tensor, components: int, seed: int) -> Factors:
    """relu(A) as (n p, k) = maps (n p, c) x concepts (c, k), both 0 or more, least squares."""
    n, k = activations.shape[:2]
    samples = flat(activations).relu().transpose(1, 2).flatten(0, 1)
    if components > min(samples.shape):
        raise ArgumentError(
            f"components={components}: expected at most {min(samples.shape)}, the smaller of "
            f"{k} channels and {len(samples)} positions in the batch"
        )
    model = _nmf(components, seed)
    maps = torch.from_numpy(model.fit_transform(samples.double().cpu().numpy()))
    shaped = maps.reshape(n, -1, components).transpose(1, 2)
    return Factors(
        shaped.reshape(n, components, *activations.shape[2:]).to(activations),
        torch.from_numpy(model.components_).to(activations),
    )


def _nmf(components: int, seed: int) -> Any:
    """Scikit-learn's factorization, which nothing else in the package needs."""
    with needing("LayerDeepFeatureFactorization needs scikit-learn", "decomposition"):
        decomposition = imported("sklearn.decomposition")
    # a deterministic start; enough steps to end by the tolerance
    return decomposition.NMF(components, init="nndsvda", max_iter=5000, random_state=seed)


class LayerDeepFeatureFactorization(DecompositionCam):
    r"""DFF: a batch of activations as a few parts that its images share.

    .. math:: \min_{M, C \ge 0} \lVert \mathrm{relu}(A) - M C \rVert^2

    A is the layer's activation with the positions of all images as rows and channels as columns;
    M has a column, and so a map, for each component, and C holds the components' concepts in the
    space of channels. One factorization for the whole batch: component i is the same part in
    every image, and a map depends on the images beside it: ``internal_batch_size`` bounds the
    forward pass, and all examples are factorized together. Negative activations count as 0, as
    after the ReLU that the paper assumes. ``target`` is ignored, and so are ``relu_attributions``
    and ``attr_dim_summation``: maps are positive, (N, components, H, W).

    Cost: one forward pass up to the layer, and scikit-learn's ``NMF`` on the CPU
    (``pip install -e '.[decomposition]'`` in the repository).

    Reference: Collins, Achanta, Susstrunk, *Deep Feature Factorization For Concept Discovery*,
    2018, arXiv:1806.10206.

    Args:
        components: the number of parts.
        seed: of the factorization's start.

    Raises:
        ArgumentError: (by ``attribute``) ``components`` is larger than the number of channels, or
            of positions in the batch.
        ImportError: (by ``attribute``) scikit-learn is not installed.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerDeepFeatureFactorization
        >>> dff = LayerDeepFeatureFactorization(resnet18().eval(), "layer3", components=3)
        >>> maps, concepts = dff.factorize(torch.randn(2, 3, 64, 64))
        >>> maps.shape, concepts.shape
        (torch.Size([2, 3, 4, 4]), torch.Size([3, 256]))
    """

    _joins_chunks = True
    _sums_channels = False

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        components: int = 4,
        seed: int = 0,
    ) -> None:
        DecompositionCam.__init__(self, forward_func, layer, device_ids)
        self.components, self.seed = as_count("components", components), as_seed("seed", seed)

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
        request = self._request(
            attribute_to_layer_input,
            call,
            reshape_transform=reshape_transform,
            internal_batch_size=internal_batch_size,
            show_progress=show_progress,
        )
        found = self._of_all(self._factors, request, inputs, None, additional_forward_args)
        return _each(found, "maps"), _each(found, "concepts")

    def _factors(self, activations: Tensor) -> Factors:
        return factors(activations, self.components, self.seed)

    def _parts(self, activations: Tensor) -> Tensor:
        return self._factors(activations).maps


def _each(found: Any, name: str) -> Any:
    """One of the factors' two tensors, in the nesting of ``found``."""
    if isinstance(found, Factors):
        return getattr(found, name)
    return type(found)(_each(item, name) for item in found)
