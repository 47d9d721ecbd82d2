"""What autograd recorded between two places of a forward pass."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# kinds of autograd nodes without "Backward0"; averaging ones by how their names begin
LINEAR = ("Addmm", "Mm", "Linear")
AVERAGING = ("Mean", "AdaptiveAvgPool", "AvgPool", "Sum")
RESHAPING = (
    *("View", "UnsafeView", "ReshapeAlias", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "T"),
    *("Permute", "Transpose", "Select", "Index", "Gather", "Slice", "Stack", "Unbind"),
    *("Clone", "Alias", "Expand", "ToCopy", "Cat", "AsStrided"),
)


def operations_between(starts: Sequence[Tensor], end: Tensor) -> list[str]:
    """The names of the autograd nodes on the paths from ``starts`` to ``end``, end first.

    For example ["SelectBackward0", "AddmmBackward0", "ViewBackward0", "MeanBackward1"].
    """
    return [node.name() for node in nodes_between(starts, end)]


def nodes_between(starts: Sequence[Tensor], end: Tensor) -> list[Any]:
    """The autograd nodes on the paths from ``starts`` to ``end``, end first, ``starts``' left out.

    These are the nodes that ``torch.autograd.grad(end, starts)`` runs.
    """
    # The nodes are held in lists while their ids are compared: Python's view of a node dies with
    # its last reference, and its id may then be another's.
    # Of a leaf, the node is the one that would accumulate its gradient.
    first = [torch.autograd.graph.get_gradient_edge(tensor).node for tensor in starts]
    first_ids = {id(node) for node in first}
    users: dict[int, list[Any]] = {}
    nodes: dict[int, Any] = {}
    todo = [end.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or id(node) in nodes or id(node) in first_ids:
            continue
        nodes[id(node)] = node
        for parent, _ in node.next_functions:
            users.setdefault(id(parent), []).append(node)
            todo.append(parent)
    on_path: set[int] = set()
    todo = [user for identity in first_ids for user in users.get(identity, [])]
    while todo:
        node = todo.pop()
        if id(node) not in on_path:
            on_path.add(id(node))
            todo.extend(users.get(id(node), []))
    return [node for key, node in nodes.items() if key in on_path]


def differentiable_once(gradient: Tensor) -> bool:
    """Whether an operation behind a gradient's graph has no derivative of its own.

    Such a node fails when autograd runs it, which it does not where the node hides its inputs, as
    that of ``torch.autograd.function.once_differentiable``.
    """
    seen: dict[int, Any] = {}
    todo = [gradient.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and id(node) not in seen:
            seen[id(node)] = node
            todo.extend(parent for parent, _ in node.next_functions)
    return any(kind(node) in ("Error", "DelayedError") for node in seen.values())


def kind(node: Any) -> str:
    """A node's operation without autograd's decoration: "ReluBackward0" gives "Relu"."""
    name: str = node.name().removeprefix("torch::autograd::")
    head, mark, number = name.rpartition("Backward")
    return head if mark and (number.isdigit() or not number) and head else name
