"""Which pixels a unit of a layer depends on: size, stride and place of its receptive field."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import Layer, find_layer, layer_name
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.receptive_fields.axis import FAR, Axis
from captum_cnn_ext._engine.receptive_fields.fields import Field
from captum_cnn_ext._engine.receptive_fields.layer_fields import LayerFields, layer_fields
from captum_cnn_ext._engine.receptive_fields.nan_probe import measured_edges
from captum_cnn_ext._numbers import as_count_or_none, whole
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence.structure.layer_table import InputSize, example_inputs

Span = tuple[int, int]
Box = tuple[Span, Span]
_MEASURED = "only inside the image, by the pixels that turn a unit NaN"


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of a layer's units; pairs are (rows, columns).

    Args:
        layer: the layer's dotted name.
        image: pixels of the image.
        positions: positions of the layer's map; (1, 1) where it has none.
        dims: the dimensions of the layer's output that hold them, None for no positions.
        size: pixels of a unit's field, the part beyond the image's border included; the largest
            where units differ. Of a measured field only what lies inside the image.
        stride: pixels from one unit's field to the next one's, on average where they differ;
            0 where all units see the same.
        offset: centre of unit (0, 0)'s field, in pixels; pixel 0's centre is 0.
        padding: pixels of unit (0, 0)'s field beyond the border.
        how: "computed" from the operations, or "measured".
        reason: why units see the whole image, or why the field had to be measured; else empty.
    """

    layer: str
    image: Span
    positions: Span
    dims: tuple[int | None, int | None]
    size: Span
    stride: tuple[float, float]
    offset: tuple[float, float]
    padding: Span
    how: str
    reason: str
    _axes: tuple[Axis, Axis] = field(repr=False, compare=False)

    __repr__ = brief

    @property
    def whole_image(self) -> bool:
        """Whether every unit depends on every pixel."""
        return all(
            axis.lows.max() == 0 and axis.highs.min() == length - 1
            for axis, length in zip(self._axes, self.image, strict=True)
        )

    def box(self, h: int, w: int | None = None, *, clip: bool = True) -> Box:
        """The pixels that unit (h, w) depends on: ((top, bottom), (left, right)), ends excluded.

        Unclipped boxes go beyond the border, as if the image had no end. A position that depends
        on no pixel, such as a class token, has the empty box ((0, 0), (0, 0)).

        Args:
            h: the unit's row; of a layer of tokens the token.
            w: the unit's column; None takes ``h``, for tokens.
            clip: cut the box at the image's border.

        Raises:
            ArgumentError: the layer has no such position, or a measured field is asked unclipped.
        """
        if self.how == "measured" and not clip:
            raise ArgumentError(f"clip=False: this field was measured, {_MEASURED}")
        wanted = (h, h if w is None else w)
        spans = []
        for name, place, count, axis in zip("hw", wanted, self.positions, self._axes, strict=True):
            if not 0 <= (-1 if whole(place) is None else place) < count:
                raise ArgumentError(
                    f"{name}={place!r}: layer {self.layer!r} has {self.positions[0]} x "
                    f"{self.positions[1]} positions; expected 0 to {count - 1}"
                )
            low, high = _edges(axis, place, clip)
            spans.append((0, 0) if low > high else (low, high + 1))
        return spans[0], spans[1]

    def __str__(self) -> str:
        def pair(values: Sequence[float]) -> str:
            texts = [f"{value:g}" for value in values]
            return texts[0] if texts[0] == texts[1] else " x ".join(texts)

        why = f" ({self.how}: {self.reason})" if self.reason else ""
        if self.whole_image and not any(self.stride):
            return f"{self.layer}: the whole image{why}"
        return (
            f"{self.layer}: {pair(self.size)} pixels, stride {pair(self.stride)}, "
            f"padding {pair(self.padding)}{why}"
        )


def receptive_field(
    model: nn.Module, layer: Layer, input_size: InputSize, *, call: int | None = None
) -> ReceptiveField:
    r"""The pixels that each unit of a layer depends on, in any network.

    Through an operation whose output position q reads the positions T(q) of its input,

    .. math:: [l'_q, h'_q] = [\min_{p \in T(q)} l_p,\; \max_{p \in T(q)} h_p]

    and the union over paths where branches meet. For plain convolutions this is Araujo, Norris,
    Sim, *Computing Receptive Fields of Convolutional Neural Networks*, Distill 2019. Global
    pooling, squeeze-and-excitation and attention make it the whole image, with the reason. Where an
    operation is not known, it is measured: NaN is written into rows of the input, and a unit
    depends on them if it turns NaN.

    Cost: one forward pass on the meta device, which computes nothing. Measuring takes some
    ``8 log2(size)`` forward passes for layers of few positions, ``2 (H + W)`` at most.

    Args:
        model: any network on images (N, C, H, W); taken in evaluation mode.
        layer: one of its modules, or the dotted name.
        input_size: 224, (224, 224), (3, 224, 224), (1, 3, 224, 224), or an example tensor.
        call: which call of a layer that runs several times; None is the last.

    Raises:
        ArgumentError: the layer is not reached or does not depend on the image, or its field can
            be neither computed nor measured.
        ValueError: the model cannot run on such an image.

    Example:
        >>> from torchvision.models import vgg16
        >>> from captum_cnn_ext.evidence import receptive_field
        >>> found = receptive_field(vgg16(), "features", (3, 224, 224))
        >>> found.size, found.stride, found.padding
        ((212, 212), (32.0, 32.0), (90, 90))
        >>> found.box(0, 3)
        ((0, 122), (6, 218))
    """
    module = find_layer(model, layer)
    image = _image(model, input_size)
    name = layer_name(model, module) if module is not model else ""
    calls = layer_fields(model, image).get(name, [])
    if not calls:
        raise ArgumentError(
            f"layer {name!r}: not reached in the forward pass of this model, or its output does "
            "not depend on the image"
        )
    call = as_count_or_none("call", call, 0)
    if call is not None and call >= len(calls):
        raise ArgumentError(
            f"call={call}: layer {name!r} was called {len(calls)} time(s); expected 0 to "
            f"{len(calls) - 1}"
        )
    found = calls[-1 if call is None else call]
    if found.fields is None:
        return _measured(model, name, found, image, call)
    return _computed(name, found, found.fields, image)


