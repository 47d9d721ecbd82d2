"""The tensors in what modules get and give: nested tuples, lists and dictionaries."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dictionaries, in their order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def tensors_of_output(value: Any) -> list[Tensor]:
    """The same, and those in the attributes of objects: everything that a model's output holds."""
    leaves = tree_leaves(value)
    inside = [vars(leaf) for leaf in leaves if hasattr(leaf, "__dict__")]
    return [leaf for leaf in [*leaves, *tree_leaves(inside)] if isinstance(leaf, Tensor)]


def with_tensors(value: Any, replace: Callable[[list[Tensor]], list[Tensor]]) -> Any:
    """The value with other tensors in it; itself where ``replace`` gives back what it got."""
    leaves, tree = tree_flatten(value)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    given = [leaves[i] for i in places]
    found = replace(given)
    if found is given:
        return value
    for place, tensor in zip(places, found, strict=True):
        leaves[place] = tensor
    return tree_unflatten(leaves, tree)
