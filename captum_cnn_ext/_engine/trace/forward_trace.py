"""A forward pass written down: module calls, tensor operations, and who reads what.

A tensor is a `Value` at one moment: what an in-place operation writes is another value under the
same tensor. Operations name the values they read and make, module calls those they get and give,
so that a question about the pass is a loop over its events and needs no hooks of its own.

`trace_of` runs a copy of a model on the meta device, where nothing is computed; where that cannot
work (the model makes tensors of its own, or looks at values), a copy that shares the model's
weights runs once for real. The model is never touched. A `Recorder` follows any other pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from captum_cnn_ext._engine.following import Follower, in_layer, only_shaped_alike, tensors_in
from captum_cnn_ext._engine.state import state_as_found
from captum_cnn_ext._engine.trace.twin import copy_structure

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
        return [leaf for leaf in tree_flatten(self.arguments)[0] if isinstance(leaf, Value)]

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
    inputs is read by a way that is not followed.
    """

    why: str
    name: str = ""
    sources: tuple[Value, ...] = ()
    module: ModuleCall | None = None
    hidden: bool = False


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


def trace_of(model: nn.Module, inputs: Sequence[Tensor]) -> Trace:
    """One call ``model(*inputs)`` in evaluation mode, written down.

    Inputs on the meta device stand for zeros. Costs no arithmetic and no memory where the model
    runs on the meta device; one forward pass without a graph elsewhere.

    Raises:
        ValueError: the model does not take such inputs; the message names the layer that failed.
    """
    model = getattr(model, "_orig_mod", model)
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            "model: a TorchScript module hides its layers; expected the original torch.nn.Module"
        )
    with torch.inference_mode(False), torch.no_grad():
        try:
            return _traced(model, True, [torch.empty_like(x, device="meta") for x in inputs])
        except Exception:
            pass  # the copy below meets the same error if it is the model's own
        parameters = list(model.parameters())
        device = parameters[0].device if parameters else torch.device("cpu")
        with state_as_found(None, parameters[:1]):
            return _traced(model, False, [_as_real(x, device) for x in inputs])


def _as_real(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.is_meta:
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)
    return tensor.detach().to(device, copy=True)


def _traced(model: nn.Module, meta: bool, inputs: Sequence[Tensor]) -> Trace:
    twin = copy_structure(model, meta)
    recorder = Recorder(inputs)
    modules = dict(model.named_modules())
    for path, module in twin.named_modules():
        module.register_forward_pre_hook(recorder.entering(path, modules[path]), with_kwargs=True)
        module.register_forward_hook(recorder.leaving(path))
    for copied, original in zip(twin.parameters(), model.parameters(), strict=True):
        recorder.constants[copied] = Value(tuple(copied.shape), copied.dtype, original)
    try:
        with recorder.reads, recorder:
            output = twin(*inputs)
    except Exception as error:
        raise ValueError(_explained(recorder.running, inputs, error)) from error
    recorder.trace.outputs = recorder.values(output)
    return recorder.trace


