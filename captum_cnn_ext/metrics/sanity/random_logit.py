"""Does the map change when another class is asked for?"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._numbers import as_count, as_seed
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.metrics.maps import as_image, as_maps, unit_range
from captum_cnn_ext.metrics.sanity.randomization import structural_similarity


def random_logit(
    explain: Callable[[Tensor, Tensor], Any],
    inputs: Any,
    target: Any,
    *,
    classes: int,
    seed: int = 0,
) -> Tensor:
    r"""Structural similarity of the maps of a class and of another, drawn at random, (N,).

    .. math:: \mathrm{SSIM}(|m_{c}|,\; |m_{r}|), \quad r \ne c

    Magnitudes are scaled to 0 to 1 first. Near 1: the map does not depend on the class. A low
    value alone is no merit, random numbers have it too.

    Cost: two explanations.

    Reference: Sixt, Granz, Landgraf, *When Explanations Lie: Why Many Modified BP Attributions
    Fail*, 2020, arXiv:1912.09818.

    Args:
        explain: from images and classes (N,) to attributions, such as
            ``lambda x, t: LayerHiResCam(model, "layer4").attribute(x, target=t)``.
        inputs: images (N, C, H, W).
        target: the class of each image, (N,), or one number for all.
        classes: how many there are; two or more.
        seed: of the draws.

    Raises:
        ArgumentError: a target that is no class, or shapes that do not fit.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import random_logit
        >>> random_logit(lambda x, t: x[:, 0], torch.rand(2, 3, 8, 8), 0, classes=10)
        tensor([1., 1.])
    """
    image, classes = as_image(inputs), as_count("classes", classes, 2)
    asked = torch.as_tensor(target, device=image.device).expand(len(image))
    if asked.is_floating_point() or not bool(((asked >= 0) & (asked < classes)).all()):
        raise ArgumentError(
            f"target={target!r}: expected classes from 0 to {classes - 1}, one for each image or "
            "one for all"
        )
    generator = torch.Generator().manual_seed(as_seed("seed", seed))
    step = torch.randint(1, classes, (len(image),), generator=generator, device="cpu").to(
        asked.device
    )
    one, two = (
        unit_range(as_maps(explain(image, of), image).abs())
        for of in (asked, (asked + step) % classes)
    )
    return structural_similarity(one, two)
