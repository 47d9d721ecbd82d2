"""Judge what the user passed: layers, inputs, targets, choices. Every error text is here."""

import difflib
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.captum_compat import select_targets

Layer = nn.Module | str


class ArgumentError(ValueError, AssertionError):
    """A wrong argument: a ``ValueError``, and the ``AssertionError`` that Captum's contract has."""


class TargetError(ArgumentError, IndexError):
    """A ``target`` that the model's output does not have (Captum: AssertionError, IndexError)."""


def nearest(name: str, options: Iterable[str]) -> str:
    """A hint ``"; nearest: 'a', 'b'"`` for a misspelt name, or an empty string."""
    close = difflib.get_close_matches(name, list(options), n=3, cutoff=0.4)
    return f"; nearest: {', '.join(map(repr, close))}" if close else ""


def choose(parameter: str, value: str, options: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``options``, else raise naming the nearest."""
    if value not in options:
        raise ArgumentError(
            f"{parameter}={value!r}: expected one of {', '.join(map(repr, options))}"
            f"{nearest(str(value), options)}"
        )
    return value


def root_module(forward_func: Callable[..., Any]) -> nn.Module | None:
    """The module behind ``forward_func``: itself, the owner of a bound method, or None.

    A ``torch.compile`` wrapper gives the module it wraps: compiled code does not call hooks that
    are registered after compilation. ``DistributedDataParallel`` gives the module in it.
    """
    owner = getattr(forward_func, "__self__", forward_func)
    owner = without_reducer(getattr(owner, "_orig_mod", owner))
    return owner if isinstance(owner, nn.Module) else None


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
        root = root_module(forward_func)
        if root is None:
            raise ArgumentError(
                f"{parameter}={layer!r}: a layer can be named only when forward_func is a "
                f"torch.nn.Module; it is a {type(forward_func).__name__}. Pass the module itself."
            )
        modules = dict(root.named_modules())
        inner = modules.get("module") if isinstance(root, nn.DataParallel) else None
        found = modules.get(layer) or (modules.get(f"module.{layer}") if inner else None)
        if isinstance(forward_func, nn.parallel.DistributedDataParallel):
            found = found or modules.get(layer.removeprefix("module."))
        if found is None or not layer:
            raise ArgumentError(
                f"{parameter}={layer!r}: {type(root).__name__} has no such layer"
                f"{nearest(layer, modules)}. model.named_modules() lists all {len(modules) - 1}."
            )
        layer = found
    if not isinstance(layer, nn.Module):
        raise TypeError(
            f"{parameter}: expected a torch.nn.Module or its dotted name, got "
            f"{type(layer).__name__} {layer!r}"
        )
    if isinstance(layer, torch.jit.ScriptModule):
        raise ArgumentError(
            f"{parameter}: {type(layer).__name__} is TorchScript, which cannot be observed from "
            "Python; pass the original torch.nn.Module."
        )
    return layer


def find_layers(
    forward_func: Callable[..., Any], layer: Layer | Sequence[Layer]
) -> nn.Module | list[nn.Module]:
    """The module, or the list of modules, that a constructor's ``layer`` means."""
    if not isinstance(layer, (list, tuple)):
        return find_layer(forward_func, layer)  # type: ignore[arg-type]
    if not layer:
        raise ArgumentError("layer=[]: expected at least one layer")
    return [find_layer(forward_func, item) for item in layer]


def layer_name(forward_func: Callable[..., Any], module: nn.Module) -> str:
    """The dotted name of a layer for messages, or its class name when it has none."""
    root = root_module(forward_func)
    names = [n for n, m in root.named_modules() if m is module] if root is not None else []
    return names[0] if names and names[0] else type(module).__name__


def as_tensors(inputs: Any, parameter: str = "inputs") -> tuple[Tensor, ...]:
    """Captum's inputs (one tensor or a tuple of tensors) as a tuple.

    Raises:
        TypeError: anything else.
    """
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors):
        found = ", ".join(type(tensor).__name__ for tensor in tensors)
        raise TypeError(
            f"{parameter}: expected a tensor or a tuple of tensors, batch first, got "
            f"{'a tuple of ' if isinstance(inputs, tuple) else ''}{found or 'nothing'}"
        )
    return tensors


def check_examples(tensors: Sequence[Tensor]) -> None:
    """Refuse an empty batch, where there is nothing to compute the answer's shape from."""
    if tensors and tensors[0].ndim and not len(tensors[0]):
        raise ArgumentError(
            f"inputs: expected at least one example, got shape {tuple(tensors[0].shape)}"
        )


def check_devices(root: nn.Module | None, tensors: Sequence[Tensor]) -> None:
    """Name a model and inputs that are on different devices, before torch fails somewhere inside.

    Raises:
        ArgumentError: no parameter or buffer of the model is on the first input's device.
    """
    if root is None or not tensors:
        return
    device, others = tensors[0].device, []
    for tensor in (*root.parameters(), *root.buffers()):
        if tensor.device == device:
            return
        others.append(tensor.device)
    if others and not isinstance(root, nn.DataParallel):
        what = " (meta tensors have shapes and no values)" if "meta" in map(str, others) else ""
        what = " (meta tensors have shapes and no values)" if device.type == "meta" else what
        raise ArgumentError(
            f"inputs: they are on {device}, the model {type(root).__name__} is on {others[0]}; "
            f"expected one device{what}"
        )


