"""A forward pass written down as tensor operations, to be run again on other batches.

The pass runs twice, with one and with two examples, while a dispatch mode notes every operation
that the inputs have a part in. Where an integer or a shape doubles it is the batch. In-place
operations are written down as new values. Whatever cannot be repeated faithfully (a number taken
out of a tensor, random numbers, a write through a view) is a refusal with its reason: the caller
then runs the model itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.nested_tensors import leaves_in, mapped
from captum_cnn_ext._engine.trace.forward_trace import Trace, Value
from captum_cnn_ext._engine.trace.operation_follower import parameters_of
from captum_cnn_ext._engine.trace.trace_recorder import Recorder

_THROUGH_VIEWS = "a tensor is written through one view and read through another"


class Refusal(Exception):
    """Why a pass cannot be run from a tape; not an error, another way is taken."""


@dataclass(frozen=True)
class Ref:
    """A value of the tape, in place of the tensor."""

    index: int


@dataclass(frozen=True)
class PerRow:
    """An integer that is so many times the number of rows."""

    times: int


@dataclass(frozen=True)
class Step:
    """One operation: its arguments by name, with Ref and PerRow in place of what varies."""

    func: Any
    args: dict[str, Any]
    outputs: tuple[int, ...]  # -1: not a tensor, or never read

    @cached_property
    def name(self) -> str:
        return str(self.func.overloadpacket.__name__)

    @cached_property
    def reads(self) -> list[int]:
        return [leaf.index for leaf in leaves_in(self.args) if isinstance(leaf, Ref)]

    def call(self, value: Callable[[int], Tensor], rows: int) -> Any:
        """Run the operation on whole tensors."""

        def filled(leaf: Any) -> Any:
            if isinstance(leaf, Ref):
                return value(leaf.index)
            return leaf.times * rows if isinstance(leaf, PerRow) else leaf

        if self.name in ("view", "_unsafe_view"):  # the memory may be in another order here
            size = mapped(self.args["size"], filled)
            return value(self.args["self"].index).reshape(size)
        positional, named = [], {}
        for parameter in parameters_of(self.func):
            given = mapped(self.args[parameter.name], filled)
            if parameter.by_name:
                named[parameter.name] = given
            else:
                positional.append(given)
        return self.func(*positional, **named)


@dataclass
class Tape:
    """The operations of a pass; values are numbered, the inputs first."""

    steps: list[Step]
    inputs: int
    output: int
    shapes: dict[int, torch.Size] = field(default_factory=dict)  # for one row
    constants: dict[int, Tensor] = field(default_factory=dict)  # one row each, as the inputs are


def record_tape(
    run: Callable[..., Any], one: Sequence[Tensor], two: Sequence[Tensor]
) -> tuple[Tape, Tensor, Tensor]:
    """The tape of ``run`` and its outputs, for inputs of one row and of two.

    Raises:
        Refusal: the pass cannot be run from a tape.
    """
    first, output = _record(run, one)
    second, outputs = _record(run, two)
    return _merged(first, second), output, outputs


def _record(run: Callable[..., Any], inputs: Sequence[Tensor]) -> tuple[Tape, Tensor]:
    recorder = Recorder(inputs, keep_constants=True)
    with recorder.following():
        output = run(*inputs)
    if recorder.left:
        raise Refusal(recorder.left)
    if not isinstance(output, Tensor) or output not in recorder.known:
        raise Refusal("the output is not one tensor that depends on the inputs")
    if recorder.stale(output):
        raise Refusal(_THROUGH_VIEWS)
    return _tape(recorder.trace, recorder.value(output)), output


def _tape(trace: Trace, output: Value) -> Tape:
    """The operations that the inputs have a part in; in-place ones make new values."""
    numbers: dict[Value, int] = {}
    tape = Tape([], len(trace.inputs), -1)
    read: set[int] = set()  # ids of the constants that are read

    def number(value: Value) -> int:
        numbers[value] = len(numbers)
        tape.shapes[numbers[value]] = torch.Size(value.shape)
        return numbers[value]

    for value in trace.inputs:
        number(value)
    for operation in trace.operations:
        func = operation.func
        if not any(value in numbers for value in operation.reads):
            if any(id(old.tensor) in read for old, _ in operation.written):
                raise Refusal(f"{func} writes into a constant that was read before")
            continue
        if operation.stale:
            raise Refusal(_THROUGH_VIEWS)
        if why := _unrepeatable(func, operation.arguments):
            raise Refusal(why)
        if operation.written:
            func = _without_writing(func)
            if func is None or len(operation.written) > 1:
                raise Refusal(f"{operation.func} writes in place")
            if operation.written[0][0] not in numbers:
                raise Refusal(f"{func} writes into a tensor that does not depend on the inputs")
        read |= {id(value.tensor) for value in operation.reads if value not in numbers}

        def stands(leaf: Any) -> Any:
            if not isinstance(leaf, Value):
                return leaf
            return Ref(numbers[leaf]) if leaf in numbers else leaf.tensor

        arguments = mapped(operation.arguments, stands)
        tape.steps.append(Step(func, arguments, tuple(map(number, operation.outputs))))
    tape.output = numbers[output]
    return tape


def _unrepeatable(func: Any, bound: dict[str, Any]) -> str:
    if torch.Tag.nondeterministic_seeded in func.tags:
        return f"{func} draws random numbers"
    if bound.get("training") or bound.get("train"):
        return f"{func} runs in training mode"
    return ""


def _without_writing(func: Any) -> Any:
    """The operation that gives what an in-place one writes."""
    name = func.overloadpacket.__name__
    packet = getattr(torch.ops.aten, name.rstrip("_"), None) if name.endswith("_") else None
    functional = getattr(packet, func._overloadname, None)
    if functional is None or name == "copy_":
        return None
    ours, theirs = func._schema.arguments, functional._schema.arguments
    return functional if [a.name for a in ours] == [a.name for a in theirs] else None


# --- two passes into one tape -----------------------------------------------------------------


def _merged(first: Tape, second: Tape) -> Tape:
    tape = Tape([], first.inputs, first.output, first.shapes)
    names = [step.func for step in first.steps]
    if names != [step.func for step in second.steps] or first.output != second.output:
        raise Refusal("the operations depend on the number of examples")
    for number, shape in first.shapes.items():
        if shape[1:] != second.shapes[number][1:] or not shape:
            raise Refusal("a tensor's shape does not begin with the examples")
        if second.shapes[number][0] != 2 * shape[0]:
            raise Refusal("a tensor's first dimension is not the examples")
    for a, b in zip(first.steps, second.steps, strict=True):
        merged = {name: _same(one, b.args[name], tape) for name, one in a.args.items()}
        tape.steps.append(Step(a.func, merged, a.outputs))
    return tape


def _same(one: Any, two: Any, tape: Tape) -> Any:
    """What stands in the tape for an argument of both passes."""
    if isinstance(one, (tuple, list)) and isinstance(two, (tuple, list)) and len(one) == len(two):
        return [_same(x, y, tape) for x, y in zip(one, two, strict=True)]
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        if one.shape == two.shape:
            if _same_memory(one, two) or torch.equal(one, two):
                return one
        elif (1, *two.shape[1:]) == one.shape and torch.equal(one.expand_as(two), two):
            number = -2 - len(tape.constants)  # one row for each example, all alike
            tape.constants[number], tape.shapes[number] = one, one.shape
            return Ref(number)
        raise Refusal("a tensor that does not come from the inputs changes between passes")
    if type(one) is not type(two):
        raise Refusal("the operations depend on the number of examples")
    if one == two:
        return one
    if isinstance(one, int) and not isinstance(one, bool) and two == 2 * one:
        return PerRow(one)
    raise Refusal("the operations depend on the number of examples")


def _same_memory(one: Tensor, two: Tensor) -> bool:
    return one.data_ptr() == two.data_ptr() and one.stride() == two.stride()
