"""What happens on the page when somebody does something: from what was chosen to what is shown."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from captum_cnn_ext._engine.judging.arguments import ArgumentError
from captum_cnn_ext.insights.explorer.computing.questions_and_answers import Photo, Unit
from captum_cnn_ext.insights.explorer.computing.session import ExplorerSession
from captum_cnn_ext.insights.explorer.computing.synthesized_units import PatternSettings
from captum_cnn_ext.insights.explorer.drawing import enlarged
from captum_cnn_ext.insights.explorer.jobs import Job, Jobs
from captum_cnn_ext.insights.explorer.limits import read_upload
from captum_cnn_ext.insights.explorer.views import PAIRS, STAGE, GridChoice, Views

F = TypeVar("F", bound=Callable[..., Any])
POLL = 0.15  # seconds between two looks at a job
FRAMES = 12  # over which frames per second are counted
PATTERN_STEPS = {"quick": 64, "thorough": 256}


def told(function: F) -> F:
    """What a visitor did wrong becomes one line on the page."""

    @wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except (ArgumentError, FloatingPointError) as error:
            text = " ".join(str(error).split())
            raise gr.Error(escape(text), title="Not possible", print_exception=False) from error

    return run  # type: ignore[return-value]


class Handlers:
    """The page's answers. What a visitor chose is in the arguments; nothing of it is kept here
    but running jobs and the times of camera frames, by visitor."""

    def __init__(self, session: ExplorerSession, views: Views) -> None:
        self.session, self.views, self.snippets = session, views, views.snippets
        self.jobs = Jobs()
        self._frames: dict[str, deque[float]] = {}

    # --- choosing ---------------------------------------------------------------------------

    @told
    def begin(self, request: gr.Request) -> tuple[Any, ...]:
        """What an address asks for, or the first image and a layer in the middle."""
        asked = dict(request.query_params)
        photos, layers = self.session.photos, self.session.layers
        photo = photos.get(asked.get("image", "")) or next(iter(photos.values()))
        stages = self.session.suggested
        layer = asked.get("layer", "")
        layer = layer if layer in layers else stages[-2:][0]
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
        return self._fitted(photo, whole), photo.picture

    @told
    def upload(self, path: str | None, whole: bool) -> Photo:
        """An image that somebody sent."""
        if path is None:
            return self._fitted(next(iter(self.session.photos.values())), whole)
        picture, name = read_upload(path), Path(path).name
        photo = Photo(name, picture, f"load_photos({name!r})[{name!r}]", whole)
        self.session.top_classes(photo)  # that the network takes it
        return photo

    @told
    def fit(self, photo: Photo, whole: bool) -> Photo:
        """The same image, cropped as the model does or squeezed."""
        return self._fitted(photo, whole)

    @staticmethod
    def _fitted(photo: Photo, whole: bool) -> Photo:
        return dataclasses.replace(photo, whole=whole) if photo.whole != whole else photo

    def row(self, photo: Photo, unit: int, event: gr.SelectData) -> tuple[str, int, int]:
        """A layer of the table."""
        name = str(event.row_value[0]).removeprefix(STAGE)
        return self._layer(photo, name, unit)

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
            unfrozen = gr.update(value="Freeze as origin", variant="secondary")
            return None, unfrozen, gr.update(value="", visible=False)
        frozen = Unit(layer, unit)
        text = (
            f"Unit {unit} of {layer} is frozen: at any layer before it the grid now shows the "
            "gradient of this unit."
        )
        shown = gr.update(value=self.views.message(text), visible=True)
        return frozen, gr.update(value="Let origin go", variant="primary"), shown

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
        """Facts, map, patches and code of a unit."""
        one = Unit(layer, unit)
        patches = self.views.patches(one)
        return (
            self.views.unit_facts(photo, one),
            self.views.unit_map(photo, one),
            gr.update(value=patches, visible=bool(patches)),
            self.snippets.unit(photo, one),
        )

    @told
    def show_reconstruction(
        self, photo: Photo, layer: str, unit: int, rule: str, seed: str, look: str
    ) -> tuple[Any, str, str]:
        """A unit back in pixels."""
        one = Unit(layer, unit)
        picture, remark = self.views.reconstruction(photo, one, rule, seed, look)
        return picture, remark, self.snippets.reconstruction(photo, one, rule, seed, look)

    # --- what a unit wants to see -----------------------------------------------------------

    @staticmethod
    def _pattern(layer: str, unit: int, recipe: str, effort: str) -> PatternSettings:
        return PatternSettings(layer, unit, recipe, PATTERN_STEPS[effort])

    @told
    def show_pattern(self, layer: str, unit: int, recipe: str, effort: str) -> tuple[Any, str, str]:
        """The synthesised image, where it was made before."""
        settings = self._pattern(layer, unit, recipe, effort)
        found = self.session.patterns.find(settings)
        words = f"Reached {found[1]:.3g}; from the cache." if found else ""
        picture = enlarged(found[0]) if found else None
        return picture, self.views.message(words), self.snippets.pattern(settings)

    def make_pattern(
        self, layer: str, unit: int, recipe: str, effort: str, request: gr.Request
    ) -> Iterator[tuple[Any, str]]:
        """Optimise the unit's image, saying how far it is."""
        settings = self._pattern(layer, unit, recipe, effort)

        def work(job: Job[Any]) -> Any:
            def tell(done: int, total: int) -> None:
                job.tell(done / total, f"step {done} of {total}")

            return self.session.patterns.find(settings) or self.session.patterns.make(
                settings, tell
            )

        job = self.jobs.start(f"pattern {request.session_hash}", work, "beginning")
        for words in self._watched(job):
            yield gr.skip(), words
        if not job.stopped:
            picture, value = _result(job)
            text = f"Unit {unit} reached {value:.3g} in {job.seconds:.0f} s."
            yield enlarged(picture), self.views.message(text)

    # --- classes ----------------------------------------------------------------------------

    def explain(
        self,
        photo: Photo,
        other: Photo | None,
        methods: list[str],
        target: int,
        layer: str,
        at: str,
        kind: str,
        request: gr.Request,
    ) -> Iterator[tuple[Any, str, Any]]:
        """Methods side by side, each shown as soon as it is done."""
        if not methods:
            raise gr.Error("Choose at least one method.", print_exception=False)
        photos = [photo, other] if other is not None else [photo]
        if len({one.name for one in photos}) < len(photos):
            raise gr.Error("Choose another second image.", print_exception=False)
        where = layer if at == "chosen" else None
        explained = None if target < 0 else int(target)
        done, failed = list[Any](), list[str]()

        def work(job: Job[None]) -> None:
            job.tell(0, methods[0])
            found = self.session.explain(photos, methods, layer=where, target=explained)
            for count, (name, one) in enumerate(found, 1):
                if isinstance(one, ArgumentError):
                    failed.append(" ".join(str(one).split()))
                done.extend(self.views.explanations(name, one))
                job.tell(count / len(methods), methods[min(count, len(methods) - 1)])

        code = self.snippets.explanation(photos, methods, where, explained)
        job = self.jobs.start(f"{kind} {request.session_hash}", work, methods[0])
        shown = 0
        yield [], self.views.message("Working …"), code
        for words in self._watched(job):
            fresh = len(done) > shown
            shown = len(done)
            yield (list(done) if fresh else gr.skip()), words, gr.skip()
        if not job.stopped:
            _result(job)
            text = " ".join([f"Done in {job.seconds:.1f} s.", *failed])
            yield list(done), self.views.message(text), gr.skip()

    def _watched(self, job: Job[Any]) -> Iterator[str]:
        """How far a job is, again and again until it ends; leaving early ends the job."""
        try:
            while not job.wait(POLL):
                yield self.views.progress(job.share, job.words, job.seconds)
        finally:
            job.stop()
        if job.stopped:
            yield self.views.message(f"Cancelled after {job.seconds:.1f} s.")

    def cancel(self, kind: str, request: gr.Request) -> None:
        """End a visitor's job."""
        self.jobs.stop(f"{kind} {request.session_hash}")

    def leave(self, request: gr.Request) -> None:
        """A visitor is gone; so is their work."""
        for kind in ("pattern", "class", "pair"):
            self.cancel(kind, request)
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


def _result(job: Job[Any]) -> Any:
    return told(job.result)()
