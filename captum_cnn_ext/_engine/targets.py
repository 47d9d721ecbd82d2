"""What is explained: the score that a target selects, or a layer's neuron."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.arguments import ArgumentError, TargetError
from captum_cnn_ext._engine.captum_compat import select_targets
from captum_cnn_ext._engine.inputs import as_tensors


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
