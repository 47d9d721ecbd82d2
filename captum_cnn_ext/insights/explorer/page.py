"""The page: what is where, and which handler answers what."""

from __future__ import annotations

from functools import partial
from importlib import resources
from typing import Any

import gradio as gr

from captum_cnn_ext.insights.explorer.drawing import LOOKS
from captum_cnn_ext.insights.explorer.handlers import PATTERN_STEPS, Handlers
from captum_cnn_ext.insights.explorer.patterns import RECIPES
from captum_cnn_ext.insights.explorer.session import RULES, ExplorerSession
from captum_cnn_ext.insights.explorer.views import HEAD, Views

FIRST_METHODS = ("LayerHiResCam", "LayerLayerCam", "Saliency", "FullGrad")
LIGHT: dict[str, Any] = {
    "concurrency_id": "light",
    "concurrency_limit": 8,
    "show_progress": "hidden",
}
SLOW: dict[str, Any] = {"concurrency_id": "slow", "concurrency_limit": 2, "show_progress": "hidden"}
FRAME: dict[str, Any] = {
    "concurrency_id": "frames",
    "concurrency_limit": 2,
    "show_progress": "hidden",
}
GAMMAS = [("as it is", 1.0), ("0.7", 0.7), ("0.5", 0.5), ("0.3", 0.3)]
NO_CLASS = -1
KEYS = (
    "Keys in the grid: arrows move (with Shift by 3), **U** and **O** go to the layer before and "
    "after, **B** to the next backward rule, **D** freezes the unit as origin."
)


def upload(**options: Any) -> gr.Image:
    """An image input that gives the file as it came, unopened: our limits come first."""
    image = gr.Image(type="filepath", image_mode=None, **options)
    opened = image.preprocess

    def unopened(payload: Any) -> Any:
        plain = payload is not None and payload.path and not str(payload.url).startswith("data:")
        return payload.path if plain else opened(payload)

    # a subclass would have Gradio write a file beside this one
    image.preprocess = unopened  # type: ignore[method-assign]
    return image


def asset(name: str) -> str:
    """A file of ours that is part of the page."""
    file = resources.files("captum_cnn_ext.insights").joinpath("templates", name)
    return file.read_text(encoding="utf-8")


