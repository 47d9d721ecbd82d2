"""One forward pass over a copy of a model's structure: which modules run, in which order.

The copy has its own hooks, flags and buffers and holds no weights: it runs on the meta device,
where nothing is computed. Where that cannot work (the model makes tensors of its own, or looks at
values), a copy that shares the model's weights runs once for real. The model is never touched.
"""

import copy
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakTensorKeyDictionary

from captum_cnn_ext._engine.following import Follower, in_layer, only_shaped_alike, tensors_in
from captum_cnn_ext._engine.inputs import check_initialised
from captum_cnn_ext._engine.state import state_as_found

Shape = tuple[int, ...]

ACTIVATIONS = {
    "relu": "ReLU",
    "silu": "SiLU",
    "gelu": "GELU",
    "hardswish": "Hardswish",
    "hardsigmoid": "Hardsigmoid",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "mish": "Mish",
    "elu": "ELU",
    "celu": "CELU",
    "leaky_relu": "LeakyReLU",
    "rrelu_with_noise": "RReLU",
    "_prelu_kernel": "PReLU",
    "softplus": "Softplus",
    "log_sigmoid_forward": "LogSigmoid",
    "softshrink": "Softshrink",
    "hardshrink": "Hardshrink",
    "threshold": "Threshold",
    "glu": "GLU",
    "_softmax": "Softmax",
    "_log_softmax": "LogSoftmax",
}
"""Names of ATen operations that are activations, and what readers call them."""

_SEEN_THROUGH = ("batch_norm", "layer_norm", "group_norm", "rms_norm", "dropout", "max_pool")
_SAME_VALUES = {"view", "_unsafe_view", "permute", "transpose", "t", "unsqueeze", "squeeze"}
_SAME_VALUES |= {"expand", "alias", "detach", "clone", "_to_copy"}
_SEEN_THROUGH_MODULES = ("Norm", "Dropout", "DropPath", "Identity")


@dataclass(slots=True)
class ModuleCall:
    """One call of one module.

    ``multiply_adds`` are those of operations the module runs itself, not those of modules in it.
    ``activation`` is the one its output goes into next, or the one its own forward ends with.
    """

    path: str
    module: nn.Module
    index: int
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...] = ()
    multiply_adds: int = 0
    activation: str = ""


@dataclass(slots=True)
class ModuleCalls:
    """Every module call in the order in which they start, and the ids of parameters read.

    ``left`` says by what and where a value first left torch, so that other inputs may take
    another way; empty where none did.
    """

    calls: list[ModuleCall] = field(default_factory=list)
    parameters_read: set[int] = field(default_factory=set)
    left: str = ""


def module_calls(model: nn.Module, inputs: Sequence[Tensor]) -> ModuleCalls:
    """Run ``model(*inputs)`` once in evaluation mode and say what was called.

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
            tracer = _Tracer(model, meta=True)
            return tracer.run([torch.empty_like(x, device="meta") for x in inputs])
        except Exception:
            pass  # the copy below meets the same error if it is the model's own
        parameters = list(model.parameters())
        device = parameters[0].device if parameters else torch.device("cpu")
        with state_as_found(None, parameters[:1]):
            tracer = _Tracer(model, meta=False)
            real = [_as_real(x, device) for x in inputs]
            try:
                return tracer.run(real)
            except Exception as error:
                raise ValueError(tracer.explain(error, real)) from error


def _as_real(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.is_meta:
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)
    return tensor.detach().to(device, copy=True)


def _shapes(value: Any) -> tuple[Shape, ...]:
    return tuple(tuple(tensor.shape) for tensor in tensors_in(value))


class _CopyTensors(TorchFunctionMode):
    """While a model is copied: buffers and other tensors become meta tensors or clones."""

    def __init__(self, meta: bool) -> None:
        super().__init__()
        self.meta = meta

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            fresh = torch.empty_like(tensor, device="meta") if self.meta else tensor.clone()
            memo[id(tensor)] = fresh
        return memo[id(tensor)]


def copy_structure(model: nn.Module, meta: bool) -> nn.Module:
    """A copy in evaluation mode: own modules, no hooks, parameters on meta or the model's own."""
    check_initialised(model)
    memo: dict[int, Any] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            memo[id(parameter)] = (
                nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
                if meta
                else parameter
            )
        for name, value in vars(module).items():
            if name.endswith("_hooks"):
                memo[id(value)] = type(value)()
    with _CopyTensors(meta):
        try:
            twin = copy.deepcopy(model, dict(memo))
        except Exception:  # a lock, an open file, a library module: shared instead of copied
            for module in model.modules():
                for name, value in vars(module).items():
                    try:
                        if name != "_modules":
                            copy.deepcopy(value, dict(memo))
                    except Exception:
                        memo[id(value)] = value
            twin = copy.deepcopy(model, memo)
    for module in twin.modules():
        module.training = False
    return twin


