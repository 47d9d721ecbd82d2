"""What autograd recorded between two places of a forward pass."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def operations_between(starts: Sequence[Tensor], end: Tensor) -> list[str]:
    """The names of the autograd nodes on the paths from ``starts`` to ``end``, end first.

    For example ["SelectBackward0", "AddmmBackward0", "ViewBackward0", "MeanBackward1"].
    """
    # of a leaf, the node is the one that would accumulate its gradient
    first = {id(torch.autograd.graph.get_gradient_edge(tensor).node) for tensor in starts}
    users: dict[int, list[Any]] = {}
    nodes: dict[int, Any] = {}
    todo = [end.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or id(node) in nodes or id(node) in first:
            continue
        nodes[id(node)] = node
        for parent, _ in node.next_functions:
            users.setdefault(id(parent), []).append(node)
            todo.append(parent)
    on_path: set[int] = set()
    todo = [user for node in first for user in users.get(node, [])]
    while todo:
        node = todo.pop()
        if id(node) not in on_path:
            on_path.add(id(node))
            todo.extend(users.get(id(node), []))
    return [node.name() for key, node in nodes.items() if key in on_path]
