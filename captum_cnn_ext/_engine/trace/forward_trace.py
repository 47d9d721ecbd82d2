"""What a forward pass did: module calls, tensor operations, and who reads what.

A tensor is a `Value` at one moment: what an in-place operation writes is another value under the
same tensor. Operations name the values they read and make, module calls those they get and give,
so that a question about the pass is a loop over its events and needs no hooks of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.trace.operation_follower import in_layer

Shape = tuple[int, ...]


@dataclass(slots=True, eq=False)
class Value:
    """A tensor at one moment of a pass; ``tensor`` is what was there before it, as weights are."""

    shape: Shape
    dtype: torch.dtype
    tensor: Tensor | None = None


@dataclass(slots=True, eq=False)
class Operation:
    """One tensor operation; ``arguments`` by name, a `Value` in place of each tensor.

    ``written`` are the values that an in-place operation replaces, each with the one after it.
    ``stale`` are operations that wrote, through another tensor, into what this one reads.
    """

    func: Any
    arguments: dict[str, Any]
    outputs: tuple[Value, ...] = ()
    module: ModuleCall | None = None
    written: tuple[tuple[Value, Value], ...] = ()
    stale: tuple[Operation, ...] = ()

    @property
    def name(self) -> str:
        return str(self.func.overloadpacket.__name__)

    @property
    def reads(self) -> list[Value]:
        """The values that are read, in the order of the arguments."""
        found: list[Value] = []
        for argument in self.arguments.values():
            if type(argument) is Value:
                found.append(argument)
            elif isinstance(argument, (list, tuple)):  # of an operation these are flat
                found += [each for each in argument if type(each) is Value]
        return found

    @property
    def place(self) -> str:
        """Where it runs, in words: " in layer 'stem'"."""
        return in_layer(self.module.path if self.module else "")


@dataclass(slots=True, eq=False)
class ModuleCall:
    """One call of one module; ``inputs`` and ``outputs`` are the values in what it got and gave."""

    path: str
    module: nn.Module
    index: int
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...] = ()

    @property
    def shape(self) -> Shape:
        """The shape of its output, or () where that is not one tensor."""
        return self.outputs[0].shape if len(self.outputs) == 1 else ()


@dataclass(slots=True, eq=False)
class Start:
    """A module call begins."""

    call: ModuleCall


@dataclass(slots=True, eq=False)
class End:
    """A module call ends."""

    call: ModuleCall


@dataclass(slots=True, eq=False)
class Left:
    """From here on operations do not tell everything.

    A value leaves torch, from ``sources`` by ``name``; or, ``hidden``, memory that depends on the
    inputs is read by a way that is not followed, or work goes on in another thread (``elsewhere``).
    """

    why: str
    name: str = ""
    sources: tuple[Value, ...] = ()
    module: ModuleCall | None = None
    hidden: bool = False
    elsewhere: bool = False


@dataclass(slots=True, eq=False)
class Trace:
    """What happened, in order."""

    inputs: tuple[Value, ...] = ()
    outputs: tuple[Value, ...] = ()
    events: list[Operation | Start | End | Left] = field(default_factory=list)

    @property
    def left(self) -> str:
        """By what, and where, a value first leaves torch; an empty string where none does."""
        left = (event.why for event in self.events if isinstance(event, Left) and not event.hidden)
        return next(left, "")

    @property
    def elsewhere(self) -> str:
        """Where work first goes on in another thread, which the trace does not have; or empty."""
        found = (event.why for event in self.events if isinstance(event, Left) and event.elsewhere)
        return next(found, "")

    @property
    def operations(self) -> Iterator[Operation]:
        return (event for event in self.events if isinstance(event, Operation))

    @property
    def calls(self) -> list[ModuleCall]:
        """The module calls in the order in which they start."""
        return [event.call for event in self.events if isinstance(event, Start)]

    @property
    def finished(self) -> list[ModuleCall]:
        """The module calls in the order in which they end."""
        return [event.call for event in self.events if isinstance(event, End)]
