"""What tensor operations do to the pixels that positions depend on: one rule per kind.

A rule sees one image axis of one tensor at a time. Operations without a rule are not guessed.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import replace

from captum_cnn_ext._engine.receptive_fields.axis import Axis, NotFollowed
from captum_cnn_ext._engine.receptive_fields.fields import Field
from captum_cnn_ext._engine.trace.window_arithmetic import (
    WINDOWED,
    Call,
    is_fixed_norm,
    windows_of,
)

Rule = Callable[[Field, Call], Field]


def _read(field: Field, call: Call) -> Field:
    """Where windows of positions are read, or parts of them."""
    assert field.dim is not None
    windows = (windows_of(call) or {}).get(field.dim)
    if windows is None:
        return field
    if not field.is_plain(call.shape):
        raise NotFollowed("reads windows of reshaped positions")
    if "adaptive" in call.name and call.result[field.dim] == 1 < call.shape[field.dim]:
        return field.everywhere("pooling over all positions")
    return replace(field, axis=field.axis.through(windows, call.result[field.dim]))


def _convolution(field: Field, call: Call) -> Field:
    if field.dim == 1:
        return field.everywhere("a convolution over its channels")
    return _read(field, call)


def _shuffle(field: Field, call: Call) -> Field:
    if field.dim == len(call.shape) - 3:
        raise NotFollowed("shuffles positions")
    return _read(field, call)


def _select(field: Field, call: Call) -> Field:
    assert field.dim is not None
    dim = call.dim()
    if dim == field.dim:
        if not field.is_plain(call.shape):
            raise NotFollowed("takes one of reshaped positions")
        place = call.arguments["index"] % call.shape[dim]
        low, high = field.axis.lows[place : place + 1], field.axis.highs[place : place + 1]
        return Field(Axis(low, high, low, high, 0), None, 1, "one position taken for all")
    return replace(field, dim=field.dim - (dim < field.dim))


def _split(field: Field, call: Call) -> Field:
    if call.dim() == field.dim:
        raise NotFollowed("splits positions")
    return field


def _unbind(field: Field, call: Call) -> Field:
    assert field.dim is not None
    dim = call.dim()
    if dim == field.dim:
        raise NotFollowed("splits positions")
    return replace(field, dim=field.dim - (dim < field.dim))


def _view(field: Field, call: Call) -> Field:
    """Where the positions are after a reshape: the same stride in row-major order."""
    assert field.dim is not None
    stride = field.inner * math.prod(call.shape[field.dim + 1 :])
    length, below = len(field.axis.lows), 1
    for dim in reversed(range(len(call.result))):
        size = call.result[dim]
        fits = below <= stride and stride % below == 0 and stride * length <= below * size
        if fits and (below * size) % (stride * length) == 0:
            return replace(field, dim=dim, inner=stride // below)
        below *= size
    raise NotFollowed("a reshape that cuts positions into blocks")


def _permute(field: Field, call: Call) -> Field:
    assert field.dim is not None
    count = len(call.shape)
    if call.name == "permute":
        order = [d % count for d in call.arguments["dims"]]
    else:
        first, second = (
            (0, count - 1) if call.name in ("t", "t_") else
            (call.dim("dim0"), call.dim("dim1", 1))
        )  # fmt: skip
        order = list(range(count))
        order[first], order[second] = second, first
    return replace(field, dim=order.index(field.dim))


def _expand(field: Field, call: Call) -> Field:
    assert field.dim is not None
    dim = field.dim + len(call.result) - len(call.shape)
    if call.result[dim] != call.shape[field.dim]:
        return field.everywhere("one position spread over all")
    return replace(field, dim=dim)


def _reduce(field: Field, call: Call) -> Field:
    assert field.dim is not None
    dims = call.arguments.get("dim")
    count = len(call.shape)
    listed = [dims] if isinstance(dims, int) else list(dims or range(count))
    gone = {d % count for d in listed}
    if field.dim in gone:
        return field.everywhere(f"{call.name} over all positions")
    kept = call.arguments.get("keepdim") or len(call.result) == count
    return field if kept else replace(field, dim=field.dim - sum(d < field.dim for d in gone))


def _mixing(what: str, dims: Callable[[Call], Collection[int]]) -> Rule:
    """Within some dimensions every value depends on all."""

    def rule(field: Field, call: Call) -> Field:
        if field.dim not in dims(call):
            return field
        return field.everywhere(f"{what or call.name.lstrip('_')} over all positions")

    return rule


_along = _mixing("", lambda c: [c.dim(default=-1)])  # softmax and the like
_linear = _mixing("a linear layer", lambda c: c.last(1))
_layer_norm = _mixing(
    "a layer norm", lambda call: call.last(len(call.arguments["normalized_shape"]))
)
_group_norm = _mixing("a group norm", lambda c: c.last(len(c.shape) - 1))
_batch_norm = _mixing(
    "a norm",
    lambda call: (
        () if is_fixed_norm(call.name, call.arguments) else {*range(len(call.shape))} - {1}
    ),
)


RULES: dict[str, Rule] = {
    **dict.fromkeys(WINDOWED, _read),
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    **dict.fromkeys(("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"), _shuffle),
    "native_channel_shuffle": _shuffle,
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze"), _view),
    **dict.fromkeys(("flatten", "_reshape_alias", "unflatten"), _view),
    **dict.fromkeys(("permute", "transpose", "t"), _permute),
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _split),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std"), _reduce),
    **dict.fromkeys(("var_mean", "std_mean", "prod", "logsumexp", "linalg_vector_norm"), _reduce),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "sort"), _along),
    "topk": _along,
    **dict.fromkeys(("kthvalue", "median", "mode"), _reduce),
    **{"native_layer_norm": _layer_norm, "native_group_norm": _group_norm},
    **dict.fromkeys(("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"), _batch_norm),
    **dict.fromkeys(("_native_batch_norm_legit_no_training", "_native_batch_norm_legit"),
                    _batch_norm),
    **{"linear": _linear, "select": _select, "unbind": _unbind, "expand": _expand},
}  # fmt: skip
SAME = {"copy_", "lift", "native_dropout"}
