"""Receptive fields where branches of a network meet, and whether two are one and the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from captum_cnn_ext._engine.receptive_fields.axis import Axis
from captum_cnn_ext._engine.receptive_fields.window_rules import Field


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
