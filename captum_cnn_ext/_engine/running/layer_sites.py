"""Places in a network that are looked at: a layer's output or input, at one of its calls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from captum_cnn_ext._engine.judging.arguments import layer_name
from captum_cnn_ext._engine.running.graph_nodes import NodeLayer
from captum_cnn_ext._engine.warn_user import warn_user
from captum_cnn_ext._numbers import as_count_or_none
from captum_cnn_ext.errors import ArgumentError


@dataclass(frozen=True)
class Site:
    """A place in a network: a layer's output or input, at one of its calls (None: the last).

    With ``every`` all calls are recorded, one after another, and none is no error.
    """

    module: nn.Module
    name: str
    at_input: bool = False
    call: int | None = None
    every: bool = False


def layer_sites(
    forward_func: Callable[..., Any],
    layer: nn.Module | list[nn.Module],
    at_input: bool,
    call: int | None,
) -> list[Site]:
    """The sites of a constructor's layer or layers, named for messages."""
    call = as_count_or_none("call", call, 0)
    modules = layer if isinstance(layer, list) else [layer]
    for module in modules:
        if at_input and isinstance(module, NodeLayer):
            raise ArgumentError(
                f"attribute_to_layer_input: {module.label!r} stands for nodes of a torch.fx graph, "
                "which have an output only; name the node before it as the layer"
            )
    return [Site(m, layer_name(forward_func, m), at_input, call) for m in modules]


def warn_last_call(site: Site, calls: int) -> None:
    """Say which call is meant where the user did not."""
    if site.call is None and calls > 1:
        warn_user(
            f"layer {site.name!r} is called {calls} times in one forward pass; the last call "
            f"is used. Pass call=0 to call={calls - 1} to choose."
        )
