"""What an input size means: ``224``, ``(224, 224)``, ``(3, 224, 224)`` or ``(1, 3, 224, 224)``."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from captum_cnn_ext._numbers import whole
from captum_cnn_ext.errors import ArgumentError

Size = int | Sequence[int]


def input_shape(
    parameter: str, size: Any, model: nn.Module | None, *, images: bool = True
) -> tuple[int, ...]:
    """The shape of a batch, ``(N, C, *positions)``, from any spelling of a size.

    How many dimensions it has, and the channels where the size names none, are those of the
    model's first convolution; without one, those of an RGB image. With ``images=False`` a size
    that is no image's is taken as it stands: of vectors, or of frames of a video.

    Raises:
        ArgumentError: no positive integers, or more or fewer of them than the model takes.
    """
    first = _first_convolution(model)
    dimensions, channels = input_axes(model), input_channels(model) or 3
    free = not images and first is None
    several = isinstance(size, Sequence) and not isinstance(size, str) and len(size) > 0
    sizes = [whole(n) or 0 for n in (size if several else [size])]
    if min(sizes) < 1:
        tensors = "" if images else ", or example tensors"
        raise ArgumentError(
            f"{parameter}={size!r}: expected a size of positive integers, such as 224, "
            f"(224, 224), (3, 224, 224) or (1, 3, 224, 224){tensors}"
        )
    sizes = sizes if several or free else sizes * dimensions
    if len(sizes) == dimensions and not free:
        sizes = [channels, *sizes]
    if len(sizes) == dimensions + 1 or (not images and len(sizes) < min(dimensions, 2)):
        sizes = [1, *sizes]
    if images and len(sizes) != dimensions + 2:
        raise ArgumentError(
            f"{parameter}={size!r}: expected an integer or {dimensions} of them, with or without "
            "the number of channels and the batch before them"
        )
    return tuple(sizes)


def input_axes(model: nn.Module | None) -> int:
    """How many dimensions follow the channels of its input, 2 where no convolution says."""
    first = _first_convolution(model)
    return 2 if first is None else len(first.kernel_size)


def input_channels(model: nn.Module | None) -> int | None:
    """How many channels the model's first convolution takes; None where it has none."""
    first = _first_convolution(model)
    return None if first is None else int(first.in_channels)


def _first_convolution(model: nn.Module | None) -> Any:
    for module in model.modules() if model is not None else ():
        kernel, channels = (getattr(module, name, None) for name in ("kernel_size", "in_channels"))
        if isinstance(kernel, tuple) and channels:  # neither pooling nor a lazy convolution
            return module
    return None
