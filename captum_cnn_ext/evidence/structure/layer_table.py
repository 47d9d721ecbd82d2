"""A model's layers as a table: configuration, shapes, parameters, multiply-adds."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.input_sizes import Size, input_shape
from captum_cnn_ext._engine.trace.forward_trace import ModuleCall, Trace, Value
from captum_cnn_ext._engine.trace.layer_calls import activations, multiply_adds
from captum_cnn_ext._engine.trace.trace_recorder import trace_of
from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.evidence.structure.layer_rows import WEIGHTS_READ, LayerRow, LayerTable, Shape

InputSize = Size | Sequence[Sequence[int]] | Tensor | Sequence[Tensor]


def layer_table(model: nn.Module, input_size: InputSize) -> LayerTable:
    """List a model's layers in the order in which they run, with configuration, shapes and costs.

    A layer is a module that has no modules in it, has parameters of its own, or multiplies
    matrices itself. Layers that the forward pass never calls are listed too, so that the
    parameters add up to the model's; the note says so, because a hook on them never fires.

    Multiply-adds are the multiplications of convolutions, transposed convolutions, linear layers
    and matrix products (attention), summed over a layer's calls, for the batch as given; biases,
    normalisation and activations are not counted. They are half of the floating-point operations
    of `torch.utils.flop_counter`.

    The model runs in evaluation mode, as a copy without its weights on the meta device: nothing
    is computed and the model is not touched. Where that cannot work (the model looks at values or
    makes tensors of its own on some device) a copy that shares the weights runs once on zeros.

    Args:
        model: any `torch.nn.Module` that runs on these inputs.
        input_size: 224, (224, 224), (3, 224, 224) or (1, 3, 224, 224); what is not named is a
            batch of one, and the channels and dimensions of the first convolution. A list of
            sizes for a model with several inputs: if the first has a batch dimension, all have.
            Or example tensors, needed for integer inputs.

    Raises:
        TypeError: ``model`` is no module.
        ArgumentError: ``input_size`` holds neither sizes nor tensors.
        ValueError: the model cannot run on such inputs; the message says which layer failed and
            what it expects.

    Example:
        >>> from torch import nn
        >>> from captum_cnn_ext.evidence import layer_table
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> table = layer_table(net, (3, 32, 32))
        >>> table[0].activation, table[0].output_shapes, table.parameters, table.multiply_adds
        ('ReLU', ((1, 8, 32, 32),), 224, 221184)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    model = getattr(model, "_orig_mod", model)
    inputs = example_inputs(model, input_size)
    trace = trace_of(model, inputs)
    costs = multiply_adds(trace)
    parameters = {id(p): p for p in model.parameters()}.values()
    return LayerTable(
        model=type(model).__name__,
        input_shapes=tuple(tuple(x.shape) for x in inputs),
        rows=tuple(_rows(model, trace, costs)),
        parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        multiply_adds=sum(costs.values()),
        note=(
            f"{trace.elsewhere}, whose layers are not seen here"
            if trace.elsewhere
            else f"{trace.left}: other inputs may be computed in another way"
            if trace.left
            else ""
        ),
    )


def example_inputs(model: nn.Module, input_size: InputSize) -> list[Tensor]:
    """Meta tensors of the sizes asked for, or the tensors that were given."""
    given: Any = input_size
    if isinstance(given, Tensor):
        return [given]
    listed = isinstance(given, (tuple, list)) and bool(given)
    if listed and all(isinstance(item, Tensor) for item in given):
        return list(given)
    several = given if listed and isinstance(given[0], (tuple, list)) else [given]
    first = input_shape("input_size", several[0], model, images=False)
    batch = first[: len(first) - len(several[0])] if several is given else ()
    others = [[as_count("input_size", n) for n in size] for size in several[1:]]
    shapes = [first, *((*batch[:1], *size) for size in others)]
    floating = (p.dtype for p in model.parameters() if p.is_floating_point())
    dtype = next(floating, torch.get_default_dtype())
    return [torch.empty(shape, dtype=dtype, device="meta") for shape in shapes]


