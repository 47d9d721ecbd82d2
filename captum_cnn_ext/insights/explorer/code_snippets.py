"""Each view as Python that makes the same picture: the calls that the session ran, and a figure."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from captum_cnn_ext.insights.explorer.computing import library_calls as calls
from captum_cnn_ext.insights.explorer.computing.library_calls import (
    MEAN,
    PICTURES,
    PREPROCESS,
    STD,
    X,
)
from captum_cnn_ext.insights.explorer.computing.questions_and_answers import Photo, Unit
from captum_cnn_ext.insights.explorer.computing.session import ExplorerSession
from captum_cnn_ext.insights.explorer.computing.synthesized_units import PatternSettings
from captum_cnn_ext.methods.expression import Expression, Script, imported


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
FIGURE = "figure, axes"


class Snippets:
    """Writes the code of views.

    Args:
        session: whose calls are written.
        setup: how to get the model.
    """

    def __init__(self, session: ExplorerSession, setup: Setup = IN_MEMORY) -> None:
        self.session, self.setup = session, setup

    def grid(self, photo: Photo, layer: str, sort: str, scale: str, gamma: float) -> str:
        """The feature maps of a layer."""
        return self._grid(calls.feature_maps(self.session.layer(layer)), photo, sort, scale, gamma)

    def gradients(
        self, photo: Photo, layer: str, origin: Unit, sort: str, scale: str, gamma: float
    ) -> str:
        """The gradient of a frozen unit at a layer."""
        ends = self.session.layer(layer), self.session.layer(origin.layer)
        return self._grid(calls.gradients(*ends, origin.channel), photo, sort, scale, gamma)

    def _grid(self, call: Expression, photo: Photo, sort: str, scale: str, gamma: float) -> str:
        script = Script()
        maps = script.let("maps", call)
        if gamma != 1:
            maps = script.let("maps", calls.contrast(maps, gamma))
        script.let(FIGURE, _render("show_feature_maps")(maps, sort=sort, scale=scale))
        return self._code(script, [photo])

    def unit(self, photo: Photo, unit: Unit) -> str:
        """A unit's map over its image."""
        script = Script()
        maps = script.let("maps", calls.feature_maps(self.session.layer(unit.layer)))
        own = script.let("unit", maps[0, unit.channel])
        sign = self.session.sign(photo, unit)
        script.let(FIGURE, _render("overlay")(X[0], own, sign=sign, mean=MEAN, std=STD))
        return self._code(script, [photo])

    def reconstruction(self, photo: Photo, unit: Unit, rule: str, seed: str, look: str) -> str:
        """A unit back in pixels."""
        script = Script()
        found = script.let("found", self.session.reconstruction_call(unit, rule, seed))
        if look in ("color", "grey"):
            show = _render("show_reconstructions")
            script.let(FIGURE, show(X, found, crop="none", mean=MEAN, std=STD))
        else:
            picture = script.let("picture", calls.length(found.attributions[0]))
            if look == "blurred norm":
                side = min(self.session.inputs(photo).shape[2:])
                picture = script.let("picture", calls.blurred(picture, side))
            look_of = {"method": "heat_map", "cmap": "gray", "outlier_perc": 0}
            script.let(FIGURE, _render("overlay")(X[0], picture, **look_of))
        return self._code(script, [photo])

    def patches(self, unit: Unit) -> str:
        """What excites a unit most."""
        finder = self.session.unit_patches
        script, layer = Script(), self.session.layer(unit.layer)
        top = script.let("top", finder.call(layer))
        cut = top.patches(PICTURES, unit.channel, PREPROCESS)
        script.let(FIGURE, _render("show_patches")(cut, mean=MEAN, std=STD))
        photos = list(self.session.photos.values())
        named = ", ".join(photo.source for photo in photos)
        if finder.prepared(unit.layer):
            return self._code(script, inputs="pictures = ...  # the data set that was ranked")
        return self._code(script, photos, f"pictures = [{named}]")

    def pattern(self, settings: PatternSettings) -> str:
        """What a unit wants to see."""
        script = Script()
        found = script.let("found", settings.call())
        script.let(FIGURE, _render("show_images")(found.images))
        return self._code(script)

    def explanation(
        self,
        photos: Sequence[Photo],
        methods: Sequence[str],
        layer: str | None,
        target: int | str | None,
    ) -> str:
        """Methods side by side, for one image or several."""
        script = Script()
        found = script.let("found", calls.explanation(methods, layer, target))
        script.let("figure", found.figure())
        named = ", ".join(f"{photo.name!r}: {_picture(photo)}" for photo in photos)
        return self._code(script, photos, f"pictures = {{{named}}}")

    def pair(self, first: Photo, second: Photo, layer: str, count: int) -> str:
        """The units that two images excite most differently."""
        script = Script()
        maps = script.let("maps", calls.feature_maps(self.session.layer(layer)))
        apart = script.let("apart", calls.apart(maps[0], maps[1]))
        units = script.let("units", apart.argsort(descending=True, stable=True)[:count])
        show = _render("show_feature_maps")
        script.let("figures", [show(maps[i], channels=units)[0] for i in (0, 1)])
        return self._code(script, [first, second])

    def _code(self, script: Script, photos: Sequence[Photo] = (), inputs: str = "") -> str:
        """A script with what it begins with; ``inputs`` is in place of the tensor ``x``."""
        named = [*script.imports, *self.setup.imports, *_readers(photos)]
        if photos and not inputs:
            given = [f"preprocess({_picture(photo)})" for photo in photos]
            like = next(self.session.model.parameters(), torch.zeros(()))
            plain = like.device.type == "cpu" and like.dtype == torch.float32
            there = "" if plain else ".to(next(model.parameters()))"
            inputs = f"x = torch.stack([{', '.join(given)}]){there}"
            named.append("import torch")
        order = sorted(dict.fromkeys(named), key=lambda line: (line.startswith("from"), line))
        before = [inputs] if inputs else []
        return "\n".join([*order, "", *self.setup.lines, *before, *script.lines, ""])


def _render(name: str) -> Expression:
    return imported(f"captum_cnn_ext.render.{name}")


def _readers(photos: Sequence[Photo]) -> list[str]:
    """The imports that the images' sources need."""
    sources = " ".join(photo.source for photo in photos)
    names = [name for name in ("demo_photos", "load_photos") if name in sources]
    return [f"from captum_cnn_ext.photos import {', '.join(names)}"] if names else []


def _picture(photo: Photo) -> str:
    side = min(photo.picture.size)
    return f"{photo.source}.resize(({side}, {side}))" if photo.whole else photo.source
