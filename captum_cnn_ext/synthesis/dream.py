"""DeepDream: whatever a layer sees in a photo, more of it, at several sizes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import Layer as AnyLayer
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._notebook import drawn_by, saved_by
from captum_cnn_ext._numbers import as_count, as_number, as_seed
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.synthesis import transforms as t
from captum_cnn_ext.synthesis.ascent import maximize
from captum_cnn_ext.synthesis.callbacks import Callback
from captum_cnn_ext.synthesis.images.parameterizations import Pixels
from captum_cnn_ext.synthesis.objectives.algebra import Objective
from captum_cnn_ext.synthesis.objectives.units import Layer
from captum_cnn_ext.synthesis.recipe import Recipe
from captum_cnn_ext.synthesis.regularizers import NormalizeGradient

Layers = AnyLayer | Sequence[AnyLayer] | Mapping[AnyLayer, float] | Objective
_MARGIN = 2  # Keras: positions at the border that do not count


@dataclass(frozen=True)
class Dream:
    """What became of a photo.

    Args:
        images: (N, C, H, W) in [0, 1].
        octaves: the image after each size, smallest first.
    """

    images: Tensor
    octaves: list[Tensor]

    __repr__ = brief
    _repr_png_ = drawn_by("show_images", lambda done: (done.images,))
    save = saved_by("show_images", lambda done: (done.images,))


def deep_dream(
    forward_func: Callable[..., Any],
    image: Tensor,
    layers: Layers,
    *,
    octaves: int = 3,
    octave_scale: float = 1.4,
    steps: int = 20,
    step_size: float = 0.005,
    jitter: int = 16,
    most: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
    additional_forward_args: Any = None,
    callbacks: Sequence[Callback] = (),
    show_progress: bool = False,
) -> Dream:
    r"""A photo in which layers see more of what they saw: ascent on :math:`\sum_l w_l \,
    \mathrm{mean}(A_l^2)`, from a small size to the photo's own.

    After each size the detail that the smaller photo had lost is put back. The gradient is divided
    by the mean of its absolute values, so ``step_size`` is about how far a pixel moves in a step.

    Cost: for each size ``steps`` forward and backward passes up to the deepest layer.

    References: Mordvintsev, Olah, Tyka, *Inceptionism: Going Deeper into Neural Networks*, 2015;
    octaves and lost detail: Chollet, the Keras example *Deep Dream*, 2016.

    Args:
        forward_func: the model, or any function of the images that runs it; it must take images
            of any size, at least up to the layers.
        image: (C, H, W) or (N, C, H, W) in [0, 1]; not modified.
        layers: a layer, a list of them, a mapping to their weights, or any objective.
        octaves: how many sizes.
        octave_scale: from one to the next.
        steps: for each size.
        step_size: of pixels in [0, 1].
        jitter: shift the image by up to so many pixels at each step, which hides seams.
        most: end a size early when the objective is above this for every image.
        mean, std: the model's normalisation.
        seed: for the shifts.
        additional_forward_args: further arguments of the model.
        callbacks: as in :func:`maximize`, for each size.
        show_progress: draw a progress bar for each size.

    Raises:
        ArgumentError: a shape, layer or number that does not fit.
        TypeError: an image that is no tensor.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.synthesis import deep_dream
        >>> photo = torch.rand(3, 80, 60)
        >>> dream = deep_dream(resnet18().eval(), photo, {"layer2": 1.0, "layer3": 0.5}, steps=2)
        >>> dream.images.shape, [tuple(o.shape[-2:]) for o in dream.octaves]
        (torch.Size([1, 3, 80, 60]), [(41, 31), (57, 43), (80, 60)])
    """
    octaves, octave_scale = (
        as_count("octaves", octaves),
        as_number("octave_scale", octave_scale, above=1),
    )
    step_size, seed = as_number("step_size", step_size, 0), as_seed("seed", seed)
    most = None if most is None else as_number("most", most)
    jitter = as_count("jitter", jitter, 0)
    if not isinstance(image, Tensor):
        raise TypeError(
            f"image: got {type(image).__name__} {image!r:.60}, expected a tensor (C, H, W) or "
            "(N, C, H, W) in [0, 1]; captum_cnn_ext.photos.load_photos reads picture files"
        )
    if image.ndim not in (3, 4) or not image.is_floating_point():
        raise ArgumentError(
            f"image: got {tuple(image.shape)} {image.dtype}; expected (C, H, W) or (N, C, H, W) "
            "in [0, 1]"
        )
    photo = image.detach().reshape(-1, *image.shape[-3:])
    objective = _objective(layers)
    ending: Callback = lambda step: most is not None and bool((step.values > most).all())  # noqa: E731
    recipe = Recipe(
        partial(Pixels, clip=True),
        steps,
        partial(torch.optim.SGD, lr=step_size),
        [t.jitter(jitter)] if jitter else [],
        [NormalizeGradient("mean")],
        name="deep dream",
    )
    dreamt, smaller = None, None
    found: list[Tensor] = []
    for octave in range(octaves):
        factor = octave_scale ** (octave - octaves + 1)
        size = [max(1, round(side * factor)) for side in photo.shape[-2:]]
        plain = _resized(photo, size)
        if dreamt is not None and smaller is not None:
            plain = _resized(dreamt, size) + (plain - _resized(smaller, size))
        result = maximize(
            forward_func,
            objective,
            plain.clamp(0, 1),
            recipe=recipe,
            mean=mean,
            std=std,
            seed=seed + octave,
            additional_forward_args=additional_forward_args,
            callbacks=[*callbacks, ending],
            show_progress=show_progress,
        )
        dreamt, smaller = result.images, _resized(photo, size)
        found.append(dreamt)
    return Dream(found[-1], found)


def _objective(layers: Layers) -> Objective:
    if isinstance(layers, Objective):
        return layers
    if isinstance(layers, (str, nn.Module)):
        return Layer(layers, margin=_MARGIN)
    weights = layers if isinstance(layers, Mapping) else dict.fromkeys(layers, 1.0)
    if not weights:
        raise ArgumentError("layers: got none; expected at least one layer")
    parts = [weight * Layer(layer, margin=_MARGIN) for layer, weight in weights.items()]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _resized(image: Tensor, size: Sequence[int]) -> Tensor:
    if list(size) == list(image.shape[-2:]):
        return image
    return F.interpolate(image, list(size), mode="bilinear", align_corners=False, antialias=True)
