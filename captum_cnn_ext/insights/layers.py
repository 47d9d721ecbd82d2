"""Layers worth looking at when the user names none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from captum_cnn_ext._engine.arguments import ArgumentError, Layer, find_layer, layer_name
from captum_cnn_ext._engine.module_calls import ModuleCall, module_calls
from captum_cnn_ext.attr import LayerFeatureMaps

EARLIER_STAGES = 2
# a block that ends in one of these has already left its stage
_RESIZES = ("Pool", "Pad", "Flatten", "Upsample")
# a layer of one of these kinds passes on what another layer made
_PASSES_ON = ("Dropout", "Identity", "DropPath", "StochasticDepth")

MapSize = tuple[int, int]


@dataclass(frozen=True)
class ChosenLayer:
    """A layer of the audit: its dotted name and the shape of its output for one image."""

    name: str
    shape: tuple[int, ...]

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


@dataclass(frozen=True)
class _Candidate:
    """A module's last call: the place at which it ends, the size of its map, whether a block."""

    name: str
    end: int
    size: MapSize
    is_block: bool

    @property
    def area(self) -> int:
        return self.size[0] * self.size[1]

    @property
    def depth(self) -> int:
        return self.name.count(".")


def default_layers(model: nn.Module, image: Tensor) -> tuple[list[ChosenLayer], str]:
    """The last layer that gives maps and the stages before it, with the reason in words.

    Raises:
        ArgumentError: no layer of the model gives maps (N, C, H, W).
    """
    try:
        calls = module_calls(model, [image]).calls
    except ValueError as error:
        raise ArgumentError(f"layers: none can be chosen, name them ({error})") from error
    candidates = _candidates(calls, image)
    if not candidates:
        raise ArgumentError(
            "layers: no layer of this model gives maps (N, C, H, W) larger than 1 x 1, so none "
            "can be chosen; name the layers to explain"
        )
    # of several that end together the outermost comes first
    last = max(candidates, key=lambda c: c.end)
    chosen = [last]
    while len(chosen) <= EARLIER_STAGES:
        larger = [c for c in candidates if c.area > chosen[0].area and c.end < chosen[0].end]
        if not larger:
            break
        size = max(larger, key=lambda c: c.end).size
        stage = [c for c in larger if c.size == size]
        blocks = [c for c in stage if c.is_block] or stage
        depth = min(c.depth for c in blocks)  # the outermost blocks, not what is inside the next
        chosen.insert(0, max((c for c in blocks if c.depth == depth), key=lambda c: c.end))
    layers = named_layers(model, [candidate.name for candidate in chosen], image)
    return layers, _reason(chosen)


def _candidates(calls: Sequence[ModuleCall], image: Tensor) -> list[_Candidate]:
    """The last call of each module that gives one map for the image."""
    last = {call.path: place for place, call in enumerate(calls)}
    found = []
    for path, place in last.items():
        end = place
        while end + 1 < len(calls) and calls[end + 1].path.startswith(f"{path}."):
            end += 1
        size = _map_size(calls[place].output_shapes, image)
        final, is_block = type(calls[end].module).__name__, end > place
        unfit = _RESIZES if is_block else (*_RESIZES, *_PASSES_ON)
        if path and size is not None and not any(word in final for word in unfit):
            found.append(_Candidate(path, end, size, is_block))
    return sorted(found, key=lambda c: last[c.name])


def _map_size(shapes: tuple[tuple[int, ...], ...], image: Tensor) -> MapSize | None:
    """Height and width of a call's one map, if these have the image's proportions."""
    if len(shapes) != 1 or len(shapes[0]) != 4:
        return None
    height, width = shapes[0][2:]
    skew = abs(height * image.shape[3] - width * image.shape[2])
    return None if height * width <= 1 or skew > max(image.shape[2:]) else (height, width)


def _reason(chosen: list[_Candidate]) -> str:
    def name(layer: _Candidate) -> str:
        return f"{layer.name} ({layer.size[0]} × {layer.size[1]})"

    *earlier, last = chosen
    text = f"No layers were named. Chosen: {name(last)}, the last layer whose output is still a map"
    if earlier:
        text += ", and the last block or layer at each resolution before it: "
        text += ", ".join(map(name, earlier))
    return f"{text}."
