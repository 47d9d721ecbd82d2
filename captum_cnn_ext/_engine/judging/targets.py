"""What is explained: the score that a target selects, or a layer's neuron."""

import operator
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.captum_compat import select_targets
from captum_cnn_ext._engine.judging.inputs import as_tensors
from captum_cnn_ext._engine.judging.output_targets import called, check_length, is_function
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext.errors import ArgumentError, TargetError


def as_target(target: Any) -> Any:
    """A target as Captum takes it: None, an int, a tuple, a tensor (N,), a list of ints or tuples.

    Besides these, NumPy's integers and arrays are taken, one column, (N, 1), and functions of the
    model's output, such as those of `captum_cnn_ext.targets`.

    Raises:
        TargetError: numbers that are no integers, or an array of several dimensions.
    """
    if isinstance(target, Tensor):
        if target.dtype.is_floating_point or target.dtype == torch.bool or target.is_complex():
            raise TargetError(f"target: expected integer class indices, got dtype {target.dtype}")
        return target.reshape(-1) if target.ndim == 2 and target.shape[1] == 1 else target
    if isinstance(target, np.ndarray):
        if target.dtype.kind not in "iu":
            raise TargetError(f"target: expected integer class indices, got dtype {target.dtype}")
        column = target.ndim == 2 and target.shape[1] == 1
        if target.ndim > 1 and not column:
            raise TargetError(
                f"target: an array {target.shape} has several indices for each example; pass a "
                "list of tuples where the output has several dimensions"
            )
        return (target[:, 0] if column else target).tolist()
    if isinstance(target, list):
        if not target:  # of a batch without examples
            return torch.zeros(0, dtype=torch.long, device="cpu")
        return [_element(each, f"target[{i}]") for i, each in enumerate(target)]
    return target if target is None else _element(target, "target")


def _element(value: Any, name: str) -> Any:
    """One example's target: an int, a tuple of indices, or a function of the output."""
    if callable(value) and not isinstance(value, type):
        return value
    if isinstance(value, tuple):
        return tuple(_index(v, name) if hasattr(v, "__index__") else v for v in value)
    return _index(value, name)


def _index(value: Any, name: str) -> int:
    if not isinstance(value, (bool, np.bool_)):
        with suppress(TypeError):
            return operator.index(value)
    hint = (
        f"; of a class its number: class_names.index({value!r})" if isinstance(value, str) else ""
    )
    raise TargetError(
        f"{name}={value!r}: expected an integer, a tuple of integers where the output has several "
        f"dimensions, or a function of the output, such as captum_cnn_ext.targets.Boxes(0){hint}"
    )


def select_score(output: Any, target: Any) -> Tensor:
    """Each example's score that ``target`` selects from the model's output, shape (N,).

    Takes every form of target that `as_target` takes, and every output that `output_tensor` does.

    Raises:
        OutputError: which tensor of the output holds the scores is not certain.
        TargetError: the output has no such target, or the target leaves more than one score.
    """
    target = as_target(target)
    if is_function(target):
        return _of_functions(output, target)
    output = output_tensor(output)
    if isinstance(target, Tensor):
        target = target.to(output.device)
    _check_range(output, target)
    try:
        score = select_targets(output, target)
    except (AssertionError, IndexError, RuntimeError, TypeError) as error:
        raise TargetError(
            f"target={target!r}: cannot be taken from the model's output of shape "
            f"{_shape(output)}; expected one class index where that is (N, classes), or a "
            "tuple with one index for each dimension after the batch"
        ) from error
    if score.numel() != (score.shape[0] if score.ndim else 1):
        raise TargetError(
            f"target={target!r}: selects shape {tuple(score.shape[1:])} for each example from the "
            f"model's output {_shape(output)}; expected one score. Target not provided when "
            "necessary, or too short: give one index for each dimension after the batch, or wrap "
            "forward_func so that it returns one score."
        )
    return score.reshape(-1)


def refuse_function(target: Any, why: str) -> None:
    """Refuse a function of the output where only a class will do."""
    if is_function(target):
        raise TargetError(
            f"target={target!r}: {why}, so a function of the output will not do; "
            "expected class indices"
        )


def _of_functions(output: Any, target: Any) -> Tensor:
    """Each example's score by its own function of the output; a list of one is for all."""
    each = target if isinstance(target, list) else [target]
    found = {id(t): called(t, output) if callable(t) else select_score(output, t) for t in each}
    first = found[id(each[0])]
    if len(each) == 1:
        return first
    check_length(each, len(first))
    return torch.stack([found[id(t)][n] for n, t in enumerate(each)]) if len(found) > 1 else first


