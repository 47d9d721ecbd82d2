"""Judge which layer the user means. Inputs, targets and numbers have their own files."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import nn

from captum_cnn_ext._engine.judging.output_targets import ScoredModel
from captum_cnn_ext._engine.judging.wrapped_module import wrapped_modules
from captum_cnn_ext._engine.module_walk import name_in
from captum_cnn_ext._engine.running.graph_nodes import NodeLayer, node_layer
from captum_cnn_ext.errors import ArgumentError, nearest

Layer = nn.Module | str

_FEW = 8  # layers that a message lists


def root_module(forward_func: Callable[..., Any]) -> nn.Module | None:
    """The module behind ``forward_func``: itself, the owner of a bound method, or None.

    A ``torch.compile`` wrapper gives the module it wraps: compiled code does not call hooks that
    are registered after compilation. ``DistributedDataParallel`` gives the module in it.
    """
    owner = getattr(forward_func, "__self__", forward_func)
    owner = without_reducer(getattr(owner, "_orig_mod", owner))
    if isinstance(owner, ScoredModel):
        return observed_module(owner.model)
    return owner if isinstance(owner, nn.Module) else None


def observed_module(forward_func: Callable[..., Any]) -> nn.Module | None:
    """The module whose layers are meant: behind ``forward_func``, or the only one it uses."""
    root = root_module(forward_func)
    if root is not None:
        return root
    found = list(wrapped_modules(forward_func).values())
    return root_module(found[0]) if len(found) == 1 else None


def runnable(forward_func: Callable[..., Any]) -> Callable[..., Any]:
    """``forward_func`` itself, or the module in a ``torch.compile`` or distributed wrapper."""
    return without_reducer(getattr(forward_func, "_orig_mod", forward_func))


def without_reducer(forward_func: Callable[..., Any]) -> Callable[..., Any]:
    """The module in ``DistributedDataParallel``, whose forward awaits gradients of the weights."""
    if isinstance(forward_func, nn.parallel.DistributedDataParallel):
        return cast("nn.Module", forward_func.module)
    return forward_func


def find_layer(
    forward_func: Callable[..., Any], layer: Layer, parameter: str = "layer"
) -> nn.Module:
    """The module that ``layer`` means: itself, or the submodule of that dotted name.

    Raises:
        ArgumentError: the name is not in the model, or the model cannot be observed.
        TypeError: neither a module nor a name.
    """
    if isinstance(layer, str):
        root = observed_module(forward_func)
        if root is None:
            raise ArgumentError(f"{parameter}={layer!r}: {_why_unnamed(forward_func)}")
        inlined = node_layer(root, layer)
        if inlined is not None:
            return inlined
        modules = dict(root.named_modules())
        if layer not in modules:
            refuse_scripted(root, f"{parameter}={layer!r}")
        inner = modules.get("module") if isinstance(root, nn.DataParallel) else None
        found = modules.get(layer) or (modules.get(f"module.{layer}") if inner else None)
        if isinstance(forward_func, nn.parallel.DistributedDataParallel):
            found = found or modules.get(layer.removeprefix("module."))
        if found is None or not layer:
            raise ArgumentError(
                f"{parameter}={layer!r}: {type(root).__name__} has no such layer"
                f"{_others(layer, [name for name in modules if name])}"
            )
        layer = found
    if not isinstance(layer, nn.Module):
        raise TypeError(
            f"{parameter}: expected a torch.nn.Module or its dotted name, got "
            f"{type(layer).__name__} {layer!r}"
        )
    refuse_scripted(layer, parameter)
    root = observed_module(forward_func)
    name = name_in(root, layer)
    return (node_layer(root, name) if root is not None and name else None) or layer


def _others(layer: str, names: list[str]) -> str:
    """Names that may be meant: the nearest, or all where they are few and none is near."""
    near = nearest(layer, names)
    if names and not near and len(names) <= _FEW:
        return f"; it has {', '.join(map(repr, names))}."
    return f"{near}. model.named_modules() lists all {len(names)}."


def refuse_scripted(module: nn.Module, parameter: str) -> None:
    """Refuse TorchScript where its layers have to be seen.

    Raises:
        ArgumentError: the module is scripted or traced by ``torch.jit``.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise ArgumentError(
            f"{parameter}: {type(module).__name__} is TorchScript, whose layers cannot be observed "
            "from Python. Pass the original torch.nn.Module; methods that take no layer, such as "
            "Occlusion, also explain TorchScript."
        )


def _why_unnamed(forward_func: Callable[..., Any]) -> str:
    kind = type(forward_func).__name__
    if isinstance(forward_func, torch.export.ExportedProgram):
        return "forward_func is an ExportedProgram, which is not called; pass program.module()"
    found = wrapped_modules(forward_func)
    if not found:
        return (
            "a layer can be named only when forward_func is a torch.nn.Module or a function around "
            f"one; no module was found in this {kind}. Pass the layer's module itself"
        )
    listed = ", ".join(f"{name} ({type(module).__name__})" for name, module in found.items())
    return (
        f"forward_func is a {kind} that uses {len(found)} modules: {listed}. Pass the layer's "
        f"module itself, such as layer={next(iter(found))}.get_submodule(...)"
    )


def find_layers(
    forward_func: Callable[..., Any], layer: Layer | Sequence[Layer]
) -> nn.Module | list[nn.Module]:
    """The module, or the list of modules, that a constructor's ``layer`` means."""
    if not isinstance(layer, (list, tuple)):
        return find_layer(forward_func, layer)  # type: ignore[arg-type]
    if not layer:
        raise ArgumentError("layer=[]: expected at least one layer")
    return [find_layer(forward_func, item) for item in layer]


def layer_name(forward_func: Callable[..., Any] | None, module: nn.Module) -> str:
    """The dotted name of a layer for messages, or its class name when it has none."""
    if isinstance(module, NodeLayer):
        return module.label
    root = None if forward_func is None else observed_module(forward_func)
    return name_in(root, module) or type(module).__name__
