"""An objective that holds an image to the statistics that a network's batch norms remember."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import Layer as AnyLayer
from captum_cnn_ext._engine.judging.arguments import find_layer
from captum_cnn_ext.errors import ArgumentError, choose
from captum_cnn_ext.synthesis.objectives.algebra import Objective, Place, View

OVER = ("image", "batch")


def statistics_distance(maps: Tensor, mean: Tensor, variance: Tensor, over: str) -> Tensor:
    r"""How far the statistics of maps are from remembered ones,
    :math:`\|\mu - m\|_2 + \|\sigma^2 - v\|_2`, norms over channels.

    Args:
        maps: ``(N, C, *positions)``.
        mean, variance: (C,), what a batch norm remembers.
        over: ``"image"``: each image has its own statistics; ``"batch"``: all have the same.

    Returns:
        (N,).

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis.objectives.batch_norm import statistics_distance
        >>> maps = torch.tensor([[[1.0, 3.0]], [[3.0, 5.0]]])  # two images, one channel
        >>> statistics_distance(maps, torch.zeros(1), torch.ones(1), "image")
        tensor([2., 4.])
        >>> statistics_distance(maps, torch.zeros(1), torch.ones(1), "batch")
        tensor([4., 4.])
    """
    values = maps.flatten(2)
    if over == "batch":
        values = values.movedim(1, 0).flatten(1)[None]
    means = values.mean(2) - mean.to(maps)
    variances = values.var(2, correction=0) - variance.to(maps)
    apart: Tensor = torch.linalg.vector_norm(means, dim=1)
    apart = apart + torch.linalg.vector_norm(variances, dim=1)
    return apart.expand(len(maps))


def BatchNormStatistics(
    model: nn.Module, layers: Sequence[AnyLayer] | None = None, *, over: str = "image"
) -> Objective:
    r"""Images whose activations are distributed as those that the network was trained on:
    :math:`-\sum_l \|\mu_l(x) - m_l\|_2 + \|\sigma^2_l(x) - v_l\|_2`, m and v the running mean and
    variance of batch norm l, :math:`\mu` and :math:`\sigma^2` those of its input.

    A prior without data; add a multiple of it to what the images are for. For a single image take
    early layers: late ones hold what the class is, and their mean over a data set is no class.
    ``over="batch"`` is the paper's, for many images of different classes at once.

    Reference: Yin, Molchanov, Alvarez, Li, Mallya, Hoiem, Jha, Kautz, *Dreaming to Distill:
    Data-free Knowledge Transfer via DeepInversion*, 2020, arXiv:1912.08795.

    Cost: no further pass; the forward pass goes on to the last of the layers.

    Args:
        model: the network, or the part of it whose batch norms count.
        layers: batch norms, as modules or by name; None is all of the model.
        over: ``"image"``: the statistics of each image over its positions; ``"batch"``: those of
            all images together.

    Raises:
        ArgumentError: no batch norm; a layer that is none or remembers nothing; another ``over``.

    Example::

        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.synthesis import BatchNormStatistics, Target, maximize
        >>> model = resnet18().eval()
        >>> natural = BatchNormStatistics(model, ["bn1", "layer1.0.bn1"])
        >>> found = maximize(model, Target(3) + 0.1 * natural, image=64, steps=2)
    """
    choose("over", over, OVER)
    norms = _batch_norms(model, layers)
    places = {Place(norm, at_input=True): norm for norm in norms}

    def score(view: View) -> Tensor:
        distances = [
            statistics_distance(view.at(place), norm.running_mean, norm.running_var, over)  # type: ignore[arg-type]
            for place, norm in places.items()
        ]
        return -torch.stack(distances).sum(0)

    count = "1 batch norm" if len(norms) == 1 else f"{len(norms)} batch norms"
    return Objective(score, tuple(places), name=f"statistics of {count}")


def _batch_norms(model: nn.Module, layers: Sequence[AnyLayer] | None) -> list[nn.Module]:
    if layers is None:
        found = [module for module in model.modules() if _remembers(module)]
        if not found:
            raise ArgumentError(
                f"model: {type(model).__name__} has no batch norm with running statistics; "
                "expected one, or leave this objective out"
            )
        return found
    if isinstance(layers, (str, nn.Module)):
        layers = [layers]
    found = [find_layer(model, layer, "layers") for layer in layers]
    if not found:
        raise ArgumentError("layers=[]: expected at least one batch norm")
    for layer, module in zip(layers, found, strict=True):
        if not _remembers(module):
            raise ArgumentError(
                f"layers: {layer if isinstance(layer, str) else type(layer).__name__!r} is a "
                f"{type(module).__name__}; expected a batch norm with running statistics"
            )
    return found


def _remembers(module: nn.Module) -> bool:
    """Also frozen batch norms, as detectors have them."""
    return isinstance(getattr(module, "running_mean", None), Tensor) and isinstance(
        getattr(module, "running_var", None), Tensor
    )
