"""Which pixels every layer's units depend on, read off a trace.

The pixels are carried through every tensor operation: through branches and residual sums (the
union), reshapes and transposes, resizing and transposed convolutions. `crops` answers another,
stricter question: whether a cut of the image gives a unit its value.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.receptive_fields.axis import Axis, NotFollowed
from captum_cnn_ext._engine.receptive_fields.fields import Field, aligned, is_same, joined
from captum_cnn_ext._engine.receptive_fields.rules import RULES, SAME
from captum_cnn_ext._engine.trace.forward_trace import (
    End,
    Left,
    ModuleCall,
    Operation,
    Shape,
    Value,
)
from captum_cnn_ext._engine.trace.operation_follower import only_shaped_alike
from captum_cnn_ext._engine.trace.trace_recorder import trace_of
from captum_cnn_ext._engine.trace.window_arithmetic import Call, is_pointwise

Fields = tuple[Field, Field]
_STOPS_NAN = {"nan_to_num", "nan_to_num_", "fmax", "fmin", "nansum", "nanmedian"}
_STOPS_NAN |= {"topk", "kthvalue", "sort", "mode"}  # which NaN are the last of


@dataclass(frozen=True)
class LayerFields:
    """What the units of one layer call depend on along rows and columns, or why it is not known."""

    shape: Shape
    fields: Fields | None
    unknown: str = ""


def layer_fields(model: nn.Module, image: Tensor) -> dict[str, list[LayerFields]]:
    """For each module that runs, by its path, what its output depends on, call after call.

    The image (N, C, H, W) may be on the meta device. A module whose output holds no tensor that
    depends on the image is not in the result.

    Raises:
        ValueError: the model cannot run on such an image.
    """
    trace = trace_of(model, [image])
    first, second = (Axis.of_pixels(length) for length in image.shape[2:])
    pixels = Field(first, 2), Field(second, 3)
    # of every value that the image has a part in: its fields, or why they are not known
    known: dict[Value, Fields | str] = dict.fromkeys(trace.inputs, pixels)
    hiding: set[Value] = set()
    found: dict[str, list[LayerFields]] = {}
    lost: Fields | str = ""  # from where on that is true of every value
    for event in trace.events:
        if isinstance(event, Operation):
            _carry(event, known, pixels, hiding)
        elif isinstance(event, Left) and not isinstance(lost, tuple):
            # a value that left torch may have gone anywhere; what is hidden can be measured
            lost = event.why if event.hidden else _everywhere(pixels, event.why)
        elif isinstance(event, End):
            if hiding and isinstance(lost, str) and lost:
                lost = _everywhere(pixels, f"{lost}; nor can it be measured")
            for value in event.call.outputs:
                seen = lost or known.get(value)
                if seen:
                    layer = (
                        LayerFields(value.shape, None, seen)
                        if isinstance(seen, str)
                        else (LayerFields(value.shape, seen))
                    )
                    found.setdefault(event.call.path, []).append(layer)
                    break
    return found


def _everywhere(pixels: Fields, why: str) -> Fields:
    rows, columns = (field.everywhere(why) for field in pixels)
    return rows, columns


def _carry(
    operation: Operation,
    known: dict[Value, Fields | str],
    pixels: Fields,
    hiding: set[Value],
) -> None:
    """From the values that an operation reads to those that it makes.

    ``hiding`` are values that may depend on a pixel and not be NaN where it is, as after a mask.
    """
    name = operation.name
    sources = [value for value in operation.reads if value in known]
    hidden = _written_behind(operation, known)
    if not (sources or hidden) or only_shaped_alike(operation.func):
        return
    for value in sources:
        seen = known[value]
        if isinstance(seen, str) and (not value.dtype.is_floating_point or name in _STOPS_NAN):
            why = f"{seen}; nor can it be measured, as no NaN goes through {name}"
            known[value] = _everywhere(pixels, f"{why}{operation.place}")
    for _, value in operation.written:
        known[value] = _where(operation, "there is no rule for what it writes")
    hides = name in _STOPS_NAN or any(
        value in hiding or not value.dtype.is_floating_point for value in sources
    )
    listed = name in ("split", "unbind", "split_with_sizes", "chunk", "var_mean", "std_mean")
    for place, result in enumerate(operation.outputs):
        try:
            if hidden:
                raise NotFollowed(hidden)
            before: list[tuple[Fields, Shape]] = []
            for value in sources:
                fields = known[value]
                if isinstance(fields, str):
                    raise NotFollowed(fields)
                before.append((fields, value.shape))
            if place and not listed:
                raise NotFollowed("its further results")
            known[result] = _after(operation, before, known, result.shape)
        except NotFollowed as error:
            text = str(error)
            why = text if text.startswith("operation ") else _where(operation, text)
            if hides:
                why = f"{why}; nor can it be measured, as NaN may not come that far"
                known[result] = _everywhere(pixels, why)
            else:
                known[result] = why
        if hides:
            hiding.add(result)


def _written_behind(operation: Operation, known: dict[Value, Fields | str]) -> str:
    """Why a write through another tensor makes the fields of what is read wrong; else empty."""
    for writer in operation.stale:
        for old, new in writer.written:
            if new in known and not (old in known and is_same(known[old], known[new])):
                return _where(writer, "writes into a part of a tensor")
    return ""


def _where(operation: Operation, why: str) -> str:
    return f"operation {operation.name}{operation.place} is not followed: {why}"


def _after(
    operation: Operation,
    sources: list[tuple[Fields, Shape]],
    known: dict[Value, Fields | str],
    result: Shape,
) -> Fields:
    name, module = operation.name, operation.module
    base = name.rstrip("_") if name not in SAME else name

    def both(rule: Callable[[int], Field]) -> Fields:
        rows, columns = (_placed(rule(axis), module) for axis in (0, 1))
        return rows, columns

    fields, shape = sources[-1] if name in SAME else sources[0]
    if name in SAME:
        if result != shape:
            raise NotFollowed("changes the shape")
        return fields
    if base in RULES:
        if len(sources) > 1:
            raise NotFollowed("its parameters depend on the image")
        call = Call(base, operation.arguments, shape, result)
        rule = RULES[base]
        return both(lambda a: fields[a] if fields[a].dim is None else rule(fields[a], call))
    if base in ("cat", "stack"):
        return both(lambda a: _concatenated(a, operation, sources, known, len(result)))
    if base in ("mm", "addmm", "bmm", "baddbmm"):
        return both(lambda a: _multiplied(a, operation.arguments, known, len(result)))
    masked = base == "index_put" and _under_one_mask(operation.arguments)
    if masked or is_pointwise(operation.func):
        return both(lambda a: joined([aligned(f[a], s, len(result)) for f, s in sources]))
    if name.startswith("_scaled_dot_product"):
        return both(lambda a: fields[a].everywhere("attention between all positions"))
    raise NotFollowed("there is no rule for it")


def _under_one_mask(arguments: dict[str, Any]) -> bool:
    """Whether one number is written where a mask of the tensor's own shape says so."""
    shape, values, mask = arguments["self"].shape, arguments["values"], arguments["indices"][0]
    whole = isinstance(mask, Value) and (mask.dtype, mask.shape) == (torch.bool, shape)
    return whole and math.prod(values.shape) == 1


