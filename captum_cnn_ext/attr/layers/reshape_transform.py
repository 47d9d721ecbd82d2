"""Layers that do not give ``(N, C, *positions)``: tokens and channels-last maps."""

from collections.abc import Callable, Sequence
from math import isqrt

import torch
from torch import Tensor

from captum_cnn_ext._numbers import as_count, as_count_or_none
from captum_cnn_ext.errors import ArgumentError

ReshapeTransform = Callable[[Tensor], Tensor]


def tokens_to_map(
    height: int | None = None, width: int | None = None, class_token: bool | int = True
) -> ReshapeTransform:
    """A ``reshape_transform`` from tokens (N, L, C) to maps (N, C, H, W).

    Tokens are taken row by row, as vision transformers make them from patches.

    Args:
        height: rows of patches; None with ``width`` None for a square of them.
        width: columns of patches.
        class_token: whether one token that is no patch comes first, or how many do (a class
            token with distillation or register tokens). They are left out.

    Returns:
        A function of the layer's tensor, to be passed as ``reshape_transform=``.

    Raises:
        ArgumentError: sizes are not positive, or (when called) do not match the tokens.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.attr import tokens_to_map
        >>> tokens_to_map(14, 14)(torch.randn(2, 197, 768)).shape
        torch.Size([2, 768, 14, 14])
    """
    first = (
        class_token if isinstance(class_token, bool) else as_count("class_token", class_token, 0)
    )
    height, width = as_count_or_none("height", height), as_count_or_none("width", width)

    def reshape(tokens: Tensor) -> Tensor:
        if tokens.ndim != 3:
            raise ArgumentError(
                f"tokens_to_map: expected tokens (N, L, C), got shape {tuple(tokens.shape)}"
                + ("; use channels_last_to_map for (N, H, W, C)" if tokens.ndim == 4 else "")
            )
        length = tokens.shape[1] - first
        rows, columns = height, width
        if rows is None and columns is None:
            rows = columns = isqrt(max(length, 0))
        rows = length // columns if rows is None and columns is not None else rows
        columns = length // rows if columns is None and rows else columns
        if not rows or not columns or rows * columns != length:
            raise ArgumentError(
                f"tokens_to_map(height={height}, width={width}, class_token={class_token}): "
                f"{tokens.shape[1]} tokens, {first} of them no patches, leave {length}, which "
                f"{'is no square' if height is None and width is None else 'does not fit'}; "
                "pass the height and width of the grid of patches"
            )
        patches = tokens[:, first:].transpose(1, 2)
        return patches.reshape(*patches.shape[:2], rows, columns)

    return reshape


def channels_last_to_map(tensor: Tensor) -> Tensor:
    """``(N, *positions, C)`` as ``(N, C, *positions)``: for layers with their channels last.

    Args:
        tensor: what the layer gives.

    Raises:
        ArgumentError: the tensor has no positions.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.attr import channels_last_to_map
        >>> channels_last_to_map(torch.randn(2, 7, 9, 768)).shape
        torch.Size([2, 768, 7, 9])
    """
    if tensor.ndim < 3:
        raise ArgumentError(
            f"channels_last_to_map: expected (N, *positions, C), got shape {tuple(tensor.shape)}"
        )
    return tensor.movedim(-1, 1)


