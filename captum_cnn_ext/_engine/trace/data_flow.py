"""Which module's output goes into which module: the graph of one forward pass."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from captum_cnn_ext._engine.trace.forward_trace import (
    End,
    Left,
    ModuleCall,
    Operation,
    Start,
    Trace,
    Value,
)
from captum_cnn_ext._engine.trace.layer_calls import SAME_VALUES
from captum_cnn_ext._engine.trace.trace_recorder import trace_of

# what only looks at a tensor in another way is no step of its own
_PASSED_THROUGH = {*SAME_VALUES, "slice", "select", "split", "chunk", "split_with_sizes", "unbind"}
_PASSED_THROUGH |= {"lift_fresh", "_reshape_alias"}


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

    def add(self, kind: str, path: str, text: str, shape: tuple[int, ...] = ()) -> FlowNode:
        node = FlowNode(len(self.nodes), kind, path, text, shape)
        self.nodes.append(node)
        return node

    def connect(self, start: FlowNode, end: FlowNode) -> None:
        if start is not end:
            self.edges[start.number, end.number] = None


def flow_of(model: nn.Module, image: Tensor, depth: int | None) -> Flow:
    """The graph of a forward pass; modules nested deeper than ``depth`` are drawn as one.

    Raises:
        ValueError: the model cannot run on such an image, or runs in several threads.
    """
    trace = trace_of(model, [image])
    if trace.elsewhere:
        raise ValueError(f"model: {trace.elsewhere}, where its operations are not followed")
    flow = Flow()
    origin: dict[Value, FlowNode] = {}  # of every value that the image has a part in
    for value in trace.inputs:
        origin[value] = flow.add("input", "", "input", value.shape)
    whole = _drawn_whole(trace, depth)
    nodes: dict[ModuleCall, FlowNode] = {}
    exits: set[tuple[str, int]] = set()
    for event in trace.events:
        if isinstance(event, End) and event.call in nodes:
            node = nodes[event.call]
            for value in event.call.outputs:
                if origin.get(value) is node:
                    node.shape = value.shape
        elif isinstance(event, Left) and event.name:
            around = whole.get(event.module) if event.module else None
            path = around.path.rpartition(".")[0] if around else _path(event.module)
            for source in [origin[v] for v in event.sources if v in origin]:
                if (event.name, source.number) not in exits:  # values leave here, nothing follows
                    exits.add((event.name, source.number))
                    text = f"{event.name}: leaves the graph"
                    flow.connect(source, flow.add("operation", path, text))
        elif isinstance(event, Operation) and event.outputs:
            # and what was written into the memory that it reads, through a view
            written = (new for writer in event.stale for _, new in writer.written)
            sources = [origin[value] for value in (*event.reads, *written) if value in origin]
            if sources:
                node = _node(flow, event, whole, nodes, sources)
                for value in event.outputs:
                    origin[value] = node
                    if node.kind == "operation":
                        node.shape = node.shape or value.shape
                for source in sources:
                    flow.connect(source, node)
    for value in trace.outputs:
        if value in origin:
            flow.connect(origin[value], flow.add("output", "", "output", value.shape))
    return flow


def _drawn_whole(trace: Trace, depth: int | None) -> dict[ModuleCall, ModuleCall]:
    """For every call inside one that is drawn as one node: that outer call."""
    found: dict[ModuleCall, ModuleCall] = {}
    whole: ModuleCall | None = None
    for event in trace.events:
        if isinstance(event, Start):
            call = event.call
            deep = depth is not None and call.path.count(".") + 1 >= depth
            if (
                whole is None
                and call.path
                and (deep or not any(True for _ in call.module.children()))
            ):
                whole = call
            if whole is not None:
                found[call] = whole
        elif isinstance(event, End) and event.call is whole:
            whole = None
    return found


def _node(
    flow: Flow,
    operation: Operation,
    whole: dict[ModuleCall, ModuleCall],
    nodes: dict[ModuleCall, FlowNode],
    sources: list[FlowNode],
) -> FlowNode:
    """The node that an operation belongs to, new if it is the first there."""
    around = operation.module
    if around is not None and around in whole:
        call = whole[around]
        if call not in nodes:  # the first thing it computes
            node = nodes[call] = flow.add("module", call.path, type(call.module).__name__)
            node.parameters = sum(p.numel() for p in call.module.parameters())
            node.call = call.index
        return nodes[call]
    if operation.name in _PASSED_THROUGH:
        return sources[0]
    return flow.add("operation", _path(around), operation.name.strip("_"))


def _path(call: ModuleCall | None) -> str:
    return call.path if call else ""