class _Tracer(Follower):
    """Runs the copy under observation: hooks say where we are, operations what happens there."""

    def __init__(self, model: nn.Module, meta: bool) -> None:
        super().__init__()
        self.modules = dict(model.named_modules())
        self.twin = copy_structure(model, meta)
        pairs = zip(self.twin.parameters(), model.parameters(), strict=True)
        self.parameters = {id(copied): id(original) for copied, original in pairs}
        self.result = ModuleCalls()
        self.running: list[ModuleCall] = []
        self.counts: dict[str, int] = {}
        # The calls whose output a tensor is, up to steps that are seen through.
        self.waiting: MutableMapping[Tensor, list[ModuleCall]] = WeakTensorKeyDictionary()
        # The output of an activation -> its name; sigmoid(x) -> x.
        self.activated: MutableMapping[Tensor, str] = WeakTensorKeyDictionary()
        self.gates: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()

    def run(self, inputs: Sequence[Tensor]) -> ModuleCalls:
        for path, module in self.twin.named_modules():
            module.register_forward_pre_hook(self._enter(path), with_kwargs=True)
            module.register_forward_hook(self._leave(path))
        for tensor in inputs:
            self.note(tensor, True)
        with self.reads, self:
            self.twin(*inputs)
        self.result.left = self.left
        return self.result

    def where(self) -> str:
        return in_layer(self.running[-1].path if self.running else "")

    def _enter(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            index = self.counts.get(path, 0)
            self.counts[path] = index + 1
            call = ModuleCall(path, self.modules[path], index, _shapes((args, kwargs)))
            self.result.calls.append(call)
            self.running.append(call)

        return hook

    def _leave(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            while (call := self.running.pop()).path != path:
                pass  # the model caught an exception of a module inside this one
            call.output_shapes = _shapes(output)
            kind = type(module).__name__.rstrip("123d")
            earlier = self._before(args) if kind.endswith(_SEEN_THROUGH_MODULES) else []
            for tensor in tensors_in(output):
                call.activation = call.activation or self.activated.get(tensor, "")
                self.waiting[tensor] = [*self._before(tensor), *earlier, call]

        return hook

    def _before(self, value: Any) -> list[ModuleCall]:
        """The calls that wait for an activation at the first tensor in ``value``."""
        tensor = next(tensors_in(value), None)
        return [] if tensor is None else self.waiting.get(tensor, [])

    def follow(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], sources: Sequence[Tensor]
    ) -> Any:
        for tensor in tensors_in((args, kwargs)):
            if id(tensor) in self.parameters:
                self.result.parameters_read.add(self.parameters[id(tensor)])
        output = func(*args, **kwargs)
        count = flop_registry.get(func.overloadpacket)
        if count and self.running:
            self.running[-1].multiply_adds += count(*args, **kwargs, out_val=output) // 2
        result = next(tensors_in(output), None)
        if args and isinstance(args[0], Tensor) and result is not None:
            self._await(func, args, result)
        if sources and not only_shaped_alike(func):
            for tensor in tensors_in(output):
                self.note(tensor, True)
        return output

    def _await(self, func: Any, args: Any, result: Tensor) -> None:
        """Carry the calls that wait for an activation from ``args[0]`` to ``result``, or serve."""
        source, name = args[0], func.overloadpacket.__name__
        calls, in_place = self._before(source), name.endswith("_")
        name = name.rstrip("_")
        label = _label(name, args)
        if name == "mul" and len(args) > 1 and isinstance(args[1], Tensor):
            x, gate = (args[1], source) if source in self.gates else (source, args[1])
            if self.gates.get(gate) is x:  # x * sigmoid(x), written out
                calls, label = self._before(x), "SiLU"
                for call in calls:
                    call.activation = label
        if in_place:
            self.waiting.pop(source, None)
            self.activated.pop(source, None)
        if label:
            self.activated[result] = label
            for call in calls:
                call.activation = call.activation or label
            if name == "sigmoid" and not in_place:
                self.gates[result] = source
        elif name in _SAME_VALUES or any(part in name for part in _SEEN_THROUGH):
            self.waiting[result] = calls

    def explain(self, error: Exception, inputs: Sequence[Tensor]) -> str:
        """What failed, where, and what that layer expects."""
        sizes = ", ".join(_size(tuple(x.shape)) for x in inputs)
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if not self.running:
            return f"the model cannot be run on input_size {sizes}: {reason}"
        call = self.running[-1]
        wants = [
            f" and expects {name}={getattr(call.module, name)}"
            for name in ("in_channels", "in_features", "num_features")
            if hasattr(call.module, name)
        ]
        return (
            f"input_size {sizes}: the forward pass failed in "
            f"{repr(call.path) if call.path else 'the model itself'} "
            f"({type(call.module).__name__}), which got "
            f"{', '.join(map(_size, call.input_shapes))}{wants[0] if wants else ''}: {reason}"
        )


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a scalar"


def _label(name: str, args: Any) -> str:
    """The reader's name of an operation that is an activation, or an empty string."""
    low, high = (*args[1:3], None, None)[:2]
    if name == "hardtanh":
        return "ReLU6" if (low, high) == (0, 6) else "Hardtanh"
    if name in ("clamp", "clamp_min") and low == 0 and high in (None, 6):
        return "ReLU6" if high else "ReLU"
    return ACTIVATIONS.get(name, "")
