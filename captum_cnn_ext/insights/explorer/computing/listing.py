"""The layers that can be looked at, as a table: what they are, what they give."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.trace.trace_recorder import trace_of
from captum_cnn_ext.attr import suggest_layers
from captum_cnn_ext.attr.layers.reshape_transform import channel_maps
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence import layer_table
from captum_cnn_ext.evidence.structure.layer_rows import LayerRow, plain

# their maps are those of the layer before
_SHOW_NOTHING_NEW = re.compile(r"Identity$|Dropout|Pad\dd$|^Flatten$")


@dataclass(frozen=True)
class ExploredLayer:
    """A row of the table.

    Args:
        name: the dotted name.
        kind: its class; what follows it, where that is an activation.
        settings: kernel, stride and so on in words.
        shape: (C, *positions) of its maps for one image.
        parameters: how many are its own.
        calls: how often it runs; its last call is shown.
        stage: whether it ends a stage of the network, a good place to begin.
    """

    name: str
    kind: str
    settings: str
    shape: tuple[int, ...]
    parameters: int
    calls: int
    stage: bool

    @property
    def size(self) -> str:
        """The shape in words."""
        return "×".join(map(str, self.shape))

    @property
    def last_call(self) -> int | None:
        """The number of its last call, where it has several."""
        return self.calls - 1 if self.calls > 1 else None


def explored_layers(model: nn.Module, image: Tensor) -> list[ExploredLayer]:
    """The layers that give maps or single units, in the order in which they run.

    Layers of tokens or channels-last maps are there where their layout is certain.

    Args:
        image: one network input, (1, C, H, W).

    Raises:
        ArgumentError: there is none.
    """
    calls: dict[str, list[tuple[int, ...]]] = {}
    for call in trace_of(model, [image]).finished:
        calls[call.path] = [*calls.pop(call.path, []), call.shape]  # at its last call
    try:
        table = {row.name: row for row in layer_table(model, image)}
    except (ValueError, RuntimeError):  # the model could not be followed without computing
        table = {}
    try:
        stages = {stage.name for stage in suggest_layers(model, image)}
    except ArgumentError:  # no convolution stage, as in transformers
        stages = set()
    modules = dict(model.named_modules())
    layers = []
    for name, shapes in calls.items():  # in the order in which they finish
        kind = type(modules[name]).__name__
        leaf = not any(True for _ in modules[name].children())
        if not name or not (name in table or name in stages or leaf):
            continue
        if _SHOW_NOTHING_NEW.search(kind) and name not in stages:
            continue
        shape = _maps_of(shapes[-1], image, name)
        if shape is not None:
            row = table.get(name)
            layers.append(
                ExploredLayer(
                    name,
                    f"{kind} + {row.activation}" if row is not None and row.activation else kind,
                    _settings(row),
                    shape,
                    row.parameters if row is not None else 0,
                    len(shapes),
                    name in stages,
                )
            )
    if not layers:
        raise ArgumentError(f"model: {type(model).__name__} has no layer that gives maps of units")
    return layers


def _maps_of(shape: tuple[int, ...], image: Tensor, name: str) -> tuple[int, ...] | None:
    """(C, *positions) of a layer's output; None where it has no channels or they are in doubt."""
    if len(shape) not in (2, 3, 4) or shape[0] != len(image):
        return None
    try:
        maps = channel_maps(torch.empty(shape, device="meta"), (image,), name, None)
    except ArgumentError:
        return None
    found = tuple(maps.shape[1:])
    return found if len(found) in (1, 3) and 0 not in found else None


def _settings(row: LayerRow | None) -> str:
    if row is None or not row.kernel:
        return ""
    words = [plain(row.kernel)]
    words += [f"stride {plain(row.stride)}"] if set(row.stride) - {1} else []
    words += [f"dilation {plain(row.dilation)}"] if set(row.dilation) - {1} else []
    words += [f"{row.groups} groups"] if row.groups and row.groups > 1 else []
    return ", ".join(words)
