"""Residual sums ``x + f(x)``, and how much of a gradient goes back through the branch f.

They are read off the autograd graph of one forward pass, where each is an addition of x itself and
of what is computed from it with weights; the hooks are on nodes of this graph and end with it.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.backward.autograd_graph import LINEAR, kind, nodes_before

# A sum such as x + 0.04 x^3 in an activation has none of these between x and its other operand.
_WEIGHTED = (
    *LINEAR,
    *("Bmm", "Baddbmm", "Mv", "Addmv", "Convolution", "MkldnnConvolution", "CudnnConvolution"),
    *("NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "NativeLayerNorm", "NativeGroupNorm"),
)

_Edge = tuple[Any, int]


def hold_back_branches(start: Tensor, ends: Iterable[Tensor], share: float) -> int:
    """In this graph's backward pass, let a residual branch have ``share`` of its gradient.

    Args:
        start: what the forward pass began with, in the graph.
        ends: what it gave.
        share: what each branch's gradient is multiplied by; that of x stays whole.

    Returns:
        how many residual sums there are; x + f(x) + g(x) are two.
    """
    if not start.requires_grad:
        return 0
    first = torch.autograd.graph.get_gradient_edge(start).node
    nodes = nodes_before([end for end in ends if end.requires_grad], [first])
    sums = sorted((n for n in nodes if kind(n) == "Add"), key=lambda node: node._sequence_nr())
    origins: dict[Any, _Edge] = {}
    for node in sums:
        place = _branch(node, first, origins)
        if place is not None:
            node.register_hook(partial(_held_back, place, share))
    return len(origins)


def _branch(node: Any, first: Any, origins: dict[Any, _Edge]) -> int | None:
    """Which operand of a sum is computed from the other one, if either is.

    Or from the x of the other one, where that is a residual sum itself; ``origins`` has these x.
    """
    edges = node.next_functions
    if len(edges) != 2 or any(parent is None for parent, _ in edges):
        return None
    for place in (1, 0):
        other = edges[1 - place]
        for x in (other, origins.get(other[0])):
            if x is not None and _computed_from(edges[place][0], x, first):
                origins[node] = x
                return place
    return None


def _computed_from(branch: Any, x: _Edge, first: Any) -> bool:
    """Whether a path leads from ``branch`` back to x, past an operation with weights."""
    # A leaf's number is the largest there is. It is older than all, if it is not a parameter.
    age = -1 if x[0] is first and kind(first) == "AccumulateGrad" else x[0]._sequence_nr()
    if branch._sequence_nr() <= age:
        return False
    begin = (branch, _weighted(branch))
    seen, todo = {begin}, [begin]
    while todo:
        node, passed = todo.pop()
        for edge in node.next_functions:
            if edge == x:
                if passed:
                    return True
            elif edge[0] is not None and edge[0]._sequence_nr() > age:
                parent = (edge[0], passed or _weighted(edge[0]))
                if parent not in seen:
                    seen.add(parent)
                    todo.append(parent)
    return False


def _weighted(node: Any) -> bool:
    # what a function in Python computes, such as a compiled or checkpointed part, is not known
    return kind(node) in _WEIGHTED or hasattr(node, "_forward_cls")


def _held_back(
    place: int, share: float, outgoing: Sequence[Tensor | None], incoming: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    return tuple(g * share if i == place and g is not None else g for i, g in enumerate(outgoing))
