"""A network as a graph: DOT text, an SVG drawn offline, a TensorBoard graph."""

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext._engine.trace.data_flow import Flow, FlowNode, flow_of
from captum_cnn_ext._engine.trace.model_copy import copy_structure
from captum_cnn_ext._engine.whole_files import write_whole
from captum_cnn_ext._numbers import as_count_or_none
from captum_cnn_ext.errors import ArgumentError, install, needing
from captum_cnn_ext.evidence.structure.layer_table import InputSize, example_inputs
from captum_cnn_ext.evidence.structure.safe_svg import only_shapes

_SIGNS = {"add": "+", "mul": "×", "sub": "−", "div": "÷", "cat": "concatenate"}
_FILL = {"module": "#eef3fb", "operation": "#fdf3dc", "input": "#e4f3e4", "output": "#e4f3e4"}


@dataclass(frozen=True)
class ModelGraph:
    """Modules, the operations between them, and what goes where.

    ``nodes`` are in the order of execution; ``edges`` are pairs of their numbers.
    """

    model: str
    nodes: tuple[FlowNode, ...]
    edges: tuple[tuple[int, int], ...]

    __repr__ = brief

    def __str__(self) -> str:
        return f"{self.model}: {len(self.nodes)} nodes, {len(self.edges)} edges"

    def to_dot(self, links: Mapping[str, str] | None = None) -> str:
        """The graph in the DOT language; needs nothing else.

        Args:
            links: for paths of modules a place within the page, such as ``"#layer4"``.

        Raises:
            ArgumentError: a link that leads out of the page.
        """
        links = links or {}
        wrong = [link for link in links.values() if not link.startswith("#")]
        if wrong:
            raise ArgumentError(f"links: got {wrong[0]!r}; expected places in the page, '#...'")
        lines = [
            f"digraph {_quoted(self.model)} {{",
            "  graph [rankdir=TB, labeljust=l, nodesep=0.25, ranksep=0.3,"
            ' fontname="Helvetica", fontsize=10];',
            '  node [shape=box, style="filled,rounded", fontname="Helvetica", fontsize=10,'
            ' color="#8fa3bf", height=0.3];',
            '  edge [color="#5f6f85", arrowsize=0.6];',
            *self._clustered("", [node for node in self.nodes], links, 1),
            *(f"  n{start} -> n{end};" for start, end in self.edges),
            "}",
        ]
        return "\n".join(lines) + "\n"

    def _clustered(
        self, path: str, nodes: list[FlowNode], links: Mapping[str, str], level: int
    ) -> list[str]:
        """Nodes of one module, and a box for each module in it that holds several."""
        indent, lines = "  " * level, []
        inner: dict[str, list[FlowNode]] = {}
        for node in nodes:
            parent = _parent(node)
            rest = parent[len(path) + bool(path) :] if parent != path else ""
            if rest:
                below = f"{path}.{rest.split('.')[0]}".lstrip(".")
                inner.setdefault(below, []).append(node)
            else:
                lines.append(indent + _dot_node(node, links))
        for below, members in inner.items():
            link = f"; URL={_quoted(links[below])}" if below in links else ""
            lines += [
                f"{indent}subgraph {_quoted('cluster ' + below)} {{",
                f'{indent}  label={_quoted(below)}; color="#c3ccd9"; style=rounded{link};',
                *self._clustered(below, members, links, level + 1),
                f"{indent}}}",
            ]
        return lines

    def to_svg(
        self,
        path: str | os.PathLike[str] | None = None,
        links: Mapping[str, str] | None = None,
    ) -> str:
        """The graph drawn as SVG, offline; with ``path`` also written.

        Needs the extra ``graph`` (graphviz-pure), or a system Graphviz. Only shapes, texts and
        links within the page are let through.

        Raises:
            ImportError: neither is installed.
            RuntimeError: the drawing program failed.
        """
        program = _program()
        done = subprocess.run(
            [program, "-Tsvg"], input=self.to_dot(links).encode(), capture_output=True
        )
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip()[:300]
            raise RuntimeError(f"{Path(program).name} could not draw the graph: {reason}")
        text = only_shapes(done.stdout.decode())
        if path is not None:
            write_whole(Path(path), text.encode())
        return text

    def _repr_svg_(self) -> str | None:
        """The drawing; None, so that a notebook shows the text, where no program can draw."""
        try:
            return self.to_svg()
        except ImportError:
            return None


