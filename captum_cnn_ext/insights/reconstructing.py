"""Reconstructions by the rule that shows something: deconvnet where there are switches."""

import warnings
from typing import Any

from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import find_layer
from captum_cnn_ext.attr import DeconvNet, Reconstructions

AUTO = "auto"


def reconstructed(
    model: nn.Module, layer: str, inputs: Tensor, rule: str = AUTO, **options: Any
) -> tuple[Reconstructions, str]:
    """The reconstructions of a layer, and the rule that was used.

    "auto" is the deconvnet rule where max-poolings lie between the input and the layer. Without
    them its pictures would not depend on the photo, and the guided rule is used. Of an activation
    with a ceiling the maps before it are taken: at the ceiling it passes nothing back.
    """
    method = DeconvNet(model, layer)
    options.setdefault("attribute_to_neuron_input", saturates(model, layer))
    if rule != AUTO:
        return method.reconstruct(inputs, rule=rule, **options), rule
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = method.reconstruct(inputs, rule="deconvnet", **options)
    if found.coverage.switches:
        for warning in caught:
            warnings.warn(warning.message, warning.category, stacklevel=2)
        return found, "deconvnet"
    return method.reconstruct(inputs, rule="guided", **options), "guided"


def saturates(model: nn.Module, layer: str) -> bool:
    """Whether the layer is an activation with a ceiling, which its strongest units reach."""
    return isinstance(find_layer(model, layer), (nn.ReLU6, nn.Hardtanh, nn.Sigmoid, nn.Hardsigmoid))
