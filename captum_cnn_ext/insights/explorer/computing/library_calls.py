"""What answers each question, as calls of the library: the session runs them, the page prints them.

Their variables are ``model``, the inputs ``x``, the normalisation ``mean`` and ``std``, and what a
line before has named.
"""

from collections.abc import Sequence
from typing import Any

from captum_cnn_ext.insights.explorer.computing.listing import ExploredLayer
from captum_cnn_ext.methods.expression import Expression, imported, variable

MODEL, X, MEAN, STD = map(variable, ("model", "x", "mean", "std"))
PICTURES, PREPROCESS = variable("pictures"), variable("preprocess")
BLUR = 4.0  # standard deviation in pixels of a reconstruction's blurred norm


def feature_maps(layer: ExploredLayer) -> Expression:
    """The feature maps of a layer, (N, C, H, W)."""
    maps = imported("captum_cnn_ext.attr.LayerFeatureMaps")(MODEL, layer.name)
    return maps.attribute(X, **_given(call=layer.last_call))


def gradients(layer: ExploredLayer, origin: ExploredLayer, channel: int) -> Expression:
    """The gradient of a frozen unit at a layer before it, (N, C, H, W)."""
    calls = _given(call=layer.last_call, origin_call=origin.last_call)
    return imported("captum_cnn_ext.insights.unit_gradients")(
        MODEL, X, layer.name, origin=origin.name, channel=channel, **calls
    )


def contrast(maps: Expression, gamma: float) -> Expression:
    """Maps with their magnitudes raised to ``gamma``."""
    return maps.sign() * maps.abs() ** gamma


def reconstructions(
    layer: ExploredLayer, channel: int, rule: str, seed: str, at_input: bool
) -> Expression:
    """A unit back in pixels."""
    more = _given(attribute_to_neuron_input=at_input or None, call=layer.last_call)
    return imported("captum_cnn_ext.attr.DeconvNet")(MODEL, layer.name).reconstruct(
        X, channels=channel, rule=rule, seed=seed, **more
    )


def top_patches(layer: ExploredLayer, k: int) -> Expression:
    """What excites each unit of a layer most, over pictures."""
    return imported("captum_cnn_ext.evidence.top_patches")(
        MODEL, layer.name, PICTURES, k, preprocess=PREPROCESS, **_given(call=layer.last_call)
    )


def length(pictures: Expression) -> Expression:
    """The length over colours of pictures (N, C, H, W)."""
    return pictures.norm(dim=1)


def blurred(pictures: Expression, side: int) -> Expression:
    """Pictures (N, H, W) of that shorter side under a Gaussian."""
    size = 2 * min(int(3 * BLUR), side - 1) + 1
    return imported("torchvision.transforms.functional.gaussian_blur")(pictures, size, BLUR)


def synthesis(
    layer: str, channel: int, size: int, recipe: str, steps: int | None, seed: int, **more: Any
) -> Expression:
    """An image that a unit wants to see."""
    return imported("captum_cnn_ext.synthesis.maximize")(
        MODEL,
        imported("captum_cnn_ext.synthesis.Channel")(layer, channel),
        image=size,
        recipe=recipe,
        steps=steps,
        mean=MEAN,
        std=STD,
        seed=seed,
        **more,
    )


def explanation(
    methods: Sequence[str], layer: str | None, target: int | str | None, **more: Any
) -> Expression:
    """Maps of a class, or of what a command line says, by several methods."""
    read = imported("captum_cnn_ext.targets.target_from_text")
    return imported("captum_cnn_ext.insights.compare")(
        MODEL,
        PICTURES,
        list(methods),
        **_given(layers=layer),
        target=read(target) if isinstance(target, str) else target,
        preprocess=PREPROCESS,
        **more,
    )


def apart(first: Expression, second: Expression) -> Expression:
    """How far each unit's maps (C, ...) of two images are from one another."""
    return (first - second).flatten(1).norm(dim=1)


def _given(**arguments: Any) -> dict[str, Any]:
    """Those that are not left to their defaults."""
    return {name: value for name, value in arguments.items() if value is not None}
