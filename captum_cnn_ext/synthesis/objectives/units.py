"""Objectives about units of a network: neurons, channels, layers; any function of a layer."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer as AnyLayer
from captum_cnn_ext._numbers import as_count, as_indices, whole
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.synthesis.objectives.algebra import (
    Batch,
    Objective,
    Place,
    View,
    at_place,
    module_or_name,
    positions_mean,
)

Channels = int | Sequence[int] | Tensor


def Channel(
    layer: AnyLayer,
    channel: Channels,
    *,
    batch: Batch = None,
    channel_dim: int = 1,
    at_input: bool = False,
    call: int | None = None,
) -> Objective:
    r"""The mean of a channel over its positions, :math:`\frac{1}{HW} \sum_{hw} A_{k h w}`.

    Reference: Erhan, Bengio, Courville, Vincent, *Visualizing Higher-Layer Features of a Deep
    Network*, 2009.

    Args:
        layer: a module of the model, or its dotted name.
        channel: which; a list or a tensor (N,) has one for each of N images.
        batch: only for this image of the batch, or these; None is all of them.
        channel_dim: where channels are: 1, or -1 for tokens and channels-last layers.
        at_input: look at the layer's input.
        call: which call of a layer that runs several times; None is the last, as in Captum.

    Raises:
        ArgumentError: (when used) the layer has no such channel; not one channel for each image.

    Example::

        >>> from captum_cnn_ext.synthesis import Channel
        >>> Channel("layer3", [3, 14, 15]).images
        3
    """
    place = Place(module_or_name(layer), at_input, call)
    chosen = _one_each("channel", channel)

    def score(view: View) -> Tensor:
        return positions_mean(_picked(view, place, chosen, channel_dim))

    return at_place(score, place, batch, chosen, f"{place}{_listed(chosen)}")


def Neuron(
    layer: AnyLayer,
    channel: Channels,
    position: int | Sequence[int] | None = None,
    *,
    batch: Batch = None,
    channel_dim: int = 1,
    at_input: bool = False,
    call: int | None = None,
) -> Objective:
    """One unit: a channel at one position, by default in the middle.

    Takes the arguments of :func:`Channel`, and the position, one index for each dimension of the
    map. Where the image's size changes under transforms, only the middle stays in its place.

    Raises:
        ArgumentError: (when used) the layer has no such channel or position.

    Example::

        >>> from captum_cnn_ext.synthesis import Neuron
        >>> print(Neuron("layer3", 5, (2, 7)))
        layer3[5] at (2, 7)
    """
    place = Place(module_or_name(layer), at_input, call)
    chosen = _one_each("channel", channel)
    where = None if position is None else _place(position)

    def score(view: View) -> Tensor:
        maps = _picked(view, place, chosen, channel_dim)
        for index in _inside(place, maps, where):
            maps = maps[:, index]
        return maps

    at = "the middle" if where is None else where
    return at_place(score, place, batch, chosen, f"{place}{_listed(chosen)} at {at}")


def Layer(
    layer: AnyLayer,
    *,
    margin: int = 0,
    batch: Batch = None,
    at_input: bool = False,
    call: int | None = None,
) -> Objective:
    r"""DeepDream's: whatever a layer shows, more of it, :math:`\mathrm{mean}(A^2)`.

    Reference: Mordvintsev, Olah, Tyka, *Inceptionism: Going Deeper into Neural Networks*, 2015.

    Args:
        layer, batch, at_input, call: as in :func:`Channel`.
        margin: so many positions at each border do not count, where the map is large enough;
            the borders of a picture excite a layer by themselves.

    Example::

        >>> from captum_cnn_ext.synthesis import Layer
        >>> print(2 * Layer("layer3"))
        2 layer3
    """
    place, margin = Place(module_or_name(layer), at_input, call), as_count("margin", margin, 0)

    def score(view: View) -> Tensor:
        maps = view.at(place)
        for dim in range(2, maps.ndim):
            if maps.shape[dim] > 2 * margin:
                maps = maps.narrow(dim, margin, maps.shape[dim] - 2 * margin)
        return positions_mean(maps.square())

    return at_place(score, place, batch, None, str(place))


def Custom(
    layer: AnyLayer | None,
    score: Callable[..., Tensor],
    *,
    at_input: bool = False,
    call: int | None = None,
    name: str = "custom objective",
) -> Objective:
    """Any function of a layer's tensor, or of the model's output.

    Args:
        layer: a module of the model, or its dotted name; None is the model's output.
        score: from the tensor (a tuple of them where the layer gives several) to values (N,).
        at_input, call: as in :func:`Channel`.
        name: for messages.

    Raises:
        ArgumentError: (when used) the function gives another shape.

    Example::

        >>> from captum_cnn_ext.synthesis import Custom
        >>> brightest = Custom("layer3", lambda a: a.flatten(1).amax(1))
    """
    place = None if layer is None else Place(module_or_name(layer), at_input, call)

    def value(view: View) -> Tensor:
        if place is None:
            seen = view.output
        else:
            tensors = view.tensors[place]
            seen = tensors if len(tensors) > 1 else tensors[0]
        found = score(seen)
        if not isinstance(found, Tensor) or found.numel() != view.count:
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ArgumentError(
                f"{name}: the function returned {got}; expected one value for each of the "
                f"{view.count} images"
            )
        return found.reshape(-1)

    return Objective(value, () if place is None else (place,), place is None, 1, name)


def _one_each(parameter: str, value: Channels) -> int | list[int]:
    found = as_indices(parameter, value)
    given = value.tolist() if isinstance(value, Tensor) else value
    return found if whole(given) is None else found[0]


def _place(position: int | Sequence[int]) -> tuple[int, ...]:
    listed = position if isinstance(position, Sequence) else [position]
    found = [index for index in map(whole, listed)]
    if None in found:
        raise ArgumentError(
            f"position={position!r}: expected one index for each dimension of the map"
        )
    return tuple(index for index in found if index is not None)


def _listed(chosen: int | list[int]) -> str:
    if isinstance(chosen, list) and len(chosen) > 4:
        return f"[{len(chosen)} channels]"
    return f"[{chosen}]" if isinstance(chosen, int) else str(chosen)


def _picked(view: View, place: Place, chosen: int | list[int], channel_dim: int) -> Tensor:
    """Each image's own channel, ``(N, *positions)``."""
    maps = view.at(place, channel_dim)
    wrong = [c for c in _as_list(chosen) if not -maps.shape[1] <= c < maps.shape[1]]
    if wrong:
        raise ArgumentError(
            f"channel={wrong[0]}: layer {str(place)!r} has {maps.shape[1]} channels; expected an "
            f"index from 0 to {maps.shape[1] - 1}"
        )
    if isinstance(chosen, int):
        return maps[:, chosen]
    if len(chosen) != len(maps):
        raise ArgumentError(
            f"channel: got {len(chosen)} channels for {len(maps)} images; expected one for each"
        )
    return torch.stack([maps[n, c] for n, c in enumerate(chosen)])


def _as_list(chosen: int | list[int]) -> list[int]:
    return [chosen] if isinstance(chosen, int) else chosen


def _inside(place: Place, maps: Tensor, position: tuple[int, ...] | None) -> tuple[int, ...]:
    sizes = tuple(maps.shape[1:])
    if position is None:
        return tuple(size // 2 for size in sizes)
    fits = len(position) == len(sizes)
    if not fits or any(not -s <= p < s for p, s in zip(position, sizes, strict=False)):
        raise ArgumentError(
            f"position={position}: a map of layer {str(place)!r} has the shape {sizes}; expected "
            f"{len(sizes)} indices below it"
        )
    return position
