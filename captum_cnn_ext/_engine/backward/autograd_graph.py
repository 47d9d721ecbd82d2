"""What autograd recorded between two places of a forward pass."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.nested_tensors import tensors_of_output

# kinds of autograd nodes without "Backward0"; averaging ones by how their names begin
LINEAR = ("Addmm", "Mm", "Linear")
AVERAGING = ("Mean", "AdaptiveAvgPool", "AvgPool", "Sum")
RESHAPING = (
    *("View", "UnsafeView", "ReshapeAlias", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "T"),
    *("Permute", "Transpose", "Select", "Index", "Gather", "Slice", "Stack", "Unbind"),
    *("Clone", "Alias", "Expand", "ToCopy", "Cat", "AsStrided"),
)

# of operations without a derivative, such as quantised ones: a gradient ends there
_NO_DERIVATIVE = ("torch::autograd::WarnNotImplemented", "torch::autograd::NotImplemented")

# of every function that the decorator has wrapped
_ONCE = torch.autograd.function.once_differentiable(lambda _: None).__code__


def operations_between(starts: Sequence[Tensor], end: Tensor) -> list[str]:
    """The names of the autograd nodes on the paths from ``starts`` to ``end``, end first.

    For example ["SelectBackward0", "AddmmBackward0", "ViewBackward0", "MeanBackward1"].
    """
    return [node.name() for node in nodes_between(starts, end)]


def nodes_before(
    ends: Iterable[Tensor], stops: Iterable[Any] = (), without: Sequence[str] = ()
) -> list[Any]:
    """The autograd nodes behind ``ends``, each once.

    The nodes ``stops`` and those of the names ``without`` are left out, and what is behind them.
    """
    # All are held while their ids are compared: Python's view of a node dies with its last
    # reference, and its id may then be another's.
    nodes: dict[int, Any] = {}
    stopping = {id(node): node for node in stops}
    todo = [end.grad_fn for end in ends]
    while todo:
        node = todo.pop()
        if node is None or id(node) in nodes or id(node) in stopping:
            continue
        if without and node.name() in without:
            continue
        nodes[id(node)] = node
        todo += [parent for parent, _ in node.next_functions]
    return list(nodes.values())


def nodes_between(starts: Sequence[Tensor], end: Tensor, without: Sequence[str] = ()) -> list[Any]:
    """The autograd nodes on the paths from ``starts`` to ``end``, end first, ``starts``' left out.

    These are the nodes that ``torch.autograd.grad(end, starts)`` runs. Paths through nodes of the
    names ``without`` do not count.
    """
    # Of a leaf, the node is the one that would accumulate its gradient.
    first = [torch.autograd.graph.get_gradient_edge(tensor).node for tensor in starts]
    nodes = nodes_before([end], first, without)
    users: dict[int, list[Any]] = {}
    for node in nodes:
        for parent, _ in node.next_functions:
            users.setdefault(id(parent), []).append(node)
    on_path: set[int] = set()
    todo = [user for begin in first for user in users.get(id(begin), [])]
    while todo:
        node = todo.pop()
        if id(node) not in on_path:
            on_path.add(id(node))
            todo.extend(users.get(id(node), []))
    return [node for node in nodes if id(node) in on_path]


def connected(starts: Sequence[Tensor], end: Tensor) -> bool:
    """Whether ``end`` has a gradient at any of ``starts``, which require one."""
    if not end.requires_grad:
        return False
    return any(end is start for start in starts) or bool(
        nodes_between(starts, end, without=_NO_DERIVATIVE)
    )


def has_gradient(output: Any) -> bool:
    """Whether anything in a model's output has a gradient."""
    return any(tensor.requires_grad for tensor in tensors_of_output(output))


def differentiable_once(nodes: Sequence[Any]) -> list[str]:
    """The names of a user's operations marked with ``once_differentiable``.

    Where no gradient of a gradient reaches them, autograd gives 0 for their second derivative and
    says nothing.
    """
    found = []
    for node in nodes:
        backward = getattr(getattr(node, "_forward_cls", None), "backward", None)
        while backward is not None:
            if getattr(backward, "__code__", None) is _ONCE:
                found.append(kind(node))
                break
            backward = getattr(backward, "__wrapped__", None)
    return found


def kind(node: Any) -> str:
    """A node's operation without autograd's decoration: "ReluBackward0" gives "Relu"."""
    name: str = node.name().removeprefix("torch::autograd::")
    head, mark, number = name.rpartition("Backward")
    return head if mark and (number.isdigit() or not number) and head else name
