"""Layers of ``torch.fx`` graphs and exported programs, whose containers are never called.

``torch.fx.symbolic_trace`` keeps the calls of the smallest modules, ``torch.export`` keeps none.
What a module computed is still known: the nodes remember the modules that they came from. A layer
is then the nodes that ended the module's calls, or any node by its own name.
"""

import copy
from collections.abc import Callable
from types import MethodType
from typing import Any, cast

import torch
from torch import fx, nn

from captum_cnn_ext.errors import ArgumentError, nearest


class NodeLayer(nn.Module):
    """Stands for nodes of a graph where a module is expected; called with each one's value.

    It is no part of the graph module, which calls it only with :func:`observing_forward`.
    """

    def __init__(self, graph_module: fx.GraphModule, names: list[str], label: str) -> None:
        super().__init__()
        self.label, self.names = label, names
        self._holder = [graph_module]  # in a list: not registered as a submodule
        self.compiled: tuple[Any, Callable[..., Any]] | None = None  # the last forward, for what

    @property
    def graph_module(self) -> fx.GraphModule:
        return self._holder[0]

    def forward(self, value: Any) -> Any:
        return value


def observing_forward(
    graph_module: fx.GraphModule, layers: tuple[NodeLayer, ...]
) -> Callable[..., Any]:
    """The graph module's forward that also hands the nodes' values to these layers."""
    known, key = layers[-1].compiled, (layers, graph_module.code)
    if known is None or known[0] != key:
        known = layers[-1].compiled = key, _compile(graph_module, layers)
    return MethodType(known[1], graph_module)


def _compile(graph_module: fx.GraphModule, layers: tuple[NodeLayer, ...]) -> Callable[..., Any]:
    graph = copy.deepcopy(graph_module.graph)
    for node in list(graph.nodes):
        for layer in layers:
            if node.name in layer.names:
                with graph.inserting_after(node):
                    seen = graph.call_function(_caller(layer), (node,))
                node.replace_all_uses_with(seen, lambda user, seen=seen: user is not seen)
    code = graph.python_code("self")
    namespace = dict(code.globals)
    exec(code.src, namespace)  # as GraphModule.recompile does with its own code
    forward: Any = namespace["forward"]
    forward.node_layers = layers
    return cast("Callable[..., Any]", forward)


def _caller(layer: NodeLayer) -> Callable[..., Any]:
    def observed_node(value: Any) -> Any:
        return layer(value)

    return observed_node


def node_layer(root: nn.Module, name: str) -> NodeLayer | None:
    """The layer that ``name`` means in a graph module in ``root``; None: it is an ordinary one.

    Raises:
        ArgumentError: the module was inlined and its nodes are not known, or its call gave several
            values, or no module and no node has that name.
    """
    found = _graph_module(root, name)
    if found is None:
        return None
    graph_module, inner = found
    nodes = list(graph_module.graph.nodes)
    called = {str(node.target) for node in nodes if node.op == "call_module"}
    if any(inner == target or inner.startswith(f"{target}.") for target in called):
        return None
    ends = _ends(nodes, inner)
    if ends:
        return NodeLayer(graph_module, ends, name)
    values = [node.name for node in nodes if node.op not in ("output", "get_attr")]
    if inner in values:
        return NodeLayer(graph_module, [inner], name)
    paths = {path for node in nodes for path, _ in _stack(node).items() if path}
    raise ArgumentError(
        f"layer={name!r}: the model is a torch.fx graph ({type(root).__name__}), where this is "
        "neither the path of a module that the graph came from nor the name of a node"
        f"{nearest(inner.replace('.', '_'), values) or nearest(inner, paths)}. "
        "[node.name for node in model.graph.nodes] lists the nodes."
    )


def has_inlined_biases(module: nn.Module) -> bool:
    """Whether this is a graph whose code adds biases itself, as that of an exported program."""
    return isinstance(module, fx.GraphModule) and any(
        node.op == "get_attr" and str(node.target).rpartition(".")[2] == "bias"
        for node in module.graph.nodes
    )


def _graph_module(root: nn.Module, name: str) -> tuple[fx.GraphModule, str] | None:
    """The outermost graph module on the way to ``name``, and the rest of the name in it."""
    parts = name.split(".")
    module: nn.Module | None = root
    for depth, part in enumerate(parts):
        if isinstance(module, fx.GraphModule):
            return module, ".".join(parts[depth:])
        if module is None or isinstance(module, torch.jit.ScriptModule):
            return None
        module = module._modules.get(part)
    return None


def _stack(node: fx.Node) -> dict[str, tuple[str, ...]]:
    """The paths of the modules that a node came from; each with the call's own key."""
    keys: tuple[str, ...] = ()
    found = {}
    for key, entry in (node.meta.get("nn_module_stack") or {}).items():
        keys = (*keys, str(key))
        path = entry[0] if isinstance(entry, tuple) else key
        found[str(path)] = keys
    return found


def _ends(nodes: list[fx.Node], path: str) -> list[str]:
    """The names of the nodes that ended the module's calls, one for each."""
    calls: dict[tuple[str, ...], list[fx.Node]] = {}
    for node in nodes:
        if (call := _stack(node).get(path)) is not None and node.op not in ("get_attr", "output"):
            calls.setdefault(call, []).append(node)
    ends = []
    for members in calls.values():
        leaving = [n for n in members if any(user not in members for user in n.users)]
        if len(leaving) > 1:
            raise ArgumentError(
                f"layer={path!r}: this module of a torch.fx graph gives several values; name one "
                f"of its nodes: {', '.join(repr(n.name) for n in leaving)}"
            )
        ends += [n.name for n in leaving or members[-1:]]
    return ends
