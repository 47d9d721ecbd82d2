"""Layers worth looking at when the user names none."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import Layer, find_layer, layer_name
from captum_cnn_ext._engine.judging.output_targets import is_function
from captum_cnn_ext.attr import LayerFeatureMaps, LayerSuggestion, suggest_layers
from captum_cnn_ext.errors import ArgumentError

EARLIER_STAGES = 2


@dataclass(frozen=True)
class ChosenLayer:
    """A layer of the audit: its dotted name and the shape of its output for one image.

    ``reason`` says in a clause why it was chosen; empty where it was named.
    """

    name: str
    shape: tuple[int, ...]
    reason: str = ""

    @property
    def label(self) -> str:
        """Name and shape for headings."""
        return f"{self.name} ({' × '.join(map(str, self.shape))})"


def named_layers(model: nn.Module, layers: Sequence[Layer], image: Tensor) -> list[ChosenLayer]:
    """The layers that the user named, with their shapes.

    Raises:
        ArgumentError: a layer is not in the model, not reached, or gives no single tensor.
    """
    modules = {id(m): m for m in (find_layer(model, layer, "layers") for layer in layers)}
    outputs = LayerFeatureMaps(model, list(modules.values())).attribute(image)
    chosen = []
    for module, output in zip(modules.values(), outputs, strict=True):
        name = layer_name(model, module)
        if not isinstance(output, Tensor):
            raise ArgumentError(
                f"layers: {name!r} gives {len(output)} tensors; choose a layer that gives one"
            )
        chosen.append(ChosenLayer(name, tuple(output.shape[1:])))
    return chosen


def default_layers(
    model: nn.Module, images: Tensor, targets: Sequence[Any] | None = None
) -> tuple[list[ChosenLayer], str]:
    """The end of the last convolution stage and of up to two before it, first stage first.

    With the target of each image they are layers that its score depends on, where it has a
    gradient; of classes the first image tells.

    Returns:
        the layers, and the reason in words.

    Raises:
        ArgumentError: none can be suggested.
    """
    try:
        found = _suggested(model, images, targets)[: EARLIER_STAGES + 1]
    except ArgumentError as error:
        raise ArgumentError(f"layers: none can be chosen, name them ({error})") from error
    chosen = [
        ChosenLayer(layer.name, layer.shape[1:], layer.reason.partition(":")[0])
        for layer in reversed(found)
    ]
    return chosen, _reason(found)


def _suggested(
    model: nn.Module, images: Tensor, targets: Sequence[Any] | None
) -> list[LayerSuggestion]:
    rows = slice(None) if is_function(targets) else slice(0, 1)
    with suppress(ArgumentError):  # without a gradient a method of changed maps may serve still
        if targets is not None:
            return suggest_layers(model, images[rows], list(targets)[rows])
    return suggest_layers(model, images[:1])


def _reason(chosen: list[LayerSuggestion]) -> str:
    def name(layer: LayerSuggestion) -> str:
        return f"{layer.name} ({' × '.join(map(str, layer.shape[2:]))})"

    last, *earlier = chosen
    text = f"No layers were named. Chosen: {name(last)}, which {last.reason}"
    if earlier:
        text += ", and the ends of the stages before it: "
        text += ", ".join(name(layer) for layer in reversed(earlier))
    return f"{text}."
