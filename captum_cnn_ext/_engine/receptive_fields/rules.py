"""What tensor operations do to the pixels that positions depend on: one rule per kind.

A rule sees one image axis of one tensor at a time. Operations without a rule are not guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from captum_cnn_ext._engine.receptive_fields.axis import Axis, NotFollowed
from captum_cnn_ext._engine.receptive_fields.window_rules import (
    Call,
    Field,
    adaptive_pool,
    convolution,
    dim_of,
    flip,
    pad,
    pool,
    resize,
    shuffle_down,
    shuffle_up,
    sliced,
)

Rule = Callable[[Field, Call], Field]


def _select(field: Field, call: Call) -> Field:
    assert field.dim is not None
    dim = dim_of(call, "dim", 0)
    if dim == field.dim:
        if not field.is_plain(call.shape):
            raise NotFollowed("takes one of reshaped positions")
        place = call.arguments["index"] % call.shape[dim]
        low, high = field.axis.lows[place : place + 1], field.axis.highs[place : place + 1]
        return Field(Axis(low, high, low, high, 0), None, 1, "one position taken for all")
    return replace(field, dim=field.dim - (dim < field.dim))


def _split(field: Field, call: Call) -> Field:
    if dim_of(call, "dim", 0) == field.dim:
        raise NotFollowed("splits positions")
    return field


def _unbind(field: Field, call: Call) -> Field:
    assert field.dim is not None
    dim = dim_of(call, "dim", 0)
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
            (dim_of(call, "dim0", 0), dim_of(call, "dim1", 1))
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


def _along(field: Field, call: Call) -> Field:
    """Softmax and the like: within one dimension every value depends on all."""
    if dim_of(call, "dim", -1) == field.dim:
        return field.everywhere(f"{call.name.lstrip('_')} over all positions")
    return field


def _layer_norm(field: Field, call: Call) -> Field:
    assert field.dim is not None
    if field.dim >= len(call.shape) - len(call.arguments["normalized_shape"]):
        return field.everywhere("a layer norm over all positions")
    return field


def _group_norm(field: Field, call: Call) -> Field:
    return field if field.dim == 0 else field.everywhere("a group norm over all positions")


def _batch_norm(field: Field, call: Call) -> Field:
    training = call.arguments.get("training") or call.arguments.get("use_input_stats")
    if (training or call.name == "_native_batch_norm_legit") and field.dim != 1:
        return field.everywhere("a norm over all positions")
    return field


def _linear(field: Field, call: Call) -> Field:
    if field.dim == len(call.shape) - 1:
        return field.everywhere("a linear layer over all positions")
    return field


def _channel_shuffle(field: Field, call: Call) -> Field:
    if field.dim == len(call.shape) - 3:
        raise NotFollowed("shuffles positions")
    return field


RULES: dict[str, Rule] = {
    **dict.fromkeys(("convolution", "_convolution"), convolution),
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool2d", "avg_pool2d"), pool),
    **dict.fromkeys(("mkldnn_max_pool2d", "quantized_max_pool2d"), pool),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_avg_pool2d"), adaptive_pool),
    "adaptive_max_pool2d": adaptive_pool,
    **dict.fromkeys(("upsample_nearest2d", "_upsample_nearest_exact2d"), resize),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_bicubic2d"), resize),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), pad),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze"), _view),
    **dict.fromkeys(("flatten", "_reshape_alias", "unflatten"), _view),
    **dict.fromkeys(("permute", "transpose", "t"), _permute),
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _split),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std"), _reduce),
    **dict.fromkeys(("var_mean", "std_mean", "prod", "logsumexp", "linalg_vector_norm"), _reduce),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "sort"), _along),
    "topk": _along,
    **dict.fromkeys(("kthvalue", "median", "mode"), _reduce),
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    **dict.fromkeys(("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"), _batch_norm),
    **dict.fromkeys(("_native_batch_norm_legit_no_training", "_native_batch_norm_legit"),
                    _batch_norm),
    "pixel_shuffle": shuffle_up,
    "pixel_unshuffle": shuffle_down,
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), _channel_shuffle),
    "linear": _linear,
    "slice": sliced,
    "flip": flip,
    "select": _select,
    "unbind": _unbind,
    "expand": _expand,
}  # fmt: skip
SAME = {
    *("clone", "detach", "alias", "_to_copy", "contiguous", "copy_", "lift_fresh", "lift"),
    *("_prelu_kernel", "dropout", "native_dropout", "dropout_", "feature_dropout", "cumsum_"),
}
