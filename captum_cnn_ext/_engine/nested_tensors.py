"""The tensors in what modules get and give: nested tuples, lists and dictionaries."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

PLAIN = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout})


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and dictionaries, in their order."""
    found: list[Tensor] = []
    todo = [value]
    while todo:
        item = todo.pop()
        if type(item) in PLAIN:
            continue
        if isinstance(item, Tensor):
            found.append(item)
        elif isinstance(item, (tuple, list)):
            todo += item[::-1]
        elif isinstance(item, dict):
            todo += list(item.values())[::-1]
    return found


def is_nested(value: Any) -> bool:
    """Whether `tensors_in` and `mapped` look inside."""
    return isinstance(value, (tuple, list, dict))


def mapped(value: Any, replace: Callable[[Any], Any]) -> Any:
    """The value with ``replace`` of each leaf of nested tuples, lists and dictionaries.

    For the arguments of an operation, which hold nothing else; several times faster than a pytree.
    """
    if isinstance(value, list):
        return [mapped(item, replace) for item in value]
    if isinstance(value, tuple):
        return tuple([mapped(item, replace) for item in value])
    if isinstance(value, dict):
        return {key: mapped(item, replace) for key, item in value.items()}
    return replace(value)


def leaves_in(value: Any) -> Iterator[Any]:
    """What ``mapped`` replaces, in its order."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, (tuple, list)):
            todo += item[::-1]
        elif isinstance(item, dict):
            todo += list(item.values())[::-1]
        else:
            yield item


def tensors_of_output(value: Any) -> list[Tensor]:
    """The same, and those in the attributes of objects: everything that a model's output holds."""
    leaves = [value] if isinstance(value, Tensor) else tree_leaves(value)
    inside = [vars(leaf) for leaf in leaves if getattr(leaf, "__dict__", None)]
    if inside:
        leaves = [*leaves, *tree_leaves(inside)]
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def joined_rows(parts: Sequence[Any]) -> Any:
    """What a model gave for parts of a batch, as for the whole: tensors along their rows.

    Nested tuples and dictionaries are joined place by place; a list with a dictionary for each
    example, as detectors give it, gets longer; anything else is the first part's.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(list(parts)) if first.ndim else torch.stack(list(parts))
    if isinstance(first, list) and any(isinstance(each, Mapping) for each in first):
        return [each for part in parts for each in part]
    if isinstance(first, Mapping):
        kind: Any = type(first)
        return kind(**{key: joined_rows([part[key] for part in parts]) for key in first})
    if isinstance(first, (tuple, list)):
        found = [joined_rows(place) for place in zip(*parts, strict=True)]
        return type(first)(*found) if hasattr(first, "_fields") else type(first)(found)
    return first


def with_tensors(value: Any, replace: Callable[[list[Tensor]], list[Tensor]]) -> Any:
    """The value with other tensors in it; itself where ``replace`` gives back what it got."""
    if isinstance(value, Tensor):
        return replace([value])[0]
    leaves, tree = tree_flatten(value)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    given = [leaves[i] for i in places]
    found = replace(given)
    if found is given:
        return value
    for place, tensor in zip(places, found, strict=True):
        leaves[place] = tensor
    return tree_unflatten(leaves, tree)