def model_graph(model: nn.Module, input_size: InputSize, depth: int | None = None) -> ModelGraph:
    """The graph of a network's forward pass: which module's output goes where.

    Residual sums, concatenations and other operations between modules are nodes of their own, so
    branches are visible; modules that compute nothing in evaluation mode (dropout, identity) are
    left out.

    Cost: one forward pass on the meta device, which computes nothing.

    Args:
        model: any network on images.
        input_size: 224, (224, 224), (3, 224, 224), (1, 3, 224, 224), or an example tensor.
        depth: modules nested deeper than this are drawn as one; None draws the innermost.

    Raises:
        ArgumentError: ``depth`` below 1, or several inputs.
        ValueError: the model cannot run on such an image.

    Example:
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.evidence import model_graph
        >>> print(model_graph(resnet18(), (3, 224, 224), depth=2))
        ResNet: 16 nodes, 15 edges
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    depth = as_count_or_none("depth", depth)
    inputs = example_inputs(model, input_size)
    if len(inputs) != 1:
        raise ArgumentError(f"input_size: expected one input, got {len(inputs)}")
    flow: Flow = flow_of(model, inputs[0], depth)
    return ModelGraph(type(model).__name__, tuple(flow.nodes), tuple(flow.edges))


def tensorboard_graph(
    model: nn.Module, input_size: InputSize, folder: str | os.PathLike[str]
) -> Path:
    """Write the network's graph for TensorBoard (``tensorboard --logdir FOLDER``).

    Cost: a trace of the model, some forward passes of a copy in evaluation mode on zeros.

    Args:
        model, input_size: as for `model_graph`.
        folder: where the event file goes.

    Raises:
        ImportError: TensorBoard is not installed.

    Example:
        >>> import tempfile, torch
        >>> from captum_cnn_ext.evidence import tensorboard_graph
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = tensorboard_graph(torch.nn.Conv2d(3, 2, 3), (3, 8, 8), folder)
        >>> file.name.startswith("events.out.tfevents")
        True
    """
    with needing("TensorBoard is not installed", "tensorboard"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            from torch.utils.tensorboard import SummaryWriter
    (image,) = example_inputs(model, input_size)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    zeros = torch.zeros(image.shape, dtype=image.dtype, device=device)
    with state_as_found(None, [zeros]), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's remarks on Python values in the model
        with SummaryWriter(str(folder)) as writer:  # type: ignore[no-untyped-call]
            writer.add_graph(copy_structure(model, False), zeros)  # type: ignore[no-untyped-call]
    return max(Path(folder).glob("events.out.tfevents*"), key=lambda p: p.stat().st_mtime_ns)


def _parent(node: FlowNode) -> str:
    return node.path.rpartition(".")[0] if node.kind == "module" else node.path


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def _dot_node(node: FlowNode, links: Mapping[str, str]) -> str:
    size = " × ".join(map(str, node.shape[1:]))
    if node.kind == "module":
        again = f" (call {node.call + 1})" if node.call else ""
        texts = [f"{node.path}{again}", f"{node.text}{f'  {size}' if size else ''}"]
    else:
        texts = [_SIGNS.get(node.text, node.text)]
        texts += [size] if size and node.kind != "operation" else []
    label = _quoted("\n".join(texts)).replace(" ", " ") if len(texts) == 1 else (
        '"' + "\\n".join(_quoted(t)[1:-1] for t in texts) + '"'
    )  # fmt: skip
    extra = ', shape=ellipse, style="filled", height=0.2' if node.kind == "operation" else ""
    link = f", URL={_quoted(links[node.path])}" if node.path in links else ""
    tip = f", tooltip={_quoted(f'{node.parameters:,} parameters')}" if node.parameters else ""
    return f'n{node.number} [label={label}, fillcolor="{_FILL[node.kind]}"{extra}{link}{tip}];'


def _program() -> str:
    beside = str(Path(sys.executable).parent)
    found = (
        shutil.which("graphviz-pure", path=beside)
        or shutil.which("graphviz-pure")
        or shutil.which("dot")
    )
    if found is None:
        raise ImportError(
            "drawing a graph needs graphviz-pure or Graphviz, and neither is installed: "
            f"{install('graph')}; to_dot() needs nothing"
        )
    return found