def channel_transform(
    tensor: Tensor, inputs: Sequence[Tensor], name: str, reshape_transform: ReshapeTransform | None
) -> ReshapeTransform:
    """What makes (N, C, positions) of a layer's tensor: the user's function, or what is certain.

    Raises:
        ArgumentError: tokens or channels-last maps are possible, but not the only reading.
    """
    if reshape_transform is not None:
        return _checked(reshape_transform)
    if tensor.ndim < 2:
        raise ArgumentError(
            f"layer {name!r}: expected an output (N, C, ...), got {tuple(tensor.shape)}"
        )
    if tensor.is_quantized:  # the way back, and arithmetic, are for floating-point numbers
        return torch.dequantize
    first = inputs[0] if inputs else tensor
    if tensor.ndim == first.ndim == 3 and len(tensor) != len(first):
        raise ArgumentError(
            f"layer {name!r}: gives {tuple(tensor.shape)} for inputs of shape "
            f"{tuple(first.shape)}, with no row for each of {len(first)} examples; if this is one "
            "image (C, H, W), pass inputs.unsqueeze(0)"
        )
    images = [image for image in inputs if image.ndim == 4]
    if not images or tensor.ndim not in (3, 4):
        return _unchanged
    shape, size = tuple(tensor.shape), tuple(images[0].shape)
    if tensor.ndim == 3:
        if _surely_tokens(shape, size):
            return tokens_to_map()
        raise ArgumentError(
            f"layer {name!r}: gives {shape} for image inputs; are these tokens (N, L, C) or "
            "channels (N, C, L)? Say so with reshape_transform=tokens_to_map(height, width, "
            "class_token=...) from captum_cnn_ext.attr, or with reshape_transform=lambda t: t "
            "for (N, C, L)."
        )
    if not _perhaps_channels_last(shape, size):
        return _unchanged
    if _surely_channels_last(shape, size):
        return channels_last_to_map
    raise ArgumentError(
        f"layer {name!r}: gives {shape} for inputs of shape {size}, which looks like channels "
        "last (N, H, W, C). Pass reshape_transform=channels_last_to_map from captum_cnn_ext.attr, "
        "or reshape_transform=lambda t: t if it is not."
    )


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


def _checked(reshape_transform: ReshapeTransform) -> ReshapeTransform:
    def reshape(tensor: Tensor) -> Tensor:
        result = reshape_transform(tensor)
        if result.ndim < 2:
            raise ArgumentError(
                f"reshape_transform: expected it to return (N, C, *positions), got shape "
                f"{tuple(result.shape)}"
            )
        return result

    return reshape


def _surely_tokens(shape: Sequence[int], image: Sequence[int]) -> bool:
    """A class token and a square of patches that divides a square image, in no other reading.

    Without a class token a sequence (of columns of text, say) can have as many steps as an image
    has patches, so that is left to the user.
    """

    def grid(length: int) -> bool:
        side = isqrt(length)
        return side > 1 and side * side == length and image[2] % side == 0

    square = image[2] == image[3]
    channels_first = grid(shape[2]) or grid(shape[2] - 1)
    return square and grid(shape[1] - 1) and not channels_first


def _perhaps_channels_last(shape: Sequence[int], image: Sequence[int]) -> bool:
    """Whether (1, 2) have the image's proportions and (2, 3) have not."""

    def proportional(height: int, width: int) -> bool:
        # A map of h x w positions is the image divided by one step, up to rounding and borders.
        return abs(height * image[3] - width * image[2]) <= max(image[2:])

    _, first, second, third = shape
    return not proportional(second, third) and proportional(first, second) and second > 1


def _surely_channels_last(shape: Sequence[int], image: Sequence[int]) -> bool:
    """Whether (1, 2) are the image's size divided by one whole step, or (2, 3) cannot be a map."""
    _, first, second, third = shape
    if second < image[2] and third > image[3]:  # smaller than the image one way, larger the other
        return True
    return (
        image[2] % first == 0 and image[3] % second == 0 and image[2] // first == image[3] // second
    )


def channel_maps(
    tensor: Tensor, inputs: Sequence[Tensor], name: str, reshape_transform: ReshapeTransform | None
) -> Tensor:
    """``tensor`` as ``(N, C, *positions)``, channels second, or an error where that is in doubt.

    Raises:
        ArgumentError: the layer gives tokens (N, L, C) or channels-last maps (N, H, W, C) whose
            layout is not certain.
    """
    return channel_transform(tensor, inputs, name, reshape_transform)(tensor)


def flat(tensor: Tensor) -> Tensor:
    """``(N, C, *positions)`` or (N, C) as (N, C, P)."""
    return tensor.flatten(2) if tensor.ndim > 2 else tensor.unsqueeze(2)