def _placed(field: Field, module: ModuleCall | None) -> Field:
    """A reason for the whole image that says where."""
    if field.reason and " in layer " not in field.reason and module is not None and module.path:
        return replace(field, reason=f"{field.reason} in layer {module.path!r}")
    return field


def _concatenated(
    axis: int,
    operation: Operation,
    sources: list[tuple[Fields, Shape]],
    known: dict[Value, Fields | str],
    dims: int,
) -> Field:
    dim = int(operation.arguments.get("dim") or 0) % dims
    fields = [field[axis] for field, _ in sources]
    if operation.name == "stack":
        return joined(
            [f if f.dim is None else replace(f, dim=f.dim + (dim <= f.dim)) for f in fields]
        )
    if all(field.dim != dim for field in fields):
        return joined(fields)
    # positions after one another, such as a class token before those of the image
    axes = []
    for value in operation.arguments["tensors"]:
        size, seen = value.shape[dim], known.get(value)
        if seen is None:
            axes.append(Axis.of_nothing(size))
        elif not isinstance(seen, str) and seen[axis].dim == dim:
            axes.append(seen[axis].axis.spread(size, seen[axis].inner))
        elif not isinstance(seen, str) and seen[axis].dim is None:
            axes.append(Axis.of_range(*seen[axis].axis.at_once()).spread(size, 1))
        else:
            raise NotFollowed("joins positions of two axes")
    first, *rest = axes
    for other in rest:
        first = first.followed_by(other)
    return Field(first, dim)


def _multiplied(
    axis: int, arguments: dict[str, Any], known: dict[Value, Fields | str], dims: int
) -> Field:
    left: Any = arguments.get("mat1", arguments.get("batch1", arguments.get("self")))
    right: Any = arguments["mat2" if "mat2" in arguments else "batch2"]
    fields = []
    for value, summed in ((left, dims - 1), (right, dims - 2)):
        seen = known.get(value)
        if seen is not None and not isinstance(seen, str):
            field = seen[axis]
            whole = field.dim == summed
            fields.append(
                field.everywhere("a matrix product over all positions") if whole else field
            )
    if arguments["self"] is not left and arguments["self"] in known:
        raise NotFollowed("adds to a matrix product")
    return joined(fields)
