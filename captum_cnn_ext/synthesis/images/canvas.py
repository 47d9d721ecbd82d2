"""What is painted on: the parameterisation, its background, and how the network gets it."""

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.input_sizes import input_axes, input_shape
from captum_cnn_ext._engine.wide_numbers import wide_dtype
from captum_cnn_ext._numbers import as_number, as_numbers
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.synthesis.images.parameterizations import Fourier, ImageParam, MakeImage
from captum_cnn_ext.synthesis.spatial_axes import KINDS, spread_over

Start = int | Sequence[int] | Tensor | ImageParam
"""A size, a photo or several, or what is optimised itself."""

_OPAQUE = 0.5  # where the opacity begins


@dataclass(frozen=True)
class Canvas:
    """The images being made, with the model's normalisation and the source of random numbers.

    ``generator`` is for the transforms, ``backgrounds`` for what shines through where ``alpha``,
    a parameterisation of one channel, is given. ``dtype`` is the network's.
    """

    param: ImageParam
    alpha: ImageParam | None
    generator: torch.Generator
    backgrounds: torch.Generator
    dtype: torch.dtype
    mean: Tensor | None
    std: Tensor | None

    @property
    def like(self) -> Tensor:
        """A tensor on the images' device."""
        return next(self.param.parameters()).detach()

    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser changes."""
        parts = [self.param] if self.alpha is None else [self.param, self.alpha]
        return [p for part in parts for p in part.parameters() if p.requires_grad]

    def image(self) -> Tensor:
        """The images, (N, C, H, W) in [0, 1]."""
        image = self.param()
        assert isinstance(image, Tensor)
        return image

    def opacity(self) -> Tensor | None:
        """(N, 1, H, W) in [0, 1], or None."""
        with torch.no_grad():
            return None if self.alpha is None else self.alpha().detach()

    def on_background(self, image: Tensor) -> Tensor:
        """The image before a random smooth background, where it has an opacity."""
        if self.alpha is None:
            return image
        behind = Fourier(
            image.shape,
            decay=1.5,
            generator=self.backgrounds,
            device=image.device,
            dtype=image.dtype,
        )
        opacity: Tensor = self.alpha()
        background: Tensor = behind().detach()
        return opacity * image + (1 - opacity) * background

    def weighed(self, values: Tensor) -> Tensor:
        """Less for an image that covers more of its background."""
        if self.alpha is None:
            return values
        covered: Tensor = self.alpha().flatten(1).mean(1).to(values)
        return values * (1 - covered)

    def normalized(self, images: Tensor) -> Tensor:
        """As the network expects them."""
        if self.mean is not None and self.std is not None:
            images = (images - self.mean) / self.std
        return images.to(self.dtype)

    def full_precision(self) -> AbstractContextManager[object]:
        """Autocast is for the network, not for spectra."""
        return torch.autocast(self.like.device.type, enabled=False)


def canvas_for(
    model: nn.Module | None,
    image: Start,
    make: MakeImage,
    *,
    images: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    alpha: bool,
    seed: int,
    grey: bool = False,
) -> Canvas:
    """The canvas that ``maximize``'s arguments ask for.

    Raises:
        ArgumentError: a shape, a mean or a std that does not fit.
    """
    device, dtype = _where_the_model_is(model)
    axes = input_axes(model)
    generator = torch.Generator().manual_seed(seed)
    if isinstance(image, ImageParam):
        param = image
        if param.shape[0] < images:
            raise ArgumentError(
                f"image: holds {param.shape[0]} image(s), but the objective is about {images}"
            )
        if len(param.shape) == 3 and axes > 1:
            raise ArgumentError(
                f"image: a {type(param).__name__} of shape {tuple(param.shape)} holds {KINDS[1]}, "
                f"but the model takes {KINDS[axes]}"
            )
        if grey and not param.grey:
            raise ArgumentError(
                f"grey=True: the {type(param).__name__} given has colours; make it with grey=True"
            )
    else:
        if isinstance(image, Tensor):
            device = image.device if model is None else device
            shape = _photo_shape(image, images, axes)
        else:
            shape = _shape(input_shape("image", image, model), images)
        # spectra in half precision would lose the image
        exact = wide_dtype(dtype)
        one_channel = _grey(make) if grey else {}
        param = make(shape, generator=generator, device=device, dtype=exact, **one_channel)
        if isinstance(image, Tensor):
            param.start_from(image)
    like = next(param.parameters()).detach()
    opacity = _opacity(param, generator, like) if alpha else None
    later = torch.Generator().manual_seed(
        int(torch.randint(2**31, (), generator=generator, device="cpu"))
    )
    return Canvas(
        param,
        opacity,
        generator,
        later,
        dtype if model is not None else like.dtype,
        _per_channel("mean", mean, std, param, like),
        _per_channel("std", std, mean, param, like),
    )


def standardized(images: Tensor, spread: float = 0.25) -> Tensor:
    """Each image with mean 0.5 and standard deviation ``spread``, cut to [0, 1], to look at.

    Reference: Chollet, *How Convolutional Neural Networks See the World*, 2016, Keras blog (0.1;
    0.25 in his later gallery).

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis.images.canvas import standardized
        >>> standardized(torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)).flatten()
        tensor([0.2500, 0.7500])
    """
    spread = as_number("spread", spread, 0)
    flat = images.flatten(1)
    middle = spread_over(flat.mean(1), images)
    deviation = spread_over(flat.std(1, correction=0), images)
    return ((images - middle) / (deviation + 1e-5 / 255) * spread + 0.5).clamp(0, 1)


def _where_the_model_is(model: nn.Module | None) -> tuple[torch.device, torch.dtype]:
    found = [p for p in model.parameters() if p.is_floating_point()] if model is not None else []
    if found:
        return found[0].device, found[0].dtype
    return torch.get_default_device(), torch.get_default_dtype()


def _grey(make: MakeImage) -> dict[str, Any]:
    if "grey" not in inspect.signature(make).parameters:
        name = getattr(getattr(make, "func", make), "__name__", repr(make))
        raise ArgumentError(
            f"grey=True: {name} takes no grey=; expected parameterization=Pixels, Fourier or "
            "Laplacian, or a recipe with one of them"
        )
    return {"grey": True}


def _shape(size: tuple[int, ...], images: int) -> tuple[int, ...]:
    if size[0] not in (1, images) and images != 1:
        raise ArgumentError(f"image={size}: the objective is about {images} images")
    return (max(size[0], images), *size[1:])


def _photo_shape(photo: Tensor, images: int, axes: int) -> tuple[int, ...]:
    """``axes``, of the model, says whether a first dimension is missing."""
    axes = axes if photo.ndim == axes + 1 else photo.ndim - 2
    if axes not in KINDS or not photo.is_floating_point():
        raise ArgumentError(
            f"image: got {tuple(photo.shape)} {photo.dtype}; expected "
            f"{', '.join(KINDS.values())} in [0, 1], or one without N"
        )
    count = len(photo) if photo.ndim == axes + 2 else 1
    if count not in (1, images) and images != 1:
        raise ArgumentError(f"image: got {count} photos, but the objective is about {images}")
    return (max(count, images), *photo.shape[-axes - 1 :])


def _opacity(param: ImageParam, generator: torch.Generator, like: Tensor) -> ImageParam:
    n, _, *sides = param.shape
    return Fourier((n, 1, *sides), generator=generator, device=like.device, dtype=like.dtype)


def _per_channel(
    name: str,
    values: Sequence[float] | None,
    other: Sequence[float] | None,
    param: ImageParam,
    like: Tensor,
) -> Tensor | None:
    if values is None and other is None:
        return None
    neutral = 0.0 if name == "mean" else 1.0
    bounds = {"above": 0.0} if name == "std" else {}
    given = as_numbers(name, neutral if values is None else values, **bounds)
    numbers = torch.tensor(given, dtype=like.dtype, device=like.device)
    if len(numbers) not in (1, param.shape[1]):
        raise ArgumentError(
            f"{name}: got {len(numbers)} values for {param.shape[1]} channels; expected one for "
            "each"
        )
    return numbers.reshape(1, -1, *[1] * (len(param.shape) - 2))
