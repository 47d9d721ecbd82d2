"""Residual sums ``x + f(x)``, and how much of a gradient goes back through the branch f.

They are read off the autograd graph of one forward pass, so that it does not matter how they were
written; the hooks are on nodes of this graph and end with it.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.backward.autograd_graph import kind, nodes_before


def hold_back_branches(start: Tensor, ends: Iterable[Tensor], share: float) -> int:
    """In this graph's backward pass, let a residual branch have ``share`` of its gradient.

    Args:
        start: what the forward pass began with, in the graph.
        ends: what it gave.
        share: what each branch's gradient is multiplied by; that of x stays whole.

    Returns:
        how many residual sums there are.
    """
    if not start.requires_grad:
        return 0
    first = torch.autograd.graph.get_gradient_edge(start).node
    found = 0
    for node in nodes_before([end for end in ends if end.requires_grad], [first]):
        place = _branch(node)
        if place is not None:
            node.register_hook(partial(_held_back, place, share))
            found += 1
    return found


def _branch(node: Any) -> int | None:
    """Which operand of a sum is computed from the other one, if either is."""
    edges = node.next_functions
    if kind(node) != "Add" or len(edges) != 2 or any(parent is None for parent, _ in edges):
        return None
    ages = [parent._sequence_nr() for parent, _ in edges]
    later = 0 if ages[0] > ages[1] else 1
    (parent, _), x = edges[later], edges[1 - later]
    seen, todo = {parent}, [parent]
    while todo:
        for edge in todo.pop().next_functions:
            if edge == x:
                return later
            if edge[0] is not None and edge[0] not in seen and edge[0]._sequence_nr() > min(ages):
                seen.add(edge[0])
                todo.append(edge[0])
    return None


def _held_back(
    place: int, share: float, outgoing: Sequence[Tensor | None], incoming: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    return tuple(g * share if i == place and g is not None else g for i, g in enumerate(outgoing))
