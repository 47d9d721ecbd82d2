"""ARCC: one number of coherency, complexity and ROAD."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.metrics.faithfulness.road import road
from captum_cnn_ext.metrics.maps import as_image, as_maps, unit_range
from captum_cnn_ext.metrics.sanity.agreement import pearson


@dataclass(frozen=True)
class Arcc:
    """The three parts of ARCC, each (N,) from 0 to 1.

    Args:
        coherency: (1 + Pearson's correlation of the map and the map of what it shows) / 2.
        complexity: the mean of the map, scaled to 0 to 1; less is better.
        road: twice ROAD's score, at least 0.
    """

    coherency: Tensor
    complexity: Tensor
    road: Tensor

    __repr__ = brief

    @property
    def score(self) -> Tensor:
        """(N,) the harmonic mean of coherency, 1 - complexity and ROAD; 0 where one of them is."""
        parts = torch.stack([self.coherency, 1 - self.complexity, self.road])
        return torch.where((parts > 0).all(0), 3 / (1 / parts).sum(0), 0)


def arcc(
    forward_func: Callable[..., Any],
    explain: Callable[[Tensor], Any],
    inputs: Any,
    target: Any = None,
    *,
    shares: Sequence[float] = (0.2, 0.4, 0.6, 0.8),
    seed: int = 0,
    additional_forward_args: Any = None,
    internal_batch_size: int | None = None,
) -> Arcc:
    r"""Is the map its own explanation's explanation, is it simple, and is it faithful?

    .. math:: \frac{3}{1/\text{coherency} + 1/(1 - \text{complexity}) + 1/\text{ROAD}}

    The map is scaled to 0 to 1; for coherency the image is multiplied by it and explained again.

    Cost: two explanations, and ``2 len(shares)`` forward passes and linear systems for each image.

    Reference: *How to Evaluate and Refine your CAM*, 2026, arXiv:2605.14641; coherency and
    complexity are of Poppi, Cornia, Baraldi, Cucchiara, *Revisiting the Evaluation of Class
    Activation Mapping for Explainability*, 2021, arXiv:2104.10252.

    Args:
        forward_func: the model, or any function of the images.
        explain: from images to attributions, such as
            ``lambda x: LayerHiResCam(model, "layer4").attribute(x, target=t)``.
        inputs: images (N, C, H, W).
        target: the score that ROAD watches, in any of Captum's forms, or a function of
            the model's output, as those of `captum_cnn_ext.targets` are.
        shares, seed, additional_forward_args, internal_batch_size: as :func:`road`.

    Raises:
        ArgumentError: shapes or shares that do not fit.
        TargetError: the output has no such target.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import arcc
        >>> x = torch.rand(2, 1, 8, 8)
        >>> model = lambda x: torch.stack([x.mean((1, 2, 3)), 0 * x.mean((1, 2, 3))], 1)
        >>> arcc(model, lambda x: x, x, 0).score.shape
        torch.Size([2])
    """
    image = as_image(inputs)
    given = as_maps(explain(image), image)
    maps = unit_range(given)
    shown = image * maps.unsqueeze(1).to(image)
    again = unit_range(as_maps(explain(shown), image))
    removed = road(
        forward_func,
        image,
        given,
        target,
        shares=shares,
        seed=seed,
        additional_forward_args=additional_forward_args,
        internal_batch_size=internal_batch_size,
    )
    coherency = (1 + pearson(maps, again)) / 2
    return Arcc(coherency, maps.mean((1, 2)), (2 * removed.score).clamp(0, 1))
