"""Any method of this package as Quantus' ``explain_func``."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.layers import default_layers
from captum_cnn_ext.methods import LAYER, call_of, find_methods
from captum_cnn_ext.metrics import as_maps

Array = npt.NDArray[np.generic]


def explain_func(
    method: str, layer: str | None = None, *, seed: int = 0
) -> Callable[..., npt.NDArray[np.float32]]:
    """A function that Quantus' metrics call for their maps, at the settings of `compare`.

    Maps (N, 1, H, W) are summed over channels, signed, and upsampled to the input's size.

    Reference: Hedström et al., *Quantus: An Explainable AI Toolkit for Responsible Evaluation of
    Neural Network Explanations and Beyond*, 2023, arXiv:2202.06861.

    Cost: the method's, for each call of a metric.

    Args:
        method: by name, see ``captum-cnn-ext list-methods``.
        layer: a dotted name, for methods that explain a layer; None is the last convolution stage.
        seed: of random numbers.

    Raises:
        ArgumentError: there is no such method or layer, or it explains several layers at once.

    Example (needs Quantus)::

        quantus.Sparseness()(model=model, x_batch=x, y_batch=y, a_batch=None,
                             explain_func=explain_func("LayerHiResCam", "layer4"))
    """
    (known,) = find_methods([method])
    if known.at not in (LAYER, "input"):
        raise ArgumentError(f"method={method!r}: it explains several layers at once")

    def explain(
        model: nn.Module, inputs: Array, targets: Array, **_: Any
    ) -> npt.NDArray[np.float32]:
        home = next(model.parameters())
        x = torch.as_tensor(np.asarray(inputs)).to(home.device, home.dtype)
        layers = [layer or default_layers(model, x[:1])[0][-1].name] if known.at == LAYER else []
        call = call_of(known, model, x, layers, seed)
        maps = as_maps(call.maps(x, np.asarray(targets).reshape(-1).tolist()), x)
        return np.asarray(maps[:, None].float().cpu().numpy())

    return explain
