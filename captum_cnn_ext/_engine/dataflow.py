"""Which module's output goes into which module: the graph of one forward pass, on meta tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import BaseTorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from captum_cnn_ext._engine.module_calls import copy_structure, module_calls, tensors_in
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
            return _Follower(twin, depth).run(torch.empty_like(image, device="meta"))
        except Exception:
            pass  # as in module_calls: run it for real
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        real = torch.zeros(image.shape, dtype=image.dtype, device=device)
        with state_as_found(None, [real]):
            try:
                return _Follower(copy_structure(model, False), depth).run(real)
            except Exception:
                module_calls(model, [image])  # says which layer failed
                raise


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers for every tensor the node it came out of."""

    def __init__(self, twin: nn.Module, depth: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.twin, self.depth = twin, depth
        self.flow = Flow()
        self.origin: Any = WeakIdKeyDictionary()
        self.inside: list[str] = [""]
        self.calls: dict[str, int] = {}
        self.whole: FlowNode | None = None  # the module drawn as one that runs now
        self.whole_at = 0

    def run(self, image: Tensor) -> Flow:
        self.origin[image] = self._node("input", "", "input", tuple(image.shape))
        for path, module in self.twin.named_modules():
            if path:
                module.register_forward_pre_hook(self._enter(path))
                module.register_forward_hook(self._leave())
        with BaseTorchFunctionMode(), self:
            output = self.twin(image)
        for tensor in tensors_in(output):
            if tensor in self.origin:
                node = self._node("output", "", "output", tuple(tensor.shape))
                self._edge(self.origin[tensor], node)
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
                    if self.origin.get(tensor) is self.whole:
                        self.whole.shape = tuple(tensor.shape)
                self.whole = None
            self.inside.pop()

        return hook

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        sources = [self.origin[t] for t in tensors_in((args, kwargs)) if t in self.origin]
        result = func(*args, **kwargs)
        if not sources:
            return result
        name = func.overloadpacket.__name__
        if self.whole is not None:
            node = self.whole
            if node.number < 0:  # the first thing it computes
                node.number = len(self.flow.nodes)
                self.flow.nodes.append(node)
        elif name in _PASSED_THROUGH:
            node = sources[0]
        else:
            node = self._node("operation", self.inside[-1], name.strip("_"))
        for tensor in tensors_in(result):
            self.origin[tensor] = node
            if node.kind == "operation":
                node.shape = node.shape or tuple(tensor.shape)
        for source in sources:
            self._edge(source, node)
        return result
