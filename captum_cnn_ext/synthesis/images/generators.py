"""Images that a network draws: a small one of coordinates, or any generator of the user's."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_cnn_ext._numbers import as_count, as_indices, as_number
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.synthesis.images.parameterizations import ImageParam, Shape
from captum_cnn_ext.synthesis.spatial_axes import LINEAR

_FIT_STEPS = 300


class _Fitted(ImageParam):
    """Takes a photo as well as it can: by descent on the squared error."""

    learning_rate = 0.01

    def _take(self, photo: Tensor) -> None:
        parameters = list(self.parameters())
        optimizer = torch.optim.Adam(parameters, lr=self.learning_rate)
        with torch.inference_mode(False), torch.enable_grad():
            target = photo.clone()
            for _ in range(_FIT_STEPS):
                error = (self() - target).square().flatten(1).mean(1).sum()
                gradients = torch.autograd.grad(error, parameters)
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = gradient
                optimizer.step()
        for parameter in parameters:
            parameter.grad = None


class Cppn(_Fitted):
    r"""A compositional pattern-producing network: each pixel a function of its coordinates.

    Smooth, and drawn in any size; one network for each image. After every layer stand
    :math:`\arctan(x) / 0.67` and :math:`\arctan^2(x) / 0.6`, which keep the variance about 1.

    References: Stanley, *Compositional Pattern Producing Networks*, 2007; Mordvintsev, Pezzotti,
    Schubert, Olah, *Differentiable Image Parameterizations*, 2018, Distill.

    Args:
        shape: (N, C, H, W), or that of signals or volumes.
        width, depth: channels and number of the hidden layers.
        generator, device, dtype: as in :class:`ImageParam`.

    Example::

        >>> from captum_cnn_ext.synthesis import Cppn
        >>> Cppn((1, 3, 33, 20), depth=3)().shape
        torch.Size([1, 3, 33, 20])
    """

    coordinates: Tensor

    def __init__(
        self,
        shape: Shape,
        *,
        width: int = 24,
        depth: int = 8,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(shape)
        n, c, *sides = self.shape
        width, depth = as_count("width", width), as_count("depth", depth)
        sizes = [len(sides), *[2 * width] * depth]
        weights = [
            torch.randn(n, width, size, generator=generator, device="cpu", dtype=dtype)
            / math.sqrt(size)
            for size in sizes[:-1]
        ]
        # the last layer begins at 0, so the image begins grey
        weights.append(torch.zeros(n, c, sizes[-1], dtype=dtype))
        self.weights = nn.ParameterList([weight.to(device) for weight in weights])
        self.biases = nn.ParameterList(
            [torch.zeros_like(weight[..., :1]) for weight in self.weights]
        )
        along = [torch.linspace(-math.sqrt(3), math.sqrt(3), side, dtype=dtype) for side in sides]
        grid = torch.stack(torch.meshgrid(*along, indexing="ij")).flatten(1)[None]
        self.register_buffer("coordinates", grid.to(device), persistent=False)

    def forward(self) -> Tensor:
        values = self.coordinates.expand(self.shape[0], -1, -1)
        *hidden, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in hidden:
            bent = torch.atan(torch.baddbmm(bias, weight, values))
            values = torch.cat([bent / 0.67, bent.square() / 0.6], 1)
        weight, bias = last
        return torch.baddbmm(bias, weight, values).sigmoid().reshape(self.shape)


class Generator(_Fitted):
    """The image that a generator network of yours draws from a latent vector.

    Only the latent vector is optimised; the network is used as it is, in the mode it is in.

    Reference: Nguyen, Dosovitskiy, Yosinski, Brox, Clune, *Synthesizing the Preferred Inputs for
    Neurons in Neural Networks via Deep Generator Networks*, 2016, arXiv:1605.09304.

    Args:
        shape: (N, C, H, W), or that of signals or volumes; what is drawn in another size is
            resized to it.
        network: from latent vectors to pictures ``(N, C, *, *)``.
        latent: shape of a latent vector, without N.
        low, high: what the network draws for black and white.
        sd: standard deviation of the noise the latent vectors begin with.
        generator, device, dtype: as in :class:`ImageParam`.

    Raises:
        ArgumentError: the network draws another number of pictures or channels.

    Example::

        >>> from functools import partial
        >>> from torch import nn
        >>> from captum_cnn_ext.synthesis import Generator
        >>> layers = nn.Linear(8, 3 * 16 * 16), nn.Unflatten(1, (3, 16, 16)), nn.Tanh()
        >>> network = nn.Sequential(*layers)
        >>> make = partial(Generator, network=network, latent=(8,), low=-1)
        >>> make((2, 3, 32, 32))().shape
        torch.Size([2, 3, 32, 32])
    """

    learning_rate = 0.05
    network: Callable[[Tensor], Tensor]

    def __init__(
        self,
        shape: Shape,
        *,
        network: Callable[[Tensor], Tensor],
        latent: Shape,
        low: float = 0.0,
        high: float = 1.0,
        sd: float = 1.0,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(shape)
        sd, low, high = as_number("sd", sd, 0), as_number("low", low), as_number("high", high)
        if low == high:
            raise ArgumentError(f"low={low}, high={high}: expected black and white to differ")
        latent = tuple(as_count("latent", n) for n in as_indices("latent", latent))
        noise = torch.randn(self.shape[0], *latent, generator=generator, device="cpu", dtype=dtype)
        self.latent = nn.Parameter((noise * sd).to(device))
        self.low, self.high = low, high
        object.__setattr__(self, "network", network)  # no submodule: its weights are not optimised

    def forward(self) -> Tensor:
        drawn = self.network(self.latent)
        if drawn.ndim != len(self.shape) or drawn.shape[:2] != self.shape[:2]:
            raise ArgumentError(
                f"network: drew {tuple(drawn.shape)}; expected {tuple(self.shape)}, or another "
                "size of the same channels"
            )
        if drawn.shape != self.shape:
            axes = drawn.ndim - 2
            drawn = F.interpolate(
                drawn, self.shape[2:], mode=LINEAR[axes], align_corners=False, antialias=axes == 2
            )
        image: Tensor = (drawn - self.low) / (self.high - self.low)
        return image.clamp(0, 1)