def theme() -> gr.themes.Base:
    """The look: fonts of the machine, so that none is asked for elsewhere."""
    return gr.themes.Default(
        primary_hue="orange",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


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
            gr.HTML(self.views.heading(), elem_classes="heading")
            self.photo, self.origin = gr.State(), gr.State()
            self.layer, self.unit, self.page = gr.State(""), gr.State(0), gr.State(0)
            self.other, self.shot = gr.State(), gr.State()
            with gr.Row():
                with gr.Column(scale=1, min_width=300):
                    self._choices()
                with gr.Column(scale=3, min_width=340), gr.Tabs():
                    with gr.Tab("Units", id="units"):
                        self._units()
                    with gr.Tab("Classes", id="classes"):
                        self._classes()
                    with gr.Tab("Compare", id="pair"):
                        self._pair()
                    with gr.Tab("Camera", id="camera"):
                        self._camera()
            self._connect(page)
        return page

    # --- layout -----------------------------------------------------------------------------

    def _choices(self) -> None:
        pictures = [(photo.picture, photo.name) for photo in self.session.photos.values()]
        self.image = upload(
            sources=["upload", "webcam", "clipboard"],
            label="1 · Image",
            height=250,
            buttons=["fullscreen"],
            elem_id="image",
        )
        self.samples = gr.Gallery(
            pictures,
            columns=4,
            allow_preview=False,
            object_fit="cover",
            height=84,
            label="Samples",
            show_label=False,
            buttons=[],
            interactive=False,
            elem_id="samples",
        )
        self.whole = gr.Checkbox(
            label="Squeeze the whole image in, instead of the model's crop", elem_id="whole"
        )
        self.classes = gr.Label(
            label="The network says", num_top_classes=5, show_heading=False, elem_id="says"
        )
        self.table = gr.Dataframe(
            self.views.layer_rows(),
            headers=list(HEAD),
            datatype="str",
            type="array",
            label="2 · Layer (★ ends a stage)",
            max_height=340,
            interactive=False,
            buttons=[],
            show_search="search",
            column_widths=["150px", "112px", "190px", "120px", "90px"],
            elem_id="layers",
        )

    def _units(self) -> None:
        with gr.Row():
            self.back = gr.Button("◀ layer", size="sm", min_width=58, elem_id="back")
            self.ahead = gr.Button("layer ▶", size="sm", min_width=58, elem_id="ahead")
            self.former = gr.Button("◀ page", size="sm", min_width=58, elem_id="former")
            self.later = gr.Button("page ▶", size="sm", min_width=58, elem_id="later")
            self.freeze = gr.Button("Freeze as origin", size="sm", min_width=120, elem_id="freeze")
        with gr.Row():
            self.sort = gr.Dropdown(
                [("strongest", "max"), ("by number", "index")],
                value="max", label="Order", min_width=110, filterable=False,
            )  # fmt: skip
            self.scale = gr.Dropdown(
                [("each map", "map"), ("whole layer", "layer")],
                value="map", label="Scale", min_width=110, filterable=False,
            )  # fmt: skip
            self.gamma = gr.Dropdown(
                GAMMAS, value=1.0, label="Gamma", min_width=110, filterable=False
            )
        self.frozen = gr.HTML(visible=False, elem_id="frozen")
        with gr.Row():
            with gr.Column(scale=3, min_width=330):
                self.grid = gr.HTML(
                    js_on_load=asset("explorer.js"), elem_id="grid", elem_classes="grid"
                )
                gr.Markdown(KEYS, elem_classes="note")
                self.grid_code = self._code("code-grid")
            with gr.Column(scale=2, min_width=330):
                self._unit()

    def _unit(self) -> None:
        self.facts = gr.HTML(
            js_on_load=asset("explorer_unit.js"), elem_id="facts", elem_classes="facts"
        )
        with gr.Tabs():
            with gr.Tab("Map"):
                self.map = self._picture("3 · The unit's map over the image", "map")
                self.unit_code = self._code("code-unit")
            with gr.Tab("Reconstruction"):
                self.rule = gr.Radio(
                    list(RULES), value="guided", label="Backward rule", elem_id="rule"
                )
                with gr.Row():
                    self.seed = gr.Radio(
                        [("strongest spot", "max"), ("whole map", "map")],
                        value="max",
                        label="Begin at",
                    )
                    self.look = gr.Dropdown(list(LOOKS), value="color", label="Look", min_width=120)
                self.pixels = self._picture("What in the image drives it", "reconstruction")
                self.remark = gr.HTML(elem_classes="note")
                self.pixels_code = self._code("code-reconstruction")
            with gr.Tab("Synthesis"):
                with gr.Row():
                    self.recipe = gr.Dropdown(
                        list(RECIPES), value=RECIPES[0], label="Recipe", min_width=120
                    )
                    self.effort = gr.Radio(list(PATTERN_STEPS), value="quick", label="Effort")
                with gr.Row():
                    self.make = gr.Button("Synthesise", variant="primary", elem_id="synthesise")
                    self.unmake = gr.Button("Cancel", elem_id="cancel-pattern")
                self.pattern_status = gr.HTML(elem_id="pattern-status")
                self.pattern = self._picture("Synthesised for this unit", "pattern")
                self.pattern_code = self._code("code-pattern")
            with gr.Tab("Patches", visible=bool(self.session.top_patches)):
                self.patches = gr.Gallery(
                    columns=3, label="What excites it most", elem_id="patches", buttons=[]
                )

    def _classes(self) -> None:
        named = range(self.session.classes)
        choices = [("the most probable class", NO_CLASS)]
        choices += [(self.views.class_label(index), index) for index in named]
        first = [name for name in FIRST_METHODS if name in self.session.methods]
        with gr.Row():
            self.target = gr.Dropdown(
                choices, value=NO_CLASS, label="Class", filterable=True, elem_id="target"
            )
            self.at = gr.Radio(
                [(f"the suggested one, {self.session.suggested[0]}", "suggested"),
                 ("the one chosen on the left", "chosen")],
                value="suggested", label="Layer, for the methods that take one",
            )  # fmt: skip
        self.methods = gr.Dropdown(
            list(self.session.methods),
            value=first,
            multiselect=True,
            label="Methods",
            info="Occlusion, IntegratedGradients and those with Score in their name take longer; "
            "captum-cnn-ext list-methods says what each asks and costs.",
            elem_id="methods",
        )
        with gr.Row():
            self.explain = gr.Button("Explain", variant="primary", elem_id="explain")
            self.unexplain = gr.Button("Cancel", elem_id="cancel-class")
        self.class_status = gr.HTML(elem_id="class-status")
        self.maps = self._gallery("Maps of the class, strongest evidence bright", "maps", 3)
        self.class_code = self._code("code-class")

    def _pair(self) -> None:
        pictures = [(photo.picture, photo.name) for photo in self.session.photos.values()]
        with gr.Row():
            self.other_samples = gr.Gallery(
                pictures,
                columns=4,
                allow_preview=False,
                object_fit="cover",
                height=84,
                label="Second image",
                show_label=False,
                buttons=[],
                interactive=False,
                elem_id="other-samples",
            )
            self.other_image = upload(
                sources=["upload", "clipboard"],
                label="or bring one",
                height=140,
                buttons=[],
                elem_id="other-image",
            )
        self.sides = gr.HTML(
            self.views.message("Pick a second image."),
            js_on_load=asset("explorer.js"),
            elem_id="pair",
            elem_classes="grid",
        )
        self.pair_code = self._code("code-pair")
        with gr.Row():
            self.explain_both = gr.Button("Explain both", variant="primary", elem_id="explain-both")
            self.unexplain_both = gr.Button("Cancel", elem_id="cancel-pair")
        self.pair_status = gr.HTML(elem_id="pair-status")
        self.pair_maps = self._gallery("By the methods of the tab Classes", "pair-maps", 2)
        self.pair_maps_code = self._code("code-pair-maps")

    def _camera(self) -> None:
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                self.camera = upload(
                    sources=["webcam"],
                    streaming=True,
                    label="Camera: its pictures stay on this machine",
                    height=260,
                    elem_id="camera",
                )
                self.rate = gr.HTML("Start the camera to see the layer live.", elem_id="rate")
                self.live_classes = gr.Label(
                    label="The network says", num_top_classes=5, show_heading=False
                )
                self.take = gr.Button("Explore the last frame", elem_id="take")
            with gr.Column(scale=2, min_width=330):
                self.live = gr.HTML(
                    js_on_load=asset("explorer.js"), elem_id="live", elem_classes="grid"
                )

    def _picture(self, label: str, name: str) -> gr.Image:
        return gr.Image(
            label=label, interactive=False, buttons=["download", "fullscreen"], elem_id=name
        )

    def _gallery(self, label: str, name: str, columns: int) -> gr.Gallery:
        return gr.Gallery(
            columns=columns, label=label, height="auto", object_fit="contain", elem_id=name,
            buttons=["download", "fullscreen"],
        )  # fmt: skip

    def _code(self, name: str) -> gr.Code:
        with gr.Accordion("Copy as code", open=False, elem_id=f"{name}-box"):
            return gr.Code(
                language="python",
                label="Makes this picture",
                interactive=False,
                wrap_lines=True,
                show_line_numbers=False,
                buttons=["copy"],
                elem_id=name,
            )

    # --- connections ------------------------------------------------------------------------

    def _connect(self, page: gr.Blocks) -> None:
        does = self.handlers
        light: Any = partial(_on, **LIGHT)
        begun = light(page.load, does.begin, None, [self.photo, self.image, self.layer, self.unit])
        self._show_all(begun)
        chosen = light(self.samples.select, does.sample, [self.whole], [self.photo, self.image])
        sent = light(self.image.input, does.upload, [self.image, self.whole], [self.photo])
        fitted = light(self.whole.input, does.fit, [self.photo, self.whole], [self.photo])
        for step in (chosen, sent, fitted):
            self._show_all(step)
        self._layers(light)
        self._looks(light)
        self._work(light)
        self._others(light)
        page.unload(does.leave)

    def _layers(self, light: Any) -> None:
        does, place = self.handlers, [self.layer, self.unit, self.page]
        asked = [self.photo, self.unit]
        ways = [light(self.table.select, does.row, asked, place, trigger_mode="multiple")]
        for button, step in ((self.back, -1), (self.ahead, 1)):
            move = partial(does.neighbour, step=step)
            ways.append(light(button.click, move, [self.photo, self.layer, self.unit], place))
        for step in ways:
            self._show_layer(step)
        for button, step in ((self.former, -1), (self.later, 1)):
            turn = partial(does.turned, step=step)
            self._show_grid(light(button.click, turn, [self.layer, self.page], [self.page]))
        for grid in (self.grid, self.live, self.sides):
            picked = light(grid.pick, does.picked, None, [self.unit], trigger_mode="multiple")
            self._show_unit(picked)

    def _looks(self, light: Any) -> None:
        for knob in (self.sort, self.scale, self.gamma):
            self._show_grid(light(knob.input, lambda: 0, None, [self.page]))
        for change in (self.rule.change, self.seed.change, self.look.change):
            self._show_reconstruction(change)
        for change in (self.recipe.change, self.effort.change):
            self._show_pattern(change)
        frozen = light(
            self.freeze.click,
            self.handlers.freeze,
            [self.origin, self.layer, self.unit],
            [self.origin, self.freeze, self.frozen],
        )
        self._show_grid(frozen)

    def _work(self, light: Any) -> None:
        does = self.handlers
        slow: Any = partial(_on, **SLOW)
        pattern = [self.layer, self.unit, self.recipe, self.effort]
        slow(self.make.click, does.make_pattern, pattern, [self.pattern, self.pattern_status])
        shown = [self.maps, self.class_status, self.class_code]
        asked = [self.photo, gr.State(), self.methods, self.target, self.layer, self.at]
        slow(self.explain.click, does.explain, [*asked, gr.State("class")], shown)
        asked = [self.photo, self.other, self.methods, self.target, self.layer, self.at]
        shown = [self.pair_maps, self.pair_status, self.pair_maps_code]
        slow(self.explain_both.click, does.explain, [*asked, gr.State("pair")], shown)
        buttons = {"pattern": self.unmake, "class": self.unexplain, "pair": self.unexplain_both}
        for kind, button in buttons.items():
            light(button.click, does.cancel, [gr.State(kind)], None)

    def _others(self, light: Any) -> None:
        does = self.handlers
        picked = light(
            self.other_samples.select, does.sample, [self.whole], [self.other, self.other_image]
        )
        sent = light(
            self.other_image.input, does.upload, [self.other_image, self.whole], [self.other]
        )
        for step in (picked, sent):
            self._show_pair(step)
        looks = [self.layer, self.unit, self.sort, self.scale, self.gamma, self.page]
        self.camera.stream(
            does.frame,
            [self.camera, *looks],
            [self.live, self.rate, self.live_classes, self.shot],
            stream_every=0.1,
            time_limit=600,
            api_visibility="private",
            **FRAME,
        )
        taken = light(
            self.take.click,
            lambda shot: (shot, shot.picture) if shot else (gr.skip(), gr.skip()),
            [self.shot],
            [self.photo, self.image],
        )
        self._show_all(taken)

    # --- what follows what ------------------------------------------------------------------

    def _show_all(self, step: Any) -> None:
        says = _on(step.then, self.views.top_classes, [self.photo], [self.classes], **LIGHT)
        self._show_layer(says)

    def _show_layer(self, step: Any) -> None:
        self._show_unit(self._show_grid(step))
        self._show_pair(step)

    def _show_grid(self, step: Any) -> Any:
        looks = [self.sort, self.scale, self.gamma, self.page, self.origin]
        asked = [self.photo, self.layer, self.unit, *looks]
        shown = [self.grid, self.grid_code]
        return _on(step.then, self.handlers.show_grid, asked, shown, **LIGHT)

    def _show_unit(self, step: Any) -> None:
        shown = [self.facts, self.map, self.patches, self.unit_code]
        asked = [self.photo, self.layer, self.unit]
        found = _on(step.then, self.handlers.show_unit, asked, shown, **LIGHT)
        self._show_reconstruction(found.then)
        self._show_pattern(found.then)

    def _show_reconstruction(self, event: Any) -> None:
        asked = [self.photo, self.layer, self.unit, self.rule, self.seed, self.look]
        shown = [self.pixels, self.remark, self.pixels_code]
        _on(event, self.handlers.show_reconstruction, asked, shown, **LIGHT)

    def _show_pattern(self, event: Any) -> None:
        asked = [self.layer, self.unit, self.recipe, self.effort]
        shown = [self.pattern, self.pattern_status, self.pattern_code]
        _on(event, self.handlers.show_pattern, asked, shown, **LIGHT)

    def _show_pair(self, step: Any) -> None:
        asked = [self.photo, self.other, self.layer]
        _on(step.then, self.handlers.show_pair, asked, [self.sides, self.pair_code], **LIGHT)


def _on(event: Any, function: Any, inputs: Any, outputs: Any, **options: Any) -> Any:
    return event(function, inputs, outputs, api_visibility="private", **options)