def select_score(output: Any, target: Any) -> Tensor:
    """Each example's score that ``target`` selects from the model's output, shape (N,).

    Takes every form of target that Captum takes: None, int, tuple, tensor, list of int or tuple.

    Raises:
        TypeError: the output is not a tensor.
        TargetError: the output has no such target, or the target leaves more than one score.
    """
    if not isinstance(output, Tensor):
        keys = f" with keys {sorted(map(str, output))}" if isinstance(output, dict) else ""
        raise TypeError(
            f"forward_func: expected it to return a tensor (N, ...), got {type(output).__name__}"
            f"{keys}; wrap it, e.g. lambda x: model(x)['out']"
        )
    if hasattr(target, "__index__") and not isinstance(target, Tensor):
        target = operator.index(target)
    _check_range(output, target)
    try:
        score = select_targets(output, target)
    except (AssertionError, IndexError, RuntimeError, TypeError) as error:
        raise TargetError(
            f"target={target!r}: cannot be taken from the model's output of shape "
            f"{tuple(output.shape)} ({error})"
        ) from error
    if score.numel() != (score.shape[0] if score.ndim else 1):
        raise TargetError(
            f"target={target!r}: selects shape {tuple(score.shape[1:])} for each example from the "
            f"model's output {tuple(output.shape)}; expected one score. Target not provided when "
            "necessary, or too short: give one index for each dimension after the batch, or wrap "
            "forward_func so that it returns one score."
        )
    return score.reshape(-1)


def _check_range(output: Tensor, target: Any) -> None:
    """Refuse class indices the output does not have; on CUDA an index error would be fatal."""
    if isinstance(target, Tensor):
        if target.dtype.is_floating_point or target.dtype == torch.bool:
            raise TargetError(f"target: expected integer class indices, got dtype {target.dtype}")
        indices = target.reshape(-1).tolist()
    elif isinstance(target, int):
        indices = [target]
    elif isinstance(target, list) and all(isinstance(t, int) for t in target):
        indices = target
    else:
        return
    classes = output.shape[1] if output.ndim > 1 else 0
    wrong = [index for index in indices if not -classes <= index < classes]
    if wrong:
        raise TargetError(
            f"target={wrong[0]}: the model's output of shape {tuple(output.shape)} has "
            f"{classes} classes; expected an index from 0 to {classes - 1}"
            if classes
            else f"target={wrong[0]}: the model returns one score for each example (shape "
            f"{tuple(output.shape)}), so it takes no target; expected target=None"
        )


def target_columns(targets: Any, inputs: Any) -> list[Any] | Tensor:
    """Several targets at once: a list of T for every example, or a tensor (N, T) of class indices.

    Raises:
        ArgumentError: there are none, or they have another form.
    """
    if isinstance(targets, Tensor) and targets.ndim == 1:
        targets = targets.tolist()
    if isinstance(targets, Tensor):
        length = len(as_tensors(inputs)[0])
        if targets.ndim != 2 or len(targets) != length or not targets.shape[1]:
            raise ArgumentError(
                f"targets: expected shape (T,), or (N, T) for the {length} inputs, got "
                f"{tuple(targets.shape)}"
            )
        return targets
    if isinstance(targets, (list, tuple, range)) and len(targets):
        return list(targets)
    raise ArgumentError(
        f"targets={targets!r}: expected a list of classes, or a tensor (T,) or (N, T) of them"
    )


NeuronSelector = int | tuple[int | slice, ...] | Callable[..., Tensor]


def select_neuron(outputs: tuple[Tensor, ...], selector: NeuronSelector) -> Tensor:
    """Each example's neuron that ``neuron_selector`` picks from a layer's tensors, shape (N,).

    An int or a tuple of ints is an index after the batch; slices in it are summed; a callable gets
    the layer's tensor (a tuple of them when it has several) and returns one value per example.

    Raises:
        TargetError: the layer has no such neuron, or more than one value per example is left.
        TypeError: a selector of another type.
    """
    if callable(selector):
        found = selector(outputs if len(outputs) > 1 else outputs[0])
        if not isinstance(found, Tensor) or found.numel() != len(outputs[0]):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise TargetError(
                f"neuron_selector: the function returned {shape}; expected a tensor with one value "
                f"for each of the {len(outputs[0])} examples"
            )
        return found.reshape(-1)
    if len(outputs) > 1:
        raise TargetError(
            f"neuron_selector={selector!r}: the layer gives {len(outputs)} tensors; pass a "
            "function of the tuple, e.g. lambda t: t[0][:, 3]"
        )
    index = selector if isinstance(selector, tuple) else (selector,)
    if not all(isinstance(i, slice) or hasattr(i, "__index__") for i in index):
        raise TypeError(
            f"neuron_selector={selector!r}: expected an int, a tuple of ints and slices, or a "
            "function of the layer's output"
        )
    shape = tuple(outputs[0].shape)
    outside = any(
        not isinstance(i, slice) and not -size <= operator.index(i) < size
        for i, size in zip(index, shape[1:], strict=False)
    )
    if len(index) > len(shape) - 1 or outside:
        raise TargetError(
            f"neuron_selector={selector!r}: the layer's output {shape} has no such neuron; "
            f"expected {len(shape) - 1} indices after the batch, each below {shape[1:]}"
        )
    found = outputs[0][(slice(None), *index)]
    if any(isinstance(i, slice) for i in index):
        return found.reshape(len(found), -1).sum(1)
    if found.ndim != 1:
        raise TargetError(
            f"neuron_selector={selector!r}: leaves {tuple(found.shape[1:])} values of the layer's "
            f"output {shape} for each example; expected {len(shape) - 1} indices, or slices to sum"
        )
    return found
