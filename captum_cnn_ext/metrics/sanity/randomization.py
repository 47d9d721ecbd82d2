"""Does the map change when the network forgets what it learnt?"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import find_layer
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.progress import tqdm
from captum_cnn_ext._numbers import as_seed
from captum_cnn_ext.errors import ArgumentError, choose
from captum_cnn_ext.metrics.maps import as_image, as_maps, unit_range
from captum_cnn_ext.metrics.sanity.agreement import rank_correlation


@dataclass(frozen=True)
class Randomization:
    """How much each map still resembles the trained network's.

    Args:
        layers: the layers, or groups of them, whose parameters were drawn anew, (L,), in that
            order.
        rank_correlation: (L, N) Spearman's correlation of the magnitudes.
        similarity: (L, N) structural similarity of the magnitudes, each from 0 to 1.
    """

    layers: tuple[str | tuple[str, ...], ...]
    rank_correlation: Tensor
    similarity: Tensor

    __repr__ = brief


def parameter_randomization(
    model: nn.Module,
    explain: Callable[[nn.Module, Tensor], Any],
    inputs: Any,
    *,
    layers: Sequence[str | Sequence[str]] | None = None,
    mode: str = "cascading",
    seed: int = 0,
    show_progress: bool = False,
) -> Randomization:
    """Explain copies of the model whose layers forget, from the output back to the input.

    A method whose maps stay as they were does not explain this network. Every parameter of a
    layer is drawn from a normal distribution with that parameter's own mean and standard
    deviation, so that activations stay in range; running statistics stay.

    Cost: one explanation for the model and one for each layer or group of layers.

    Reference: Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, *Sanity Checks for Saliency Maps*,
    2018, arXiv:1810.03292.

    Args:
        model: the network; copied, not changed.
        explain: from a model and the images to attributions, such as
            ``lambda m, x: LayerHiResCam(m, "layer4").attribute(x, target)``. Name layers, do not
            pass modules of the trained model.
        inputs: images (N, C, H, W).
        layers: dotted names, the one next to the output first, or groups of names that forget
            together; None is every module that has parameters of its own, last first.
        mode: ``"cascading"`` keeps what was drawn before, ``"independent"`` draws one layer at a
            time.
        seed: of the draws.
        show_progress: draw a progress bar over the layers.

    Raises:
        ArgumentError: a layer that does not exist or has no parameters, or an unknown mode.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.attr import LayerHiResCam
        >>> from captum_cnn_ext.metrics import parameter_randomization
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(),
        ...     torch.nn.Flatten(), torch.nn.Linear(144, 2)).eval()
        >>> explain = lambda m, x: LayerHiResCam(m, "0").attribute(x, target=0)
        >>> found = parameter_randomization(model, explain, torch.rand(2, 3, 8, 8))
        >>> found.layers, found.rank_correlation.shape
        (('3', '0'), torch.Size([2, 2]))
    """
    image = as_image(inputs)
    choose("mode", mode, ("cascading", "independent"))
    own = [name for name, m in model.named_modules() if next(m.parameters(False), None) is not None]
    given = list(reversed(own)) if layers is None else list(layers)
    groups = [(group,) if isinstance(group, str) else tuple(group) for group in given]
    for name in (name for group in groups for name in group):
        find_layer(model, name, "layers")
        if name not in own:
            raise ArgumentError(f"layers={name!r}: this layer has no parameters of its own")
    before = as_maps(explain(model, image), image).abs()
    changed = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(as_seed("seed", seed))
    correlations, similarities = [], []
    for group in tqdm(groups, desc="parameter randomization", disable=not show_progress):
        if mode == "independent":
            changed = copy.deepcopy(model)
        for name in group:
            redraw(changed.get_submodule(name).parameters(False), generator)
        after = as_maps(explain(changed, image), image).abs()
        correlations.append(rank_correlation(before, after))
        similarities.append(structural_similarity(unit_range(before), unit_range(after)))
    names = tuple(group if isinstance(group, str) else tuple(group) for group in given)
    return Randomization(names, torch.stack(correlations), torch.stack(similarities))


@torch.no_grad()  # type: ignore[untyped-decorator]
def redraw(parameters: Iterable[nn.Parameter], generator: torch.Generator) -> None:
    """Each parameter anew, with its own mean and deviation."""
    for parameter in parameters:
        spread = parameter.std() if parameter.numel() > 1 else parameter.abs().mean()
        drawn = torch.randn(parameter.shape, generator=generator, device="cpu").to(parameter)
        parameter.copy_(parameter.mean() + spread * drawn)


def structural_similarity(one: Tensor, two: Tensor, window: int = 7) -> Tensor:
    """Wang's index of maps (N, H, W) in [0, 1], over even windows: (N,)."""
    window = min(window, *one.shape[1:])

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values.unsqueeze(1), window, 1)[:, 0]

    m1, m2 = mean(one), mean(two)
    v1, v2 = mean(one * one) - m1**2, mean(two * two) - m2**2
    shared = mean(one * two) - m1 * m2
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * m1 * m2 + c1) * (2 * shared + c2)
    return (top / ((m1**2 + m2**2 + c1) * (v1 + v2 + c2))).mean((1, 2))
