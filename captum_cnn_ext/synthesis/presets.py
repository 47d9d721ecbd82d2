"""Recipes under the names of those who wrote them, and our own."""

from functools import partial

import torch
from torch import Tensor

from captum_cnn_ext._numbers import as_count, as_number
from captum_cnn_ext.errors import choose
from captum_cnn_ext.synthesis import transforms as t
from captum_cnn_ext.synthesis.images.canvas import standardized
from captum_cnn_ext.synthesis.images.maco import MacoPhase
from captum_cnn_ext.synthesis.images.parameterizations import Fourier, Pixels
from captum_cnn_ext.synthesis.recipe import Recipe
from captum_cnn_ext.synthesis.regularizers import (
    BlurEvery,
    ClipSmallNorms,
    Decay,
    NormalizeGradient,
    SkipGradient,
)


def transferable() -> Recipe:
    """Ours, the default: what it draws is recognised by networks it was not made on.

    A smooth spectrum, and views at widely different scales, rotations and positions before random
    colours, so that a network cannot be excited by an arrangement of pixels that only it sees. Of
    the gradient of a residual sum half goes back through the branch (:class:`SkipGradient`). A
    step moves pixels as far at every size as at 224 x 224, where it was chosen.

    Cost: 256 steps.
    """
    return Recipe(
        partial(Fourier, decay=2.2, lowest=6.0, sd=1e-4, tuned_at=224),
        256,
        partial(torch.optim.Adam, lr=8e-4),
        [t.affine(scale=(0.6, 1.8), degrees=15, shift=0.2)],
        [SkipGradient(0.5)],
        name="transferable",
    )


def lucid() -> Recipe:
    """The defaults of the authors' code for a neuron, channel or class: a 1/f spectrum and small
    shifts, scales and rotations.

    Theirs divides the spectrum by 4; here its start and the step are 4 times smaller, which is the
    same ascent. The network sees as many pixels as the image has, as in their recipe for many
    channels at once.

    Reference: Olah, Mordvintsev, Schubert, *Feature Visualization*, 2017, Distill.

    Cost: 512 steps.
    """
    return Recipe(
        partial(Fourier, decay=1.0, sd=0.01 / 4),
        512,
        partial(torch.optim.Adam, lr=0.05 / 4),
        [
            t.pad(12, 0.5),
            t.jitter(8),
            t.affine(scale=(0.9, 1.1), degrees=10, fill=0.5),
            t.jitter(4),
            t.trim(12),
        ],
        name="lucid",
    )


def chollet() -> Recipe:
    """Bare pixels from grey noise, 20 steps of 1/255 along the gradient divided by its RMS, the
    contrast normalised at the end.

    On a 0 ... 255 scale this is his script: noise (U - 0.5) 20 + 128, gradient / (RMS + 1e-5),
    step 1, no clipping.

    Reference: Chollet, *How Convolutional Neural Networks See the World*, 2016, Keras blog.

    Cost: 20 steps.
    """
    return Recipe(
        partial(Pixels, spread=20 / 255, mean=128 / 255, clip=False),
        20,
        partial(torch.optim.SGD, lr=1 / 255),
        (),
        # a gradient to [0, 1] is 255 times one to [0, 255]
        [NormalizeGradient("rms", 255e-5)],
        standardized,
        name="chollet",
    )


def yosinski(
    decay: float = 1e-4, blur: float = 1.0, every: int = 4, small_norms: float = 0.0
) -> Recipe:
    """Pixels held back after each step: decay to grey, a blur every few steps, the weakest
    positions set to grey.

    The paper's learning rates are fitted to one network; here the gradient is divided by its RMS.

    Reference: Yosinski, Clune, Nguyen, Fuchs, Lipson, *Understanding Neural Networks Through Deep
    Visualization*, 2015, arXiv:1506.06579.

    Cost: 300 steps.

    Args:
        decay: share of the contrast lost at each step.
        blur: standard deviation in pixels; 0 for none.
        every: blur after so many steps.
        small_norms: per cent of the positions that are set to grey.
    """
    blur, small_norms = as_number("blur", blur, 0), as_number("small_norms", small_norms, 0, 100)
    decay, every = as_number("decay", decay, 0, 1), as_count("every", every)
    held = [NormalizeGradient("rms"), Decay(decay)]
    held += [BlurEvery(every, blur)] if blur else []
    held += [ClipSmallNorms(small_norms)] if small_norms else []
    return Recipe(
        partial(Pixels, spread=0.04),
        300,
        partial(torch.optim.SGD, lr=4 / 255),
        (),
        held,
        name="yosinski",
    )


def maco(photos: Tensor | None = None) -> Recipe:
    """Phases only, seen through random crops with a little noise.

    Reference: Fel et al., *Unlocking Feature Visualization for Deep Networks with MAgnitude
    Constrained Optimization*, 2023, arXiv:2306.06805.

    Cost: 256 steps.

    Args:
        photos: (K, C, H, W) in [0, 1] of the image's size, whose magnitudes are taken; None for a
            1/f spectrum with the contrast of photos.
    """
    return Recipe(
        partial(MacoPhase, photos=photos),
        256,
        partial(torch.optim.Adam, lr=0.05),
        [t.affine(scale=(0.9, 2.0), degrees=10, shift=0.2, fill="reflect"), t.noise(0.05)],
        name="maco",
    )


PRESETS = {
    "transferable": transferable,
    "lucid": lucid,
    "chollet": chollet,
    "yosinski": yosinski,
    "maco": maco,
}


def find_recipe(recipe: str | Recipe) -> Recipe:
    """A recipe, by its name or itself.

    Raises:
        ArgumentError: no such preset.

    Example::

        >>> from captum_cnn_ext.synthesis.presets import find_recipe
        >>> find_recipe("chollet").steps
        20
    """
    if isinstance(recipe, Recipe):
        return recipe
    return PRESETS[choose("recipe", recipe, list(PRESETS))]()
