"""Principal components of activations, for a batch at once, on its device."""

import torch
from torch import Tensor

from captum_cnn_ext._engine.wide_numbers import widest


def first_direction(matrix: Tensor) -> Tensor:
    """The first right singular vector of each (p, k) matrix, given as (n, k, p); shape (n, k, 1).

    Not centred. It comes from the smaller of the two Gram matrices, (k, k) or (p, p), in double
    precision where the device has it. Its sign makes the projection correlate with the energy
    sum_k a_k^2 of the positions; where that does not decide, its largest values are positive.
    """
    wide = widest(matrix)
    direction: Tensor
    if wide.shape[1] <= wide.shape[2]:
        direction = _largest(wide @ wide.mT)[1]
    else:
        positions = _largest(wide.mT @ wide)[1]
        direction = torch.nn.functional.normalize(wide @ positions, dim=1)
    projection = (direction * wide).sum(1)
    sign = energy_sign(projection, wide, torch.finfo(matrix.dtype).eps)
    return (direction * sign[:, None, None]).to(matrix.dtype)


def _largest(gram: Tensor) -> tuple[Tensor, Tensor]:
    """The largest eigenvalue (n, 1) and its vector (n, p, 1); NaN for an example that is broken.

    On its own the solver fails for all examples where one has a NaN.
    """
    finite = gram.isfinite().all(2).all(1)[:, None, None]
    values, vectors = torch.linalg.eigh(torch.where(finite, gram, 0))
    return (
        torch.where(finite[..., 0], values[:, -1:], torch.nan),
        torch.where(finite, vectors[..., -1:], torch.nan),
    )


def energy_sign(projection: Tensor, matrix: Tensor, eps: float) -> Tensor:
    """+1 or -1 for each example: (n, p) times it correlates with the energy of (n, k, p).

    ``eps`` is the precision that the activations came in: after a layer norm every position has
    the same energy up to it, and rounding must not choose the sign.
    """
    energy = matrix.square().sum(1)
    spread = energy - energy.mean(1, keepdim=True)
    covariance = (projection * spread).sum(1)
    noise = eps * (projection.abs() * energy).sum(1)
    deciding: Tensor = torch.where(
        covariance.abs() <= 8 * noise, projection.pow(3).sum(1), covariance
    )
    return 1.0 - 2.0 * (deciding < 0).to(projection.dtype)


def kernel_projection(matrix: Tensor, kernel: str, gamma: float | None) -> Tensor:
    """Each position's coordinate on the first kernel principal component: (n, k, p) -> (n, 1, p).

    Positions are centred, then compared by the kernel, whose matrix is centred again, as in
    kernel PCA. The sign is that of ``first_direction``.
    """
    wide = widest(matrix)
    centred = wide - wide.mean(2, keepdim=True)
    scale = 1 / matrix.shape[1] if gamma is None else gamma
    products = centred.mT @ centred
    if kernel == "sigmoid":
        gram = torch.tanh(scale * products + 1)
    elif kernel == "rbf":
        squares = products.diagonal(dim1=1, dim2=2)
        gram = torch.exp(-scale * (squares[:, :, None] + squares[:, None] - 2 * products))
    else:
        gram = products
    gram = (
        gram
        - gram.mean(1, keepdim=True)
        - gram.mean(2, keepdim=True)
        + gram.mean((1, 2), keepdim=True)
    )
    value, vector = _largest(gram)
    projection: Tensor = vector[..., 0] * value.clamp(min=0).sqrt()
    sign = energy_sign(projection, wide, torch.finfo(matrix.dtype).eps)
    return (projection * sign[:, None])[:, None].to(matrix.dtype)
