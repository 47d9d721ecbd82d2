"""Writing down a forward pass as a `Trace`.

`trace_of` runs a copy of a model on the meta device, where nothing is computed; where that cannot
work (the model makes tensors of its own, or looks at values), a copy that shares the model's
weights runs once for real. The model is never touched. A `Recorder` follows any other pass.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import refuse_scripted
from captum_cnn_ext._engine.nested_tensors import PLAIN, is_nested, mapped, tensors_in
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext._engine.trace.forward_trace import (
    End,
    Left,
    ModuleCall,
    Operation,
    Shape,
    Start,
    Trace,
    Value,
)
from captum_cnn_ext._engine.trace.model_copy import copy_structure
from captum_cnn_ext._engine.trace.operation_follower import (
    Follower,
    in_layer,
    memory_of,
    named_arguments,
    only_shaped_alike,
    written_by,
)
from captum_cnn_ext._engine.trace.tensor_table import TensorTable


def trace_of(model: nn.Module, inputs: Sequence[Tensor]) -> Trace:
    """One call ``model(*inputs)`` in evaluation mode, written down.

    Inputs on the meta device stand for zeros. Costs no arithmetic and no memory where the model
    runs on the meta device; one forward pass without a graph elsewhere.

    Raises:
        ValueError: the model does not take such inputs; the message names the layer that failed.
    """
    model = getattr(model, "_orig_mod", model)
    for path, module in model.named_modules():
        refuse_scripted(module, f"model, layer {path!r}" if path else "model")
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
        with recorder.following():
            output = twin(*inputs)
    except Exception as error:
        raise ValueError(_explained(recorder.running, inputs, error)) from error
    recorder.trace.outputs = recorder.values(output)
    return recorder.trace


class Recorder(Follower):
    """Writes down the operations of a pass: used ``with recorder.following():``.

    Args:
        inputs: the tensors that the pass begins with.
        keep_constants: hold on to tensors that are made in the pass and do not depend on them.
    """

    def __init__(self, inputs: Sequence[Tensor], keep_constants: bool = False) -> None:
        super().__init__()
        self._keep_constants = keep_constants
        self._thread = threading.get_ident()
        self.trace = Trace()
        self.running: list[ModuleCall] = []
        self.constants = TensorTable()  # values of tensors that no input has a part in
        self._calls: dict[str, int] = {}
        self._stale = TensorTable()  # who wrote behind a tensor's back
        # and, by its memory, behind the backs of those that are not known
        self._writers: dict[int | None, tuple[Operation, ...]] = {}
        for tensor in inputs:
            self.note(tensor, _value(tensor))
        self.trace.inputs = self.values(list(inputs))

    def value(self, tensor: Tensor) -> Value:
        """What the tensor is now."""
        found: Value | None = self.known.get(tensor, self.constants.get(tensor))
        if found is None:
            found = self.constants[tensor] = Value(tuple(tensor.shape), tensor.dtype, tensor)
        return found

    def stale(self, tensor: Tensor) -> tuple[Operation, ...]:
        """The operations that wrote into its memory through another tensor since it was made."""
        if tensor in self.known:
            return self._stale.get(tensor, ())  # type: ignore[no-any-return]
        return self._writers.get(memory_of(tensor), ()) if self._writers else ()

    def values(self, given: Any) -> tuple[Value, ...]:
        """The values of the tensors in anything nested."""
        return tuple([self.value(tensor) for tensor in tensors_in(given)])

    def _written_down(self, argument: Any) -> Any:
        if isinstance(argument, Tensor):
            return self.value(argument)
        return mapped(argument, self._written_down) if is_nested(argument) else argument

    def leaves(self, name: str, sources: Sequence[Tensor]) -> None:
        super().leaves(name, sources)
        left = self._last_left
        left.name, left.sources = name, self.values(list(sources))

    def lose(self, why: str) -> None:
        super().lose(why)
        here = self.running[-1] if self.running else None
        self.trace.events.append(Left(why + self.where(), module=here))

    def unseen(self, name: str) -> None:
        why = f"operation {name}{self.where()} is not followed: shares memory with another tensor"
        self.left = self.left or why
        self.trace.events.append(Left(why, hidden=True))

    def elsewhere(self) -> None:
        super().elsewhere()
        self._last_left.hidden = self._last_left.elsewhere = True

    @property
    def _last_left(self) -> Left:
        event = self.trace.events[-1]
        assert isinstance(event, Left)
        return event

    def where(self) -> str:
        return in_layer(self.running[-1].path if self.running else "")

    def entering(self, path: str, module: nn.Module) -> Callable[..., None]:
        """A forward pre-hook, with keyword arguments, of the module at ``path``."""

        def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
            if threading.get_ident() != self._thread:
                return
            index = self._calls.get(path, 0)
            self._calls[path] = index + 1
            call = ModuleCall(path, module, index, self.values((args, kwargs)))
            self.trace.events.append(Start(call))
            self.running.append(call)

        return hook

    def leaving(self, path: str) -> Callable[..., None]:
        """A forward hook of the module at ``path``."""

        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if threading.get_ident() != self._thread:
                return
            while (call := self.running.pop()).path != path:
                pass  # the model caught an exception of a module inside this one
            call.outputs = self.values(output)
            self.trace.events.append(End(call))

        return hook

    def follow(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], sources: Sequence[Tensor]
    ) -> tuple[Any, list[Tensor]]:
        bound = named_arguments(func, args, kwargs)
        operation = Operation(
            func,
            {name: v if type(v) in PLAIN else self._written_down(v) for name, v in bound.items()},
        )
        operation.module = self.running[-1] if self.running else None
        if self._stale or self._writers:
            operation.stale = tuple([w for t in tensors_in(bound) for w in self.stale(t)])
        result = func(*args, **kwargs)
        # a norm's running statistics are not meant
        written = [] if "batch_norm" in operation.name else list(written_by(func, bound))
        before = self.values(written)
        made = tensors_in(result)
        for tensor in written:
            self._stale.pop(tensor, None)
            for other in self.beside(tensor):
                self._stale[other] = (*self.stale(other), operation)
            if sources and (here := memory_of(tensor)) is not None:
                self._writers[here] = (*self._writers.get(here, ()), operation)
        depend = sources and not only_shaped_alike(func)
        for tensor in [*written, *[t for t in made if not any([t is w for w in written])]]:
            value = _value(tensor)
            if depend:
                self.note(tensor, value)
            else:
                value.tensor = tensor if self._keep_constants else None
                self.constants[tensor] = value
        operation.written = tuple(zip(before, self.values(written), strict=True))
        operation.outputs = self.values(made)
        self.trace.events.append(operation)
        return result, made


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