def _rows(model: nn.Module, trace: Trace, costs: Mapping[ModuleCall, int]) -> Iterator[LayerRow]:
    """The rows in the order of first calls; what is never called stands at its parent or last."""
    modules = dict(model.named_modules())
    aliases: dict[int, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        aliases.setdefault(id(module), []).append(path)
    owners: dict[int, list[str]] = {}
    for path, module in modules.items():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(path)
    calls: dict[str, list[ModuleCall]] = {}
    for call in trace.calls:
        calls.setdefault(call.path, []).append(call)
    active = activations(trace)
    weights_read = {id(value.tensor) for step in trace.operations for value in step.reads}
    started = {path: position for position, path in enumerate(calls)}

    def place(path: str) -> float:
        parent = path.rpartition(".")[0]
        own = {id(p) for p in modules[path].parameters(recurse=False)}
        fallback = started.get(parent, math.inf) if own & weights_read else math.inf
        return started.get(path, fallback)

    counted: set[int] = set()
    for path in sorted(modules, key=place):
        module, mine = modules[path], calls.get(path, [])
        parameters = list(module.parameters(recurse=False))
        cost = sum(costs.get(call, 0) for call in mine)
        weighty = bool(parameters or cost)
        holds_others = any(True for _ in module.children())
        if not weighty and (holds_others or isinstance(module, (nn.ModuleList, nn.ModuleDict))):
            continue
        fresh = {id(p): p.numel() for p in parameters if id(p) not in counted}
        counted.update(fresh)
        names = dict.fromkeys(active[call] for call in mine if call in active)
        others = [*aliases[id(module)], *(path for p in parameters for path in owners[id(p)])]
        yield LayerRow(
            name=path,
            type=type(module).__name__,
            **_configuration(module),
            activation=", ".join(names) if weighty else "",
            input_shapes=_shapes(mine[0].inputs) if mine else (),
            output_shapes=_shapes(mine[0].outputs) if mine else (),
            parameters=sum(fresh.values()),
            trainable=_trainable(parameters),
            multiply_adds=cost,
            calls=len(mine),
            shared_with=tuple(dict.fromkeys(other for other in others if other != path)),
            note=_note(mine, weights_read.intersection(map(id, parameters))),
        )


def _configuration(module: nn.Module) -> dict[str, Any]:
    """The constructor's settings as the module kept them."""
    suffix = re.search(r"(\d)d$", type(module).__name__)

    def size(name: str) -> Shape:
        value = getattr(module, name, None)
        value = (value,) * int(suffix[1] if suffix else 1) if isinstance(value, int) else value
        return tuple(value) if isinstance(value, (tuple, list)) else ()

    padding: Any = getattr(module, "padding", None)
    mode = getattr(module, "padding_mode", "zeros")
    filters = getattr(module, "out_channels", getattr(module, "out_features", None))
    bias = getattr(module, "bias", None)
    groups = getattr(module, "groups", None)
    return {
        "filters": filters if isinstance(filters, int) else None,
        "kernel": size("kernel_size"),
        "stride": size("stride"),
        "padding": padding if isinstance(padding, str) else size("padding"),
        "padding_mode": "" if mode == "zeros" else mode,
        "dilation": size("dilation"),
        "groups": groups if isinstance(groups, int) else None,
        "bias": None if filters is None else bias is not None and bias is not False,
    }


def _shapes(values: Sequence[Value]) -> tuple[Shape, ...]:
    return tuple(value.shape for value in values)


def _trainable(parameters: Sequence[nn.Parameter]) -> str:
    flags = {p.requires_grad for p in parameters}
    return "partly" if len(flags) == 2 else "yes" if True in flags else "no" if flags else ""


def _note(calls: Sequence[ModuleCall], weights_read: Set[int]) -> str:
    if not calls:
        return WEIGHTS_READ if weights_read else "not called"
    shapes = {(_shapes(call.inputs), _shapes(call.outputs)) for call in calls}
    return "other shapes in later calls" if len(shapes) > 1 else ""
