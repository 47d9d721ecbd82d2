"""Which module's output goes into which module: the graph of one forward pass, on meta tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.following import Follower, in_layer, tensors_in
from captum_cnn_ext._engine.module_calls import copy_structure, module_calls
from captum_cnn_ext._engine.state import state_as_found

# what only looks at a tensor in another way is no step of its own
_PASSED_THROUGH = {
    *("view", "_unsafe_view", "permute", "transpose", "t", "unsqueeze", "squeeze", "expand"),
    *("detach", "alias", "clone", "_to_copy", "contiguous", "slice", "select", "split", "chunk"),
    *("split_with_sizes", "unbind", "lift_fresh", "_reshape_alias"),
}


@dataclass
class FlowNode:
    """A module call or an operation between modules; ``path`` is the module, or where it runs."""

    number: int
    kind: str  # input, module, operation, output
    path: str
    text: str
    shape: tuple[int, ...] = ()
    parameters: int = 0
    call: int = 0


@dataclass
class Flow:
    """Nodes in the order of execution, and edges between their numbers."""

    nodes: list[FlowNode] = field(default_factory=list)
    edges: dict[tuple[int, int], None] = field(default_factory=dict)


def flow_of(model: nn.Module, image: Tensor, depth: int | None) -> Flow:
    """The graph of a forward pass; modules nested deeper than ``depth`` are drawn as one.

    Raises:
        ValueError: the model cannot run on such an image.
    """
    model = getattr(model, "_orig_mod", model)
    with torch.inference_mode(False), torch.no_grad():
        try:
            twin = copy_structure(model, True)
            return _Flowing(twin, depth).run(torch.empty_like(image, device="meta"))
        except Exception:
            pass  # as in module_calls: run it for real
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        real = torch.zeros(image.shape, dtype=image.dtype, device=device)
        with state_as_found(None, [real]):
            try:
                return _Flowing(copy_structure(model, False), depth).run(real)
            except Exception:
                module_calls(model, [image])  # says which layer failed
                raise


class _Flowing(Follower):
    """Knows of every tensor the node it came out of."""

    def __init__(self, twin: nn.Module, depth: int | None) -> None:
        super().__init__()
        self.twin, self.depth = twin, depth
        self.flow = Flow()
        self.inside: list[str] = [""]
        self.calls: dict[str, int] = {}
        self.whole: FlowNode | None = None  # the module drawn as one that runs now
        self.whole_at = 0
        self.exits: set[tuple[str, int]] = set()  # by what, and from which node, values leave

    def run(self, image: Tensor) -> Flow:
        self.note(image, self._node("input", "", "input", tuple(image.shape)))
        for path, module in self.twin.named_modules():
            if path:
                module.register_forward_pre_hook(self._enter(path))
                module.register_forward_hook(self._leave())
        with self.reads, self:
            output = self.twin(image)
        for tensor in tensors_in(output):
            if tensor in self.known:
                node = self._node("output", "", "output", tuple(tensor.shape))
                self._edge(self.known[tensor], node)
        return self.flow

    def _node(self, kind: str, path: str, text: str, shape: tuple[int, ...] = ()) -> FlowNode:
        node = FlowNode(len(self.flow.nodes), kind, path, text, shape)
        self.flow.nodes.append(node)
        return node

    def _edge(self, start: FlowNode, end: FlowNode) -> None:
        if start is not end:
            self.flow.edges[start.number, end.number] = None

    def _enter(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            self.inside.append(path)
            deep = self.depth is not None and path.count(".") + 1 >= self.depth
            if self.whole is None and (deep or not any(True for _ in module.children())):
                self.whole = FlowNode(-1, "module", path, type(module).__name__)
                self.whole.parameters = sum(p.numel() for p in module.parameters())
                self.whole.call = self.calls.get(path, 0)
                self.calls[path] = self.whole.call + 1
                self.whole_at = len(self.inside)

        return hook

    def _leave(self) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if self.whole is not None and self.whole_at == len(self.inside):
                for tensor in tensors_in(output):
                    if self.known.get(tensor) is self.whole:
                        self.whole.shape = tuple(tensor.shape)
                self.whole = None
            self.inside.pop()

        return hook

    def where(self) -> str:
        return in_layer(self.inside[-1])

    def leaves(self, name: str, sources: Sequence[Tensor]) -> None:
        """A node where values leave the graph, with nothing behind it."""
        super().leaves(name, sources)
        path = self.inside[-1] if self.whole is None else self.whole.path.rpartition(".")[0]
        for origin in (self.known[source] for source in sources):
            if (name, origin.number) not in self.exits:
                self.exits.add((name, origin.number))
                self._edge(origin, self._node("operation", path, f"{name}: leaves the graph"))

    def follow(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], sources: Sequence[Tensor]
    ) -> Any:
        origins = [self.known[t] for t in sources]
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if not sources or next(tensors_in(result), None) is None:
            return result
        if self.whole is not None:
            node = self.whole
            if node.number < 0:  # the first thing it computes
                node.number = len(self.flow.nodes)
                self.flow.nodes.append(node)
        elif name in _PASSED_THROUGH:
            node = origins[0]
        else:
            node = self._node("operation", self.inside[-1], name.strip("_"))
        for tensor in tensors_in(result):
            self.note(tensor, node)
            if node.kind == "operation":
                node.shape = node.shape or tuple(tensor.shape)
        for origin in origins:
            self._edge(origin, node)
        return result
