"""Sort the non-linear operations of a graph: rectifiers, switches, gates, and what is not known.

A backward rule is right only if it meets every rectifier. The forward pass tells all of them apart
by their autograd nodes, whether they were modules, functions or in-place calls; nothing that is
not recognised is passed over in silence.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.backward.autograd_graph import RESHAPING, kind, nodes_between
from captum_cnn_ext._engine.backward.operation_kinds import (
    HARD,
    LINEAR,
    OPAQUE,
    PLAIN,
    POINTWISE,
    PRODUCTS,
    SMOOTH,
    SWITCHES,
    WRITTEN_SILU,
)
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.warn_user import warn_user
from captum_cnn_ext.errors import ArgumentError


@dataclass(frozen=True)
class Coverage:
    """What a backward rule met between the inputs and the layer or score.

    Args:
        rectifiers: activations that follow the rule, with how many of each.
        switches: max-poolings, whose recorded places the reconstruction follows.
        gates: products of two signals (squeeze-and-excitation, attention, response
            normalisation); the gradient passes through both factors.
        plain: other smooth operations (tanh, softmax, layer norm); their gradient passes.
        unknown: operations that may be a rectifier in disguise; their plain gradient was used,
            and a warning said so.
    """

    rectifiers: Mapping[str, int]
    switches: int
    gates: Mapping[str, int]
    plain: Mapping[str, int]
    unknown: Mapping[str, int]

    __repr__ = brief

    def warn_of_unknown(self, caller: str) -> None:
        """A warning when something may have escaped the rule."""
        if self.unknown:
            warn_user(
                f"{caller}: the rule was not applied to {_counted(self.unknown)}: not known to be "
                "a rectifier, not known not to be one, so its plain gradient was used. Write the "
                "activation with torch's own (torch.nn.functional.relu, silu, ...), or read the "
                "result with that in mind."
            )


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in kinds.items())


@dataclass(frozen=True)
class ClassifiedNodes:
    """What lies between the inputs and the output of one graph.

    Args:
        rectifiers: the rectifiers' nodes, each with its kind.
        coverage: how many operations of which kind there are.
        writes_into_views: some in-place operation wrote into a view, which hides its node.
    """

    rectifiers: list[tuple[Any, str]]
    coverage: Coverage
    writes_into_views: bool


def classify_nodes(inputs: Sequence[Tensor], output: Tensor) -> ClassifiedNodes:
    """What lies between ``inputs`` and ``output``.

    Raises:
        ArgumentError: a part of the graph is compiled or scripted and cannot be seen.
    """
    nodes = nodes_between(inputs, output)
    starts = [torch.autograd.graph.get_gradient_edge(tensor).node for tensor in inputs]
    on_path = {id(node) for node in (*nodes, *starts)}
    rectifiers: list[tuple[Any, str]] = []
    writes_into_views = False
    counts: dict[str, Counter[str]] = {
        name: Counter() for name in ("switch", "gate", "plain", "unknown")
    }
    for node in nodes:
        name = kind(node)
        if any([part in name for part in OPAQUE]):
            raise ArgumentError(
                f"forward_func: {node.name()} hides the rectifiers of a compiled or scripted part "
                "of the model; pass the original torch.nn.Module"
            )
        factors = [id(parent) in on_path for parent, _ in node.next_functions].count(True)
        writes_into_views = writes_into_views or name == "CopySlices"
        category = _category(node, name, factors)
        if category == "rectifier":
            rectifiers.append((node, WRITTEN_SILU if name == "Mul" else name))
        elif category != "linear":
            counts[category][name] += 1
    coverage = Coverage(
        rectifiers=dict(Counter(name for _, name in rectifiers)),
        switches=counts["switch"].total(),
        gates=dict(counts["gate"]),
        plain=dict(counts["plain"]),
        unknown=dict(counts["unknown"]),
    )
    return ClassifiedNodes(rectifiers, coverage, writes_into_views)


def is_rectified(tensor: Tensor) -> bool:
    """Whether a rectifier, and at most reshaping after it, gave this tensor."""
    node = tensor.grad_fn
    while node is not None and kind(node) in RESHAPING and len(node.next_functions) == 1:
        node = node.next_functions[0][0]
    return node is not None and _category(node, kind(node), len(node.next_functions)) == "rectifier"


def _category(node: Any, name: str, factors: int) -> str:
    """ "rectifier", "switch", "gate", "plain", "linear" or "unknown"."""
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        moves = {"Scatter", "Gather", "Broadcast"}  # DataParallel's own
        return "linear" if name in moves else "unknown"
    if name == "Maximum" and factors == 2:
        return "switch"
    if name in HARD:
        return "rectifier" if _rectifies(node, name) else "unknown"
    if name in SMOOTH:
        return "rectifier"
    if name in SWITCHES:
        return "switch"
    if name.startswith("ScaledDotProduct"):
        return "gate"
    if name in PLAIN:
        return "plain"
    if name in PRODUCTS:
        return _category_of_product(node, name, factors)
    return "linear" if name in LINEAR else "unknown"


def _rectifies(node: Any, name: str) -> bool:
    """Whether a clamp or a maximum is a ReLU or a ReLU6; the others of its family always are."""
    if name == "ClampMin":
        return _is_zero(getattr(node, "_saved_min", None))
    if name == "Clamp":
        return _is_zero(node._saved_min)
    if name == "Maximum":
        signal_first = node.next_functions[0][0] is not None
        return _is_zero(node._saved_other if signal_first else node._saved_self)
    return True


def _is_zero(bound: Any) -> bool:
    if isinstance(bound, Tensor):
        return not bool(bound.any())
    return bound is not None and bound == 0


def _category_of_product(node: Any, name: str, factors: int) -> str:
    if factors < 2:
        return "unknown" if name == "Mul" and _masks(node) else "linear"
    if name not in ("Mul", "Div"):
        return "gate"
    (first, first_nr), (second, second_nr) = node.next_functions[:2]
    for (own, nr), other in (((first, first_nr), second), ((second, second_nr), first)):
        if name == "Mul" and kind(other) == "Sigmoid" and other.next_functions[0] == (own, nr):
            return "rectifier"
    shared = _pointwise_sources(first, first_nr) & _pointwise_sources(second, second_nr)
    return "unknown" if shared else "gate"


def _masks(node: Any) -> bool:
    """A product with a full mask of 0 and 1, as in x * (x > 0); a dropout mask has other values."""
    own = node.next_functions[0][0] is not None
    mask = node._saved_other if own else node._saved_self
    if not isinstance(mask, Tensor) or mask.ndim < 2 or mask.numel() <= max(mask.shape):
        return False
    return mask.dtype == torch.bool or bool(((mask == 0) | (mask == 1)).all() & (mask == 0).any())


def _pointwise_sources(node: Any, number: int) -> set[tuple[Any, int]]:
    """The signals that (node, number) is a function of, position by position."""
    found: set[tuple[Any, int]] = set()
    todo = [(node, number)]
    while todo:
        edge = todo.pop()
        if edge[0] is None or edge in found or len(found) > 64:
            continue
        found.add(edge)
        if kind(edge[0]) in POINTWISE:
            todo.extend(edge[0].next_functions)
    return found
