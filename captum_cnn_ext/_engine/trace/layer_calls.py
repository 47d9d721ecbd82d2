"""What a table of layers says of a forward pass: multiply-adds and activations."""

from typing import Any

from torch.utils.flop_counter import flop_registry

from captum_cnn_ext._engine.nested_tensors import mapped
from captum_cnn_ext._engine.trace.forward_trace import End, ModuleCall, Operation, Trace, Value

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
SAME_VALUES = {"view", "_unsafe_view", "permute", "transpose", "t", "unsqueeze", "squeeze"}
SAME_VALUES |= {"expand", "alias", "detach", "clone", "_to_copy"}
_SEEN_THROUGH_MODULES = ("Norm", "Dropout", "DropPath", "Identity")


def multiply_adds(trace: Trace) -> dict[ModuleCall, int]:
    """For each call those of the operations that it runs itself, not those of modules in it."""
    found: dict[ModuleCall, int] = {}
    for operation in trace.operations:
        count = flop_registry.get(operation.func.overloadpacket)
        if count and operation.module is not None:
            shapes = mapped(list(operation.arguments.values()), _shape)
            out = [value.shape for value in operation.outputs]
            flops = count(*shapes, out_val=out[0] if len(out) == 1 else out)
            found[operation.module] = found.get(operation.module, 0) + flops // 2
    return found


def _shape(argument: Any) -> Any:
    return argument.shape if isinstance(argument, Value) else argument


def activations(trace: Trace) -> dict[ModuleCall, str]:
    """For each call the activation that its output goes into, or that its own forward ends with."""
    found: dict[ModuleCall, str] = {}
    # the calls whose output a value is, up to steps that are seen through
    waiting: dict[Value, list[ModuleCall]] = {}
    activated: dict[Value, str] = {}
    gates: dict[Value, Value] = {}  # sigmoid(x) -> x

    def serve(calls: list[ModuleCall], label: str) -> None:
        for call in calls:
            found.setdefault(call, label)

    for event in trace.events:
        if isinstance(event, End):
            call = event.call
            kind = type(call.module).__name__.rstrip("123d")
            seen_through = kind.endswith(_SEEN_THROUGH_MODULES) and call.inputs
            earlier = waiting.get(call.inputs[0], []) if seen_through else []
            for value in call.outputs:
                if value in activated:
                    serve([call], activated[value])
                waiting[value] = [*waiting.get(value, []), *earlier, call]
        elif isinstance(event, Operation) and event.outputs:
            source, *others = event.arguments.values() or (None,)
            if not isinstance(source, Value):
                continue
            name, result = event.name.rstrip("_"), event.outputs[0]
            calls, label = waiting.get(source, []), _label(name, others)
            if name == "mul" and isinstance(others[0], Value):
                x, gate = (others[0], source) if source in gates else (source, others[0])
                if gates.get(gate) is x:  # x * sigmoid(x), written out
                    calls, label = waiting.get(x, []), "SiLU"
                    found.update(dict.fromkeys(calls, label))
            if label:
                activated[result] = label
                serve(calls, label)
                if event.name == "sigmoid":
                    gates[result] = source
            elif name in SAME_VALUES or any(part in name for part in _SEEN_THROUGH):
                waiting[result] = calls
    return found


def _label(name: str, others: list[Any]) -> str:
    """The reader's name of an operation that is an activation, or an empty string."""
    low, high = (*others[:2], None, None)[:2]
    if name == "hardtanh":
        return "ReLU6" if (low, high) == (0, 6) else "Hardtanh"
    if name in ("clamp", "clamp_min") and low == 0 and high in (None, 6):
        return "ReLU6" if high else "ReLU"
    return ACTIVATIONS.get(name, "")
