"""Signals, images and volumes: (N, C, ...) with one, two or three axes after the channels."""

from collections.abc import Sequence

from torch import Tensor

from captum_cnn_ext.errors import ArgumentError

KINDS = {
    1: "signals (N, C, L)",
    2: "images (N, C, H, W)",
    3: "volumes or videos (N, C, D, H, W)",
}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}  # PyTorch's names of the interpolation


def spread_over(values: Tensor, like: Tensor) -> Tensor:
    """(N,) or (N, C) with a dimension of 1 for each further one of ``like``."""
    return values.reshape(*values.shape, *[1] * (like.ndim - values.ndim))


def images_only(what: str, shape: Sequence[int]) -> None:
    """Refuse what is made for images alone.

    Raises:
        ArgumentError: a signal or a volume.
    """
    if len(shape) != 4:
        got = KINDS.get(len(shape) - 2, "a shape")
        raise ArgumentError(f"{what}: is for {KINDS[2]} only, got {got} of {tuple(shape)}")
