"""An image axis in a tensor, and what becomes of two of them where branches of a network meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from captum_cnn_ext._engine.receptive_fields.axis import Axis


@dataclass(frozen=True)
class Field:
    """An image axis in a tensor: what its positions depend on and where they are.

    The position at index i of dimension ``dim`` is (i // inner) % (number of positions), so that
    reshaped tensors are followed. ``dim`` None: all of the tensor depends on the same pixels, for
    the ``reason`` given.
    """

    axis: Axis
    dim: int | None
    inner: int = 1
    reason: str = ""

    def everywhere(self, reason: str) -> Field:
        """Each value depends on all positions."""
        if self.dim is None:
            return self
        return Field(Axis.of_range(*self.axis.at_once()), None, 1, reason)

    def is_plain(self, shape: Sequence[int]) -> bool:
        """Whether a dimension of its own holds the positions."""
        return self.dim is not None and shape[self.dim] == len(self.axis.lows) and self.inner == 1


def aligned(field: Field, shape: tuple[int, ...], count: int) -> Field:
    """Where a field is after broadcasting to ``count`` dimensions."""
    if field.dim is None:
        return field
    if shape[field.dim] == 1:
        return field.everywhere("one position spread over all")
    return replace(field, dim=field.dim + count - len(shape))


def joined(fields: list[Field]) -> Field:
    """What depends on all of them."""
    first, *rest = fields
    for field in rest:
        if first.dim is None or field.dim is None:
            whole = [s for s in (first, field) if s.dim is None]
            lows, highs = zip(first.axis.at_once(), field.axis.at_once(), strict=True)
            first = Field(Axis.of_range(min(lows), max(highs)), None, 1, whole[0].reason)
        elif (first.dim, first.inner) != (field.dim, field.inner):
            first = joined(
                [s.everywhere("every position with every other") for s in (first, field)]
            )
        else:
            first = replace(first, axis=first.axis.joined(field.axis))
    return first


def is_same(one: Any, other: Any) -> bool:
    if isinstance(one, str) or isinstance(other, str) or other is None:
        return False
    return all(
        a.dim == b.dim
        and a.inner == b.inner
        and a.axis.lows.tolist() == b.axis.lows.tolist()
        and a.axis.highs.tolist() == b.axis.highs.tolist()
        for a, b in zip(one, other, strict=True)
    )
