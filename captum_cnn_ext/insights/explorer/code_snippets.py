"""Each view as Python that makes the same picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from captum_cnn_ext.insights.explorer.computing.questions_and_answers import Photo, Unit
from captum_cnn_ext.insights.explorer.computing.session import ExplorerSession
from captum_cnn_ext.insights.explorer.computing.synthesized_units import PatternSettings
from captum_cnn_ext.insights.explorer.drawing import BLUR
from captum_cnn_ext.insights.reconstructing import saturates


@dataclass(frozen=True)
class Setup:
    """How a reader gets the model and its images: import lines, then lines that define
    ``model``, ``preprocess``, ``mean``, ``std`` (and ``images``, where pictures are named so)."""

    imports: tuple[str, ...]
    lines: tuple[str, ...]


IN_MEMORY = Setup(
    (),
    ("# model, images, preprocess, mean, std: as you gave them to explore()",),
)


class Snippets:
    """Writes the code of views.

    Args:
        session: for calls and activations with a ceiling, which code must name.
        setup: how to get the model.
    """

    def __init__(self, session: ExplorerSession, setup: Setup = IN_MEMORY) -> None:
        self.session, self.setup = session, setup

    def grid(self, photo: Photo, layer: str, sort: str, scale: str, gamma: float) -> str:
        """The feature maps of a layer."""
        return self._code(
            ["from captum_cnn_ext.attr import LayerFeatureMaps", _RENDER + "show_feature_maps"],
            [photo],
            [
                f"maps = LayerFeatureMaps(model, {layer!r}).attribute(x{self._call(layer)})",
                *_gamma(gamma),
                _show_maps("maps", sort, scale),
            ],
        )

    def gradients(
        self, photo: Photo, layer: str, origin: Unit, sort: str, scale: str, gamma: float
    ) -> str:
        """The gradient of a frozen unit at a layer."""
        calls = self._call(layer) + self._call(origin.layer).replace("call", "origin_call")
        return self._code(
            ["from captum_cnn_ext.insights import unit_gradients", _RENDER + "show_feature_maps"],
            [photo],
            [
                f"maps = unit_gradients(model, x, {layer!r}, origin={origin.layer!r}, "
                f"channel={origin.channel}{calls})",
                *_gamma(gamma),
                _show_maps("maps", sort, scale),
            ],
        )

    def unit(self, photo: Photo, unit: Unit) -> str:
        """A unit's map over its image."""
        return self._code(
            ["from captum_cnn_ext.attr import LayerFeatureMaps", _RENDER + "overlay"],
            [photo],
            [
                f"maps = LayerFeatureMaps(model, {unit.layer!r})"
                f".attribute(x{self._call(unit.layer)})",
                f"unit = maps[0, {unit.channel}]",
                'sign = "all" if (unit < 0).any() else "positive"',
                "figure, axes = overlay(x[0], unit, sign=sign, mean=mean, std=std)",
            ],
        )

    def reconstruction(self, photo: Photo, unit: Unit, rule: str, seed: str, look: str) -> str:
        """A unit back in pixels."""
        before = ", attribute_to_neuron_input=True" * saturates(self.session.model, unit.layer)
        lines = [
            f"found = DeconvNet(model, {unit.layer!r}).reconstruct(x, channels={unit.channel}, "
            f"rule={rule!r}, seed={seed!r}{before}{self._call(unit.layer)})",
        ]
        imports = ["from captum_cnn_ext.attr import DeconvNet"]
        if look in ("color", "grey"):
            imports.append(_RENDER + "show_reconstructions")
            lines.append(
                'figure, axes = show_reconstructions(x, found, crop="none", mean=mean, std=std)'
            )
        else:
            imports.append(_RENDER + "overlay")
            lines.append("picture = found.attributions[0].norm(dim=1)  # over colours")
            if look == "blurred norm":
                imports.append("from torchvision.transforms.functional import gaussian_blur")
                size = 2 * int(3 * BLUR) + 1
                lines.append(f"picture = gaussian_blur(picture, {size}, {BLUR})")
            lines.append(
                'figure, axes = overlay(x[0], picture, method="heat_map", cmap="gray", '
                "outlier_perc=0)"
            )
        return self._code(imports, [photo], lines)

    def pattern(self, settings: PatternSettings) -> str:
        """What a unit wants to see."""
        return self._code(
            [
                "from captum_cnn_ext.synthesis import Channel, maximize",
                _RENDER + "show_images",
            ],
            [],
            [
                f"found = maximize(model, Channel({settings.layer!r}, {settings.channel}), "
                f"image={settings.size}, recipe={settings.recipe!r}, steps={settings.steps}, "
                f"mean=mean, std=std, seed={settings.seed})",
                "figure, axes = show_images(found.images)",
            ],
        )

    def explanation(
        self,
        photos: Sequence[Photo],
        methods: Sequence[str],
        layer: str | None,
        target: int | None,
    ) -> str:
        """Methods side by side, for one image or several."""
        pictures = ", ".join(f"{photo.name!r}: {_picture(photo)}" for photo in photos)
        where = f", layers={layer!r}" if layer else ""
        return self._code(
            ["from captum_cnn_ext.insights import compare"],
            [],
            [
                f"pictures = {{{pictures}}}",
                f"found = compare(model, pictures, {list(methods)!r}{where}, target={target}, "
                "preprocess=preprocess)",
                "figure = found.figure()",
            ],
            photos,
        )

    def pair(self, first: Photo, second: Photo, layer: str, count: int) -> str:
        """The units that two images excite most differently."""
        return self._code(
            ["from captum_cnn_ext.attr import LayerFeatureMaps", _RENDER + "show_feature_maps"],
            [first, second],
            [
                f"maps = LayerFeatureMaps(model, {layer!r}).attribute(x{self._call(layer)})",
                "apart = (maps[0] - maps[1]).flatten(1).norm(dim=1)",
                f"units = apart.argsort(descending=True, stable=True)[:{count}]",
                "figures = [show_feature_maps(one, channels=units)[0] for one in maps]",
            ],
        )

    def _call(self, layer: str) -> str:
        calls = self.session.layer(layer).calls
        return f", call={calls - 1}" if calls > 1 else ""

    def _code(
        self,
        imports: Sequence[str],
        inputs: Sequence[Photo],
        lines: Sequence[str],
        photos: Sequence[Photo] = (),
    ) -> str:
        named = [*imports, *self.setup.imports, *_readers([*inputs, *photos])]
        given = [f"preprocess({_picture(photo)})" for photo in inputs]
        like = next(self.session.model.parameters(), torch.zeros(()))
        plain = like.device.type == "cpu" and like.dtype == torch.float32
        there = "" if plain else ".to(next(model.parameters()))"
        x = [f"x = torch.stack([{', '.join(given)}]){there}"] if given else []
        named += ["import torch"] if given else []
        order = sorted(dict.fromkeys(named), key=lambda line: (line.startswith("from"), line))
        return "\n".join([*order, "", *self.setup.lines, *x, *lines, ""])


_RENDER = "from captum_cnn_ext.render import "


def _readers(photos: Sequence[Photo]) -> list[str]:
    """The imports that the images' sources need."""
    sources = " ".join(photo.source for photo in photos)
    names = [name for name in ("demo_photos", "load_photos") if name in sources]
    return [f"from captum_cnn_ext.photos import {', '.join(names)}"] if names else []


def _picture(photo: Photo) -> str:
    side = min(photo.picture.size)
    return f"{photo.source}.resize(({side}, {side}))" if photo.whole else photo.source


def _gamma(gamma: float) -> list[str]:
    return [f"maps = maps.sign() * maps.abs() ** {gamma}"] if gamma != 1 else []


def _show_maps(maps: str, sort: str, scale: str) -> str:
    return f"figure, axes = show_feature_maps({maps}, sort={sort!r}, scale={scale!r})"