def _check_range(output: Tensor, target: Any) -> None:
    """Refuse class indices the output does not have; on CUDA an index error would be fatal."""
    if isinstance(target, list) or (isinstance(target, Tensor) and target.numel() != 1):
        check_length(target, output.shape[0] if output.ndim else 1)
    if isinstance(target, Tensor):
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
            f"target={wrong[0]}: the model's output of shape {_shape(output)} has "
            f"{classes} classes; expected an index from 0 to {classes - 1}"
            if classes
            else f"target={wrong[0]}: the model returns one score for each example (shape "
            f"{_shape(output)}), so it takes no target; expected target=None"
        )


def _shape(output: Tensor) -> str:
    """(N, classes): how many examples a pass had is not always how many the user gave."""
    sizes = ["N", *map(str, output.shape[1:])]
    return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})" if output.ndim else "()"


@dataclass(frozen=True)
class TargetColumns:
    """Several targets at once: T that every example shares, or each example's own.

    Args:
        shared: T targets.
        own: N rows of T targets.
    """

    shared: list[Any] | None
    own: Tensor | list[list[Any]] | None

    def of(self, rows: Any) -> list[Any]:
        """The T targets of the examples whose ``rows`` of ``own`` these are."""
        if self.shared is not None:
            return self.shared
        if isinstance(rows, Tensor):
            return list(rows.unbind(1))
        return [list(column) for column in zip(*rows, strict=True)]


def target_columns(targets: Any, inputs: Any) -> TargetColumns:
    """What ``attribute_targets`` was asked for.

    A flat list or a tensor (T,) has T targets for every example; a list of lists or a tensor
    (N, T) has a row for each example. A tuple is one target with several indices.

    Raises:
        ArgumentError: there are none, or they have another form.
    """
    if isinstance(targets, np.ndarray) and targets.dtype.kind in "iu":
        targets = targets.tolist()
    if isinstance(targets, Tensor) and targets.ndim == 1:
        targets = targets.tolist()
    length = len(as_tensors(inputs)[0])
    if isinstance(targets, Tensor):
        if targets.ndim != 2 or len(targets) != length or not targets.shape[1]:
            raise ArgumentError(
                f"targets: expected shape (T,), or (N, T) for the {length} inputs, got "
                f"{tuple(targets.shape)}"
            )
        return TargetColumns(None, targets)
    if not isinstance(targets, (list, tuple, range)) or not len(targets):
        raise ArgumentError(
            f"targets={targets!r}: expected a list of classes, or a tensor (T,) or (N, T) of them"
        )
    rows = [_row(each) for each in targets]
    if all(row is None for row in rows):
        return TargetColumns(list(targets), None)
    widths = [None if row is None else len(row) for row in rows]
    if len(rows) != length or None in widths or len(set(widths)) > 1 or not widths[0]:
        raise ArgumentError(
            f"targets: a list of lists is read as one row of T targets for each of the {length} "
            f"inputs, like a tensor (N, T); got {len(rows)} entries of lengths {widths}. For T "
            "targets that all inputs share pass a flat list; for lists of one target for each "
            "input, (T, N), transpose them: [list(row) for row in zip(*targets)]"
        )
    return TargetColumns(None, [row for row in rows if row is not None])


def _row(value: Any) -> list[Any] | None:
    """A row of targets; None for a single target."""
    several = isinstance(value, list) or (isinstance(value, (Tensor, np.ndarray)) and value.ndim)
    return list(value) if several else None


NeuronSelector = int | tuple[int | slice, ...] | Callable[..., Tensor]


def select_neuron(
    outputs: tuple[Tensor, ...], selector: NeuronSelector, *, any_number: bool = False
) -> Tensor:
    """Each example's neuron that ``neuron_selector`` picks from a layer's tensors, shape (N,).

    An int or a tuple of ints is an index after the batch; slices in it are summed; a callable gets
    the layer's tensor (a tuple of them when it has several) and returns one value per example, or
    a vector of whatever length where ``any_number``.

    Raises:
        TargetError: the layer has no such neuron, or more than one value per example is left.
        TypeError: a selector of another type.
    """
    if callable(selector):
        found = selector(outputs if len(outputs) > 1 else outputs[0])
        lengths = [len(outputs[0])]
        if any_number and isinstance(found, Tensor):
            lengths += found.shape[:1]
        if not isinstance(found, Tensor) or found.numel() not in lengths:
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
    index = tuple(selector) if isinstance(selector, (tuple, list)) else (selector,)
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
    if found.numel() != len(found):
        raise TargetError(
            f"neuron_selector={selector!r}: leaves {tuple(found.shape[1:])} values of the layer's "
            f"output {shape} for each example; expected {len(shape) - 1} indices, or slices to sum"
        )
    return found.reshape(-1)
