"""Whether a model was never trained, as far as that can be told from its weights."""

from typing import TypeGuard

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

UNTRAINED = "RANDOM WEIGHTS: the model is untrained and its explanations mean nothing"


def is_untrained(model: nn.Module) -> bool:
    """Whether the model has batch norms, and none of them has seen an image.

    Their running means are 0 and their variances 1 until the first step of training. Of a model
    without batch norms nothing is known.
    """
    norms = [m for m in model.modules() if isinstance(m, _NormBase)]
    seen = [(m.running_mean, m.running_var) for m in norms]
    known = [(mean, var) for mean, var in seen if _known(mean) and _known(var)]
    return bool(known) and all(bool((mean == 0).all() & (var == 1).all()) for mean, var in known)


def _known(values: Tensor | None) -> TypeGuard[Tensor]:
    return values is not None and not is_lazy(values) and not values.is_meta
