"""What happens on the page when somebody does something: from what was chosen to what is shown."""

import dataclasses
import time
from collections import deque
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.explorer.computing.questions_and_answers import Photo, Unit
from captum_cnn_ext.insights.explorer.computing.session import ExplorerSession
from captum_cnn_ext.insights.explorer.limits import read_upload, same_picture
from captum_cnn_ext.insights.explorer.slow_work import SlowWork, told
from captum_cnn_ext.insights.explorer.views import PAIRS, GridChoice, Views

FRAMES = 12  # over which frames per second are counted


class Handlers:
    """The page's answers. What a visitor chose is in the arguments; nothing of it is kept here
    but running jobs and the times of camera frames, by visitor."""

    def __init__(self, session: ExplorerSession, views: Views) -> None:
        self.session, self.views, self.snippets = session, views, views.snippets
        self.work = SlowWork(session, views)
        self._frames: dict[str, deque[float]] = {}

    # --- choosing ---------------------------------------------------------------------------

    @told
    def begin(self, request: gr.Request) -> tuple[Any, ...]:
        """What an address asks for, or the first image and the stage before the last."""
        asked = dict(request.query_params)
        photos, layers = self.session.photos, self.session.layers
        photo = photos.get(asked.get("image", "")) or next(iter(photos.values()))
        stages = self.session.suggested
        layer = asked.get("layer", "")
        layer = layer if layer in layers else stages[:2][-1]
        number = asked.get("unit", "")
        unit = int(number) if number.isdecimal() else -1
        return photo, photo.picture, layer, self._unit_in(photo, layer, unit)

    def _unit_in(self, photo: Photo, layer: str, unit: int) -> int:
        """The unit, if the layer has it, else the strongest."""
        inside = 0 <= unit < self.session.layer(layer).shape[0]
        return unit if inside else self.views.strongest(photo, layer)

    @told
    def sample(self, whole: bool, event: gr.SelectData) -> tuple[Photo, Any]:
        """One of the given images."""
        photo = list(self.session.photos.values())[int(event.index)]
        return self.fit(photo, whole), photo.picture

    @told
    def upload(self, path: str | None, whole: bool, before: Photo | None) -> tuple[Any, Any]:
        """An image that somebody sent; with none, or a broken one, what was there stays."""
        # the box gets values and never updates, for which Gradio would build it anew
        if path is None:
            return before, None
        try:
            picture, name = read_upload(path), Path(path).name
            if before is not None and same_picture(picture, before.picture):
                return before, None  # our own preview, sent back where it was removed
            photo = Photo(name, picture, f"load_photos({name!r})[{name!r}]", whole)
            self.session.says(photo)  # that the network takes it
        except ArgumentError as error:
            gr.Warning(escape(" ".join(str(error).split())), title="Not possible")
            return before, None if before is None else before.picture
        return photo, photo.picture

    @staticmethod
    def fit(photo: Photo, whole: bool) -> Photo:
        """The same image, cropped as the model does or squeezed."""
        return dataclasses.replace(photo, whole=whole) if photo.whole != whole else photo

    def row(self, photo: Photo, unit: int, event: gr.EventData) -> tuple[str, int, int]:
        """A layer of the list."""
        return self._layer(photo, str(event.layer), unit)

    def pointed(self, photo: Photo, event: gr.SelectData) -> tuple[Any, Any]:
        """What the network named: it is chosen, and the tab that explains it opens."""
        labels = {self.views.said(one): one.target for one in self.session.says(photo)}
        return gr.update(value=labels[str(event.value)]), gr.Tabs(selected="classes")

    def second(self, photo: Photo, other: Photo | None) -> tuple[Any, Any]:
        """A second image to compare with, until one is chosen."""
        rest = [one for one in self.session.photos.values() if one.name != photo.name]
        chosen = other or (rest[0] if rest else None)
        return chosen, None if chosen is None else chosen.picture

    @told
    def _layer(self, photo: Photo, name: str, unit: int) -> tuple[str, int, int]:
        self.session.layer(name)
        return name, self._unit_in(photo, name, unit), 0

    def neighbour(self, photo: Photo, layer: str, unit: int, step: int) -> tuple[str, int, int]:
        """The layer before or after, the unit kept where it can be."""
        names = list(self.session.layers)
        place = min(max(names.index(layer) + step, 0), len(names) - 1)
        return self._layer(photo, names[place], unit)

    def turned(self, layer: str, page: int, step: int) -> int:
        """Another page of the grid."""
        return min(max(page + step, 0), self.views.pages(layer) - 1)

    @staticmethod
    def picked(event: gr.EventData) -> int:
        """A unit of the grid."""
        return int(event.unit)

    def freeze(self, origin: Unit | None, layer: str, unit: int) -> tuple[Unit | None, Any, Any]:
        """Freeze the unit as the origin of gradients, or let it go."""
        if origin is not None:
            unfrozen = gr.update(value="Freeze unit", variant="secondary")
            return None, unfrozen, gr.update(value="", visible=False)
        frozen = Unit(layer, unit)
        text = (
            f"Unit {unit} of {layer} is frozen: at any earlier layer the grid now shows the "
            "gradient of this unit (press U to go to the layer before)."
        )
        shown = gr.update(value=self.views.message(text), visible=True)
        return frozen, gr.update(value="Unfreeze", variant="primary"), shown

    # --- showing ----------------------------------------------------------------------------

    @told
    def show_grid(
        self,
        photo: Photo,
        layer: str,
        unit: int,
        sort: str,
        scale: str,
        gamma: float,
        page: int,
        origin: Unit | None,
    ) -> tuple[str, str]:
        """The grid and its code."""
        choice = GridChoice(sort, scale, float(gamma), page)
        html = self.views.grid(photo, layer, choice, unit, origin)
        if origin is not None and origin.layer != layer:
            code = self.snippets.gradients(photo, layer, origin, sort, scale, choice.gamma)
        else:
            code = self.snippets.grid(photo, layer, sort, scale, choice.gamma)
        return html, code

    @told
    def show_unit(self, photo: Photo, layer: str, unit: int) -> tuple[Any, ...]:
        """Facts, map and code of a unit."""
        one = Unit(layer, unit)
        return (
            self.views.unit_facts(photo, one),
            self.views.unit_map(photo, one),
            self.snippets.unit(photo, one),
        )

    @told
    def show_patches(self, layer: str, unit: int, rule: str) -> tuple[Any, str]:
        """What excites a unit most, and the code of that."""
        one = Unit(layer, unit)
        return self.views.patches(one, rule), self.snippets.patches(one)

    @told
    def show_reconstruction(
        self, photo: Photo, layer: str, unit: int, rule: str, seed: str, look: str
    ) -> tuple[Any, str, str]:
        """A unit back in pixels."""
        one = Unit(layer, unit)
        picture, remark = self.views.reconstruction(photo, one, rule, seed, look)
        return picture, remark, self.snippets.reconstruction(photo, one, rule, seed, look)

    def leave(self, request: gr.Request) -> None:
        """A visitor is gone; so is their work."""
        for kind in ("pattern", "class", "pair"):
            self.work.cancel(kind, request)
        self._frames.pop(str(request.session_hash), None)

    # --- two images -------------------------------------------------------------------------

    @told
    def show_pair(self, photo: Photo, other: Photo | None, layer: str) -> tuple[str, str]:
        """Two images side by side, and the units that tell them apart."""
        if other is None:
            return self.views.message("Pick a second image."), ""
        count = min(PAIRS, self.session.layer(layer).shape[0])
        html = self.views.pair(photo, other, layer)
        return html, self.snippets.pair(photo, other, layer, count)

    # --- camera -----------------------------------------------------------------------------

    @told
    def frame(
        self,
        path: str | None,
        layer: str,
        unit: int,
        sort: str,
        scale: str,
        gamma: float,
        page: int,
        request: gr.Request,
    ) -> tuple[Any, Any, Any, Any]:
        """One frame of the camera: its maps, its classes, and how fast frames come."""
        if path is None:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        photo = Photo("camera", read_upload(path), "load_photos('camera.png')['camera.png']")
        html = self.views.grid(photo, layer, GridChoice(sort, scale, float(gamma), page), unit)
        times = self._frames.setdefault(str(request.session_hash), deque(maxlen=FRAMES))
        times.append(time.monotonic())
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
        return html, f"{rate:.1f} frames per second", self.views.top_classes(photo), photo
