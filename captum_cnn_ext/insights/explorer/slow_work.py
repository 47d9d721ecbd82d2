"""What takes a while on the page, runs beside it, says how far it is, and can be cancelled."""

from collections.abc import Callable, Iterator
from functools import wraps
from html import escape
from typing import Any, TypeVar

import gradio as gr

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.explorer.computing.questions_and_answers import Photo
from captum_cnn_ext.insights.explorer.computing.session import ExplorerSession
from captum_cnn_ext.insights.explorer.computing.synthesized_units import PatternSettings
from captum_cnn_ext.insights.explorer.drawing import enlarged
from captum_cnn_ext.insights.explorer.jobs import Job, Jobs
from captum_cnn_ext.insights.explorer.views import Views
from captum_cnn_ext.insights.explorer.what_to_explain import chosen_target

F = TypeVar("F", bound=Callable[..., Any])
POLL = 0.15  # seconds between two looks at a job
MEAN = "The unit's mean on this image reached {:.3g} (its mean on yours is above)"
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


class SlowWork:
    """Synthesis and maps of classes, one job of a kind for each visitor."""

    def __init__(self, session: ExplorerSession, views: Views) -> None:
        self.session, self.views, self.snippets = session, views, views.snippets
        self.jobs = Jobs()

    @staticmethod
    def _pattern(layer: str, unit: int, recipe: str, effort: str) -> PatternSettings:
        return PatternSettings(layer, unit, recipe, PATTERN_STEPS[effort])

    @told
    def show_pattern(self, layer: str, unit: int, recipe: str, effort: str) -> tuple[Any, str, str]:
        """The synthesised image, where it was made before."""
        settings = self._pattern(layer, unit, recipe, effort)
        found = self.session.patterns.find(settings)
        words = f"{MEAN.format(found[1])}, made before." if found else ""
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
            text = f"{MEAN.format(value)}, in {job.seconds:.0f} s."
            yield enlarged(picture), self.views.message(text)

    # --- classes ----------------------------------------------------------------------------

    def explain(
        self,
        photo: Photo,
        other: Photo | None,
        methods: list[str],
        target: int | str,
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
        explained = chosen_target(target)
        done, failed = self.views.explained(photos), list[str]()

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
        yield list(done), self.views.message("Working …"), code
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


def _result(job: Job[Any]) -> Any:
    return told(job.result)()