class Recorder(Follower):
    """Writes down the operations of a pass: used ``with recorder.reads, recorder:``.

    Args:
        inputs: the tensors that the pass begins with.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.trace = Trace()
        self.running: list[ModuleCall] = []
        self.constants: Any = WeakIdKeyDictionary()  # values of tensors that no input has a part in
        self._calls: dict[str, int] = {}
        self._stale: Any = WeakIdKeyDictionary()  # who wrote behind a tensor's back
        for tensor in inputs:
            self.note(tensor, _value(tensor))
        self.trace.inputs = self.values(list(inputs))

    def value(self, tensor: Tensor) -> Value:
        """What the tensor is now."""
        found: Value | None = self.known.get(tensor, self.constants.get(tensor))
        if found is None:
            found = self.constants[tensor] = Value(tuple(tensor.shape), tensor.dtype, tensor)
        return found

    def values(self, given: Any) -> tuple[Value, ...]:
        """The values of the tensors in anything nested."""
        return tuple(self.value(tensor) for tensor in tensors_in(given))

    def leaves(self, name: str, sources: Sequence[Tensor]) -> None:
        super().leaves(name, sources)
        event = self.trace.events[-1]
        assert isinstance(event, Left)
        event.name, event.sources = name, self.values(list(sources))

    def lose(self, why: str) -> None:
        super().lose(why)
        here = self.running[-1] if self.running else None
        self.trace.events.append(Left(why + self.where(), module=here))

    def unseen(self, name: str) -> None:
        what = f"operation {name}{self.where()} is not followed"
        self.trace.events.append(Left(f"{what}: shares memory with another tensor", hidden=True))

    def where(self) -> str:
        return in_layer(self.running[-1].path if self.running else "")

    def entering(self, path: str, module: nn.Module) -> Callable[..., None]:
        """A forward pre-hook, with keyword arguments, of the module at ``path``."""

        def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
            index = self._calls.get(path, 0)
            self._calls[path] = index + 1
            call = ModuleCall(path, module, index, self.values((args, kwargs)))
            self.trace.events.append(Start(call))
            self.running.append(call)

        return hook

    def leaving(self, path: str) -> Callable[..., None]:
        """A forward hook of the module at ``path``."""

        def hook(_: nn.Module, __: Any, output: Any) -> None:
            while (call := self.running.pop()).path != path:
                pass  # the model caught an exception of a module inside this one
            call.outputs = self.values(output)
            self.trace.events.append(End(call))

        return hook

    def follow(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], sources: Sequence[Tensor]
    ) -> Any:
        bound = named_arguments(func, args, kwargs)
        operation = Operation(func, tree_map_only(Tensor, self.value, bound))
        operation.module = self.running[-1] if self.running else None
        operation.stale = tuple(
            writer for t in tensors_in(list(bound.values())) for writer in self._stale.get(t, ())
        )
        result = func(*args, **kwargs)
        written = _written(func, bound)
        before = self.values(written)
        for tensor in written:
            self._stale.pop(tensor, None)
            for other in self.beside(tensor):
                self._stale[other] = (*self._stale.get(other, ()), operation)
        fresh = [*written, *(t for t in tensors_in(result) if not any(t is w for w in written))]
        for tensor in fresh:
            value = _value(tensor)
            if sources and not only_shaped_alike(func):
                self.note(tensor, value)
            else:
                self.constants[tensor] = value
        operation.written = tuple(zip(before, self.values(written), strict=True))
        operation.outputs = self.values(result)
        self.trace.events.append(operation)
        return result


def named_arguments(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """An operation's arguments by name, with defaults."""
    found = {}
    for place, argument in enumerate(func._schema.arguments):
        if place < len(args) and not argument.kwarg_only:
            found[argument.name] = args[place]
        elif argument.name in kwargs:
            found[argument.name] = kwargs[argument.name]
        else:
            found[argument.name] = argument.default_value
    return found


def _written(func: Any, bound: dict[str, Any]) -> list[Tensor]:
    """The tensors that an operation writes into; a norm's running statistics are not meant."""
    if not func._schema.is_mutable or "batch_norm" in func.overloadpacket.__name__:
        return []
    names = [a.name for a in func._schema.arguments if a.alias_info and a.alias_info.is_write]
    return list(tensors_in([bound[name] for name in names]))


def _value(tensor: Tensor) -> Value:
    return Value(tuple(tensor.shape), tensor.dtype)


def _explained(running: Sequence[ModuleCall], inputs: Sequence[Tensor], error: Exception) -> str:
    """What failed, where, and what that layer expects."""
    sizes = ", ".join(_size(tuple(x.shape)) for x in inputs)
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    if not running:
        return f"the model cannot be run on input_size {sizes}: {reason}"
    call = running[-1]
    wants = [
        f" and expects {name}={getattr(call.module, name)}"
        for name in ("in_channels", "in_features", "num_features")
        if hasattr(call.module, name)
    ]
    return (
        f"input_size {sizes}: the forward pass failed in "
        f"{repr(call.path) if call.path else 'the model itself'} "
        f"({type(call.module).__name__}), which got "
        f"{', '.join(_size(value.shape) for value in call.inputs)}"
        f"{wants[0] if wants else ''}: {reason}"
    )


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a scalar"
