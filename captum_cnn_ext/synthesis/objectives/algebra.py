"""What is maximised: functions of what a network's layers give, and the algebra of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import Layer
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._numbers import as_count, as_count_or_none, whole
from captum_cnn_ext.errors import ArgumentError


@dataclass(frozen=True)
class Place:
    """What of a network is looked at: a layer's output or input, at one of its calls."""

    layer: Layer
    at_input: bool = False
    call: int | None = None

    def __post_init__(self) -> None:
        as_count_or_none("call", self.call, 0)

    def __str__(self) -> str:
        name = self.layer if isinstance(self.layer, str) else type(self.layer).__name__
        return f"input of {name}" if self.at_input else name


@dataclass(frozen=True)
class View:
    """What one pass over N images showed, in the images' graph.

    ``output`` is the model's own, where the objective asks for it. ``of(photo)`` is the view of a
    photo under the very transforms that the images went through.
    """

    tensors: Mapping[Place, tuple[Tensor, ...]]
    output: Any
    count: int
    of: Callable[[Tensor], View]

    __repr__ = brief

    def at(self, place: Place, channel_dim: int = 1) -> Tensor:
        """The one tensor at a place as ``(N, C, *positions)``."""
        tensors = self.tensors[place]
        if len(tensors) > 1:
            shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
            raise ArgumentError(
                f"layer {str(place)!r}: gives {len(tensors)} tensors ({shapes}); take one of them "
                "with Custom(layer, lambda tensors: ...)"
            )
        tensor = tensors[0]
        if tensor.ndim < 2 or len(tensor) != self.count:
            raise ArgumentError(
                f"layer {str(place)!r}: gives {tuple(tensor.shape)} for {self.count} images; "
                "expected (N, C, ...)"
            )
        return tensor.movedim(dim_of_channels(channel_dim, tensor.shape, str(place)), 1)


def dim_of_channels(channel_dim: int, shape: Sequence[int], layer: str) -> int:
    """``channel_dim``, if a layer that gives ``shape`` can have its channels there."""
    dim = whole(channel_dim)
    if not dim or not -len(shape) < dim < len(shape):
        raise ArgumentError(
            f"channel_dim={channel_dim!r}: layer {layer!r} gives {tuple(shape)}; expected 1 to "
            f"{len(shape) - 1}, or -1"
        )
    return dim


Score = Callable[[View], Tensor]


@dataclass(frozen=True)
class Objective:
    """Something to maximise: one value for each image, from what some places of a network show.

    Objectives add, subtract, multiply and scale (``Target(3) - 0.5 * Channel("layer4", 7)``); each
    operation makes a new one and changes none.

    Args:
        score: from a :class:`View` of N images to their values (N,).
        places: what the view must hold.
        needs_output: the model's own output is needed, so its forward pass runs to the end.
        images: it is about so many images at least (a channel for each, ``batch=``).
        name: for messages and progress bars.
        check: judges the first view, and warns.

    Example::

        >>> from captum_cnn_ext.synthesis import Channel
        >>> both = Channel("layer4", 3) - 0.5 * Channel("layer4", 7)
        >>> print(both)
        layer4[3] - 0.5 layer4[7]
    """

    score: Score
    places: tuple[Place, ...] = ()
    needs_output: bool = False
    images: int = 1
    name: str = "objective"
    check: Callable[[View], None] = lambda view: None

    __repr__ = brief

    def __post_init__(self) -> None:
        as_count("images", self.images)

    def __str__(self) -> str:
        return self.name

    def __add__(self, other: Objective | float) -> Objective:
        return _joined(self, other, torch.add, f"{self} + {other}")

    def __sub__(self, other: Objective | float) -> Objective:
        return _joined(self, other, torch.sub, f"{self} - {_bracketed(other)}")

    def __mul__(self, other: Objective | float) -> Objective:
        if isinstance(other, Objective):
            return _joined(self, other, torch.mul, f"{_bracketed(self)} * {_bracketed(other)}")
        return _joined(self, other, torch.mul, f"{other:g} {_bracketed(self)}")

    def __truediv__(self, other: float) -> Objective:
        return self * (1 / other)

    def __radd__(self, other: float) -> Objective:
        return self if other == 0 else self + other  # 0: Python's own sum begins with it

    def __rsub__(self, other: float) -> Objective:
        return -1 * self + other

    def __rmul__(self, other: float) -> Objective:
        return self * other

    def __neg__(self) -> Objective:
        return -1 * self


def _joined(
    left: Objective,
    right: Objective | float,
    join: Callable[[Tensor, Any], Tensor],
    name: str,
) -> Objective:
    if not isinstance(right, Objective):
        if isinstance(right, bool) or not isinstance(right, (int, float)):
            raise TypeError(
                f"objective: cannot be joined with {type(right).__name__} {right!r}; expected "
                "another objective or a number"
            )
        number = right
        return Objective(
            lambda view: join(left.score(view), number),
            left.places,
            left.needs_output,
            left.images,
            name,
            left.check,
        )
    other = right

    def check(view: View) -> None:
        left.check(view)
        other.check(view)

    return Objective(
        lambda view: join(left.score(view), other.score(view)),
        tuple(dict.fromkeys((*left.places, *other.places))),
        left.needs_output or other.needs_output,
        max(left.images, other.images),
        name,
        check,
    )


def _bracketed(value: Objective | float) -> str:
    text = str(value)
    return f"({text})" if " + " in text or " - " in text else text


Batch = int | Sequence[int] | None


def on(batch: Batch, score: Score) -> tuple[Score, int]:
    """``score`` for the images ``batch`` alone (None: all), and how many images that takes."""
    if batch is None:
        return score, 1
    listed = batch if isinstance(batch, Sequence) and not isinstance(batch, str) else [batch]
    wanted = [as_count("batch", index, 0) for index in listed]
    if not wanted:
        raise ArgumentError("batch=[]: expected the index of an image, or a list of them")

    def only(view: View) -> Tensor:
        values = score(view)
        mask = values.new_zeros(len(values))
        mask[wanted] = 1
        return values * mask

    return only, max(wanted) + 1


def positions_mean(values: Tensor) -> Tensor:
    """The mean of (N, ...) over all but N."""
    return values.reshape(len(values), -1).mean(1)


def module_or_name(layer: Any) -> Layer:
    """``layer`` where it is one; the model that it belongs to is not known here.

    Raises:
        TypeError: neither a module nor a name.
    """
    if not isinstance(layer, (str, nn.Module)):
        raise TypeError(
            f"layer: expected a torch.nn.Module or its dotted name, got {type(layer).__name__} "
            f"{layer!r}"
        )
    return layer


def at_place(score: Any, place: Place, batch: Batch, each: Any, name: str) -> Objective:
    """An objective at one place, with as many images as it has units or vectors."""
    only, least = on(batch, score)
    images = (
        len(each) if isinstance(each, list) or (isinstance(each, Tensor) and each.ndim > 1) else 1
    )
    return Objective(only, (place,), False, max(images, least), name)