def receptive_fields(model: nn.Module, input_size: InputSize) -> dict[str, ReceptiveField]:
    """The fields of all layers that run, by dotted name, from one pass on the meta device.

    Layers behind an operation that is not followed are left out; `receptive_field` measures them.

    Args:
        model, input_size: as for `receptive_field`.

    Raises:
        ValueError: the model cannot run on such an image.

    Example:
        >>> from torchvision.models import alexnet
        >>> from captum_cnn_ext.evidence import receptive_fields
        >>> print(receptive_fields(alexnet(), (3, 224, 224))["features.12"])
        features.12: 195 pixels, stride 32, padding 66
    """
    return {
        name: calls[-1][1]
        for name, calls in fields_of_calls(model, input_size).items()
        if calls[-1][1] is not None
    }


def fields_of_calls(
    model: nn.Module, input_size: InputSize
) -> dict[str, list[tuple[tuple[int, ...], ReceptiveField | None]]]:
    """For each layer its output's shape and its field, call after call; None where not known."""
    image = _image(model, input_size)
    return {
        name: [
            (call.shape, None if call.fields is None else _computed(name, call, call.fields, image))
            for call in calls
        ]
        for name, calls in layer_fields(model, image).items()
        if name
    }


def _image(model: Any, input_size: InputSize) -> Tensor:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    inputs = example_inputs(model, input_size)
    if len(inputs) != 1 or inputs[0].ndim != 4:
        sizes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise ArgumentError(
            f"input_size: expected one image (C, H, W) or (N, C, H, W), got {sizes}"
        )
    return inputs[0]


def _edges(axis: Axis, place: int, clip: bool) -> Span:
    place = min(place, len(axis.lows) - 1)
    if clip or not axis.advance:
        return int(axis.lows[place]), int(axis.highs[place])
    low, high = axis.endless(np.array([place]))
    return int(low[0]), int(high[0])


def _computed(
    name: str, found: LayerFields, fields: tuple[Field, Field], image: Tensor
) -> ReceptiveField:
    rows, columns = fields
    plain = found.shape[2:] if len(found.shape) == 4 else (1, 1)
    reasons = list(dict.fromkeys(field.reason for field in fields if field.reason))
    return _summary(
        name,
        (image.shape[-2], image.shape[-1]),
        (_positions(rows, plain[0]), _positions(columns, plain[1])),
        (rows.dim, columns.dim),
        (rows.axis, columns.axis),
        "computed",
        "; ".join(reasons),
    )


def _positions(field: Field, otherwise: int) -> int:
    return otherwise if field.dim is None else len(field.axis.lows)


def _measured(
    model: nn.Module, name: str, found: LayerFields, image: Tensor, call: int | None
) -> ReceptiveField:
    size = (image.shape[-2], image.shape[-1])
    dims = _spatial_dims(found.shape, size)
    if dims is None:
        raise ArgumentError(
            f"layer {name!r}: its receptive field is not known: {found.unknown}; it could be "
            f"measured for an output (N, C, H, W) or (N, H, W, C), and this is {found.shape}"
        )
    edges = measured_edges(model, name, tuple(image.shape), call, dims)
    axes = []
    for (lows, highs), length in zip(edges, size, strict=True):
        step = length // len(lows) * len(lows)
        axes.append(Axis(lows, highs, lows, highs, step))
    return _summary(
        name,
        size,
        (found.shape[dims[0]], found.shape[dims[1]]),
        dims,
        (axes[0], axes[1]),
        "measured",
        found.unknown,
    )


def _spatial_dims(shape: tuple[int, ...], image: Span) -> tuple[int, int] | None:
    """Where an output of four dimensions has the image's proportions."""
    if len(shape) != 4:
        return None
    for first in (2, 1):
        height, width = shape[first : first + 2]
        if abs(height * image[1] - width * image[0]) <= max(image):
            return first, first + 1
    return None


def _summary(
    name: str,
    image: Span,
    positions: Span,
    dims: tuple[int | None, int | None],
    axes: tuple[Axis, Axis],
    how: str,
    reason: str,
) -> ReceptiveField:
    sizes, strides, offsets, paddings = [], [], [], []
    for axis, dim in zip(axes, dims, strict=True):
        seen = axis.first < FAR
        if how == "computed":
            extent = (axis.last - axis.first + 1)[seen]
            low, high = int(axis.first[0]), int(axis.last[0])
        else:
            seen = axis.lows < FAR
            extent = (axis.highs - axis.lows + 1)[seen]
            low, high = int(axis.lows[0]), int(axis.highs[0])
        sizes.append(int(extent.max()) if len(extent) else 0)
        strides.append(float(axis.step) if dim is not None else 0.0)
        offsets.append((low + high) / 2 if low <= high else 0.0)
        paddings.append(max(0, -low) if low <= high else 0)
    return ReceptiveField(
        name,
        image,
        positions,
        dims,
        (sizes[0], sizes[1]),
        (strides[0], strides[1]),
        (offsets[0], offsets[1]),
        (paddings[0], paddings[1]),
        how,
        reason,
        axes,
    )
