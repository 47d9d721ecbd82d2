"""Sights where branches of a network meet, and whether two are one and the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from captum_cnn_ext._engine.sight_axis import Axis
from captum_cnn_ext._engine.sight_rules import Sight


def aligned(sight: Sight, shape: tuple[int, ...], count: int) -> Sight:
    """Where a sight is after broadcasting to ``count`` dimensions."""
    if sight.dim is None:
        return sight
    if shape[sight.dim] == 1:
        return sight.everywhere("one position spread over all")
    return replace(sight, dim=sight.dim + count - len(shape))


def joined(sights: list[Sight]) -> Sight:
    """What depends on all of them."""
    first, *rest = sights
    for sight in rest:
        if first.dim is None or sight.dim is None:
            whole = [s for s in (first, sight) if s.dim is None]
            lows, highs = zip(first.axis.at_once(), sight.axis.at_once(), strict=True)
            first = Sight(Axis.of_range(min(lows), max(highs)), None, 1, whole[0].reason)
        elif (first.dim, first.inner) != (sight.dim, sight.inner):
            first = joined(
                [s.everywhere("every position with every other") for s in (first, sight)]
            )
        else:
            first = replace(first, axis=first.axis.joined(sight.axis))
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
