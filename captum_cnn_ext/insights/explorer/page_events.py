"""The page: which handler answers what, and what is shown after it."""

from functools import partial
from typing import Any

import gradio as gr

from captum_cnn_ext.insights.explorer.computing.session import ExplorerSession
from captum_cnn_ext.insights.explorer.handlers import Handlers
from captum_cnn_ext.insights.explorer.page_layout import Layout
from captum_cnn_ext.insights.explorer.views import Views


class Page:
    """Lays the page out and connects it."""

    def __init__(self, session: ExplorerSession, views: Views) -> None:
        self.session, self.views = session, views
        self.handlers = Handlers(session, views)

    def build(self) -> gr.Blocks:
        """The whole page."""
        title = f"What does {self.session.subject.name} see?"
        page: gr.Blocks
        with gr.Blocks(analytics_enabled=False, title=title, delete_cache=(600, 3600)) as page:
            self.ui = Layout(self.session, self.views)
            self._connect(page)
        return page

    def _connect(self, page: gr.Blocks) -> None:
        ui, does = self.ui, self.handlers
        begun = _light(page.load, does.begin, None, [ui.photo, ui.image, ui.layer, ui.unit])
        self._show_all(begun)
        chosen = _light(ui.samples.select, does.sample, [ui.whole], [ui.photo, ui.image])
        asked = [ui.image, ui.whole, ui.photo]
        sent = _light(ui.image.input, does.upload, asked, [ui.photo, ui.image])
        fitted = _light(ui.whole.input, does.fit, [ui.photo, ui.whole], [ui.photo])
        for step in (chosen, sent, fitted):
            self._show_all(step)
        self._layers()
        self._looks()
        self._work()
        self._others()
        page.unload(does.leave)

    def _layers(self) -> None:
        ui = self.ui
        does, place = self.handlers, [ui.layer, ui.unit, ui.page]
        asked = [ui.photo, ui.unit]
        ways = [_light(ui.table.pick, does.row, asked, place, trigger_mode="multiple")]
        for button, step in ((ui.back, -1), (ui.ahead, 1)):
            move = partial(does.neighbour, step=step)
            ways.append(_light(button.click, move, [ui.photo, ui.layer, ui.unit], place))
        for step in ways:
            self._show_layer(step)
        for button, step in ((ui.former, -1), (ui.later, 1)):
            turn = partial(does.turned, step=step)
            self._show_grid(_light(button.click, turn, [ui.layer, ui.page], [ui.page]))
        for grid in (ui.grid, ui.live, ui.sides):
            picked = _light(grid.pick, does.picked, None, [ui.unit], trigger_mode="multiple")
            self._show_unit(picked)

    def _looks(self) -> None:
        ui = self.ui
        for knob in (ui.sort, ui.scale, ui.gamma):
            self._show_grid(_light(knob.input, lambda: 0, None, [ui.page]))
        for change in (ui.rule.change, ui.seed.change, ui.look.change):
            self._show_reconstruction(change)
        self._show_patches(ui.rule.change)
        for change in (ui.recipe.change, ui.effort.change):
            self._show_pattern(change)
        asked, shown = [ui.origin, ui.layer, ui.unit], [ui.origin, ui.freeze, ui.frozen]
        frozen = _light(ui.freeze.click, self.handlers.freeze, asked, shown)
        self._show_grid(frozen)

    def _work(self) -> None:
        ui, does = self.ui, self.handlers
        pattern = [ui.layer, ui.unit, ui.recipe, ui.effort]
        _slow(ui.make.click, does.work.make_pattern, pattern, [ui.pattern, ui.pattern_status])
        shown = [ui.maps, ui.class_status, ui.class_code]
        asked = [ui.photo, gr.State(), ui.methods, ui.target, ui.layer, ui.at]
        asked.append(gr.State("class"))
        _light(ui.class_tab.select, lambda: True, None, [ui.begun])  # it opens with maps in it
        for begin in (ui.explain.click, ui.begun.change):
            _slow(begin, does.work.explain, asked, shown)
        pointed = _light(ui.classes.select, does.pointed, [ui.photo], [ui.target, ui.tabs])
        _slow(pointed.then, does.work.explain, asked, shown)
        asked = [ui.photo, ui.other, ui.methods, ui.target, ui.layer, ui.at]
        shown = [ui.pair_maps, ui.pair_status, ui.pair_maps_code]
        _slow(ui.explain_both.click, does.work.explain, [*asked, gr.State("pair")], shown)
        buttons = {"pattern": ui.unmake, "class": ui.unexplain, "pair": ui.unexplain_both}
        for kind, button in buttons.items():
            _light(button.click, does.work.cancel, [gr.State(kind)], None)

    def _others(self) -> None:
        ui, does = self.ui, self.handlers
        asked, second = [ui.other_image, ui.whole, ui.other], [ui.other, ui.other_image]
        picked = _light(ui.other_samples.select, does.sample, [ui.whole], second)
        sent = _light(ui.other_image.input, does.upload, asked, second)
        first = _light(ui.pair_tab.select, does.second, [ui.photo, ui.other], second)
        for step in (picked, sent, first):
            self._show_pair(step)
        looks = [ui.layer, ui.unit, ui.sort, ui.scale, ui.gamma, ui.page]
        asked, shown = [ui.camera, *looks], [ui.live, ui.rate, ui.live_classes, ui.shot]
        _frames(ui.camera.stream, does.frame, asked, shown, stream_every=0.1, time_limit=600)
        taken = _light(
            ui.take.click,
            lambda shot: (shot, shot.picture) if shot else (gr.skip(), gr.skip()),
            [ui.shot],
            [ui.photo, ui.image],
        )
        self._show_all(taken)

    # --- what follows what ------------------------------------------------------------------

    def _show_all(self, step: Any) -> None:
        ui = self.ui
        says = _light(step.then, self.views.top_classes, [ui.photo], [ui.classes])
        self._show_layer(says)

    def _show_layer(self, step: Any) -> None:
        ui = self.ui
        _light(step.then, self.views.layer_list, [ui.layer], [ui.table])
        self._show_unit(self._show_grid(step))
        self._show_pair(step)

    def _show_grid(self, step: Any) -> Any:
        ui = self.ui
        looks = [ui.sort, ui.scale, ui.gamma, ui.page, ui.origin]
        asked = [ui.photo, ui.layer, ui.unit, *looks]
        shown = [ui.grid, ui.grid_code]
        return _light(step.then, self.handlers.show_grid, asked, shown)

    def _show_unit(self, step: Any) -> None:
        ui = self.ui
        shown = [ui.facts, ui.map, ui.unit_code]
        asked = [ui.photo, ui.layer, ui.unit]
        found = _light(step.then, self.handlers.show_unit, asked, shown)
        self._show_reconstruction(found.then)
        self._show_pattern(found.then)
        self._show_patches(found.then)

    def _show_reconstruction(self, event: Any) -> None:
        ui = self.ui
        asked = [ui.photo, ui.layer, ui.unit, ui.rule, ui.seed, ui.look]
        shown = [ui.pixels, ui.remark, ui.pixels_code]
        _light(event, self.handlers.show_reconstruction, asked, shown)

    def _show_patches(self, event: Any) -> None:
        ui = self.ui
        asked, shown = [ui.layer, ui.unit, ui.rule], [ui.patches, ui.patches_code]
        _light(event, self.handlers.show_patches, asked, shown)

    def _show_pattern(self, event: Any) -> None:
        ui = self.ui
        asked = [ui.layer, ui.unit, ui.recipe, ui.effort]
        shown = [ui.pattern, ui.pattern_status, ui.pattern_code]
        _light(event, self.handlers.work.show_pattern, asked, shown)

    def _show_pair(self, step: Any) -> None:
        ui = self.ui
        asked = [ui.photo, ui.other, ui.layer]
        _light(step.then, self.handlers.show_pair, asked, [ui.sides, ui.pair_code])


def _on(
    queue: str, at_once: int, event: Any, function: Any, inputs: Any, outputs: Any, **more: Any
) -> Any:
    """Have a handler answer an event, at most so many at once of those in its queue."""
    limits = {"concurrency_id": queue, "concurrency_limit": at_once, "show_progress": "hidden"}
    return event(function, inputs, outputs, api_visibility="private", **limits, **more)


_light: Any = partial(_on, "light", 8)
_slow: Any = partial(_on, "slow", 2)
_frames: Any = partial(_on, "frames", 2)
