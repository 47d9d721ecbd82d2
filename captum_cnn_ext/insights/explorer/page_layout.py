"""What is where on the page."""

from importlib import resources
from typing import Any

import gradio as gr

from captum_cnn_ext._engine.backward.rules import RULES
from captum_cnn_ext.insights.explorer.computing.session import ExplorerSession
from captum_cnn_ext.insights.explorer.computing.synthesized_units import RECIPES
from captum_cnn_ext.insights.explorer.computing.what_it_says import CLASSES
from captum_cnn_ext.insights.explorer.drawing import LOOKS
from captum_cnn_ext.insights.explorer.slow_work import PATTERN_STEPS
from captum_cnn_ext.insights.explorer.views import Views
from captum_cnn_ext.insights.explorer.what_to_explain import target_choices

FIRST_METHODS = ("LayerHiResCam", "LayerLayerCam", "Saliency", "FullGrad")
GAMMAS = [("1 (unchanged)", 1.0), ("0.7", 0.7), ("0.5", 0.5), ("0.3", 0.3)]
WAITING = (
    "Start the camera: its classes appear here, and beside it the maps of the chosen layer, for "
    "every frame."
)
KEYS = (
    "Keys in the grid: arrows move (with Shift by 3), **U** and **O** go to the previous and next "
    "layer, **B** switches the backward rule, **D** freezes the unit."
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


class Layout:
    """Lays the page out, inside an open `gr.Blocks`; every part is an attribute."""

    def __init__(self, session: ExplorerSession, views: Views) -> None:
        self.session, self.views = session, views
        gr.HTML(views.heading(), elem_classes="heading")
        self.photo, self.origin = gr.State(), gr.State()
        self.layer, self.unit, self.page = gr.State(""), gr.State(0), gr.State(0)
        self.other, self.shot, self.begun = gr.State(), gr.State(), gr.State(False)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                self._choices()
            with gr.Column(scale=3, min_width=340), gr.Tabs() as self.tabs:
                with gr.Tab("Units", id="units"):
                    self._units()
                with gr.Tab("Classes", id="classes") as self.class_tab:
                    self._classes()
                with gr.Tab("Compare", id="pair") as self.pair_tab:
                    self._pair()
                with gr.Tab("Camera", id="camera"):
                    self._camera()

    def _choices(self) -> None:
        self.image = upload(
            sources=["upload", "webcam", "clipboard"],
            label="1 · Image",
            height=210,
            buttons=["fullscreen"],
            elem_id="image",
        )
        self.samples = self._strip("Samples", "samples")
        self.whole = gr.Checkbox(
            label="Resize the whole image instead of cropping it", elem_id="whole"
        )
        self.classes = gr.Label(
            label="The network says (click a class to explain it)",
            num_top_classes=5,
            show_heading=False,
            elem_id="says",
        )
        self.table = gr.HTML(
            self.views.layer_list(""),
            js_on_load=asset("explorer_layers.js"),
            elem_id="layers",
        )

    def _units(self) -> None:
        with gr.Row():
            self.back = gr.Button("◀ layer", size="sm", min_width=58, elem_id="back")
            self.ahead = gr.Button("layer ▶", size="sm", min_width=58, elem_id="ahead")
            self.former = gr.Button("◀ page", size="sm", min_width=58, elem_id="former")
            self.later = gr.Button("page ▶", size="sm", min_width=58, elem_id="later")
            self.freeze = gr.Button("Freeze unit", size="sm", min_width=120, elem_id="freeze")
        with gr.Row():
            self.sort = gr.Dropdown(
                [("strongest", "max"), ("by number", "index")],
                value="max", label="Sort", min_width=110, filterable=False,
            )  # fmt: skip
            self.scale = gr.Dropdown(
                [("per map", "map"), ("same for the layer", "layer")],
                value="map", label="Scale", min_width=110, filterable=False,
            )  # fmt: skip
            self.gamma = gr.Dropdown(
                GAMMAS, value=1.0, label="Gamma", min_width=110, filterable=False
            )
        self.frozen = gr.HTML(visible=False, elem_id="frozen")
        with gr.Row():
            with gr.Column(scale=5, min_width=330):
                self.grid = gr.HTML(
                    js_on_load=asset("explorer.js"), elem_id="grid", elem_classes="grid"
                )
                gr.Markdown(KEYS, elem_classes="note keys")
                self.grid_code = self._code("code-grid")
            with gr.Column(scale=4, min_width=330):
                self._unit()

    def _unit(self) -> None:
        self.facts = gr.HTML(
            js_on_load=asset("explorer_unit.js"), elem_id="facts", elem_classes="facts"
        )
        with gr.Tabs(elem_id="unit-tabs"):
            with gr.Tab("Map"):
                self.map = self._picture("3 · Where the unit responds", "map")
                self.unit_code = self._code("code-unit")
            with gr.Tab("Reconstruction"):
                self.rule = gr.Radio(
                    list(reversed(RULES)), value="guided", label="Backward rule", elem_id="rule"
                )
                with gr.Row():
                    self.seed = gr.Radio(
                        [("strongest spot", "max"), ("whole map", "map")],
                        value="max",
                        label="Start from",
                    )
                    self.look = gr.Dropdown(list(LOOKS), value="color", label="Look", min_width=120)
                self.pixels = self._picture("The pixels that drive the unit", "reconstruction")
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
            with gr.Tab("Patches"):
                self.patches = gr.Gallery(
                    columns=2,
                    label="What activates it most, and the pixels that drive it",
                    height="auto",
                    object_fit="contain",
                    elem_id="patches",
                    buttons=["fullscreen"],
                )
                self.patches_code = self._code("code-patches")

    def _classes(self) -> None:
        choices, of_classes = target_choices(self.views), self.session.kind == CLASSES
        first = [name for name in FIRST_METHODS if name in self.session.methods]
        with gr.Row():
            self.target = gr.Dropdown(
                choices,
                value=choices[0][1],
                label="Class (type a name)" if of_classes else "What to explain",
                info=None if of_classes else "or type box:3, class:3, class:7@120,80",
                filterable=True,
                allow_custom_value=not of_classes,
                elem_id="target",
            )
            self.at = gr.Radio(
                [(f"suggested ({self.session.suggested[0]})", "suggested"),
                 ("chosen on the left", "chosen")],
                value="suggested", label="Layer, for methods that need one",
            )  # fmt: skip
        self.methods = gr.Dropdown(
            list(self.session.methods),
            value=first,
            multiselect=True,
            label="Methods",
            info="Occlusion, Rise, IntegratedGradients and names with Score take longer; "
            "captum-cnn-ext list-methods describes each method and its cost.",
            elem_id="methods",
        )
        with gr.Row():
            self.explain = gr.Button("Explain", variant="primary", elem_id="explain")
            self.unexplain = gr.Button("Cancel", elem_id="cancel-class")
        self.class_status = gr.HTML(js_on_load=asset("explorer_class.js"), elem_id="class-status")
        self.maps = self._gallery(
            "Maps of the class: bright where the evidence is strongest", "maps", 3
        )
        self.class_code = self._code("code-class")

    def _pair(self) -> None:
        with gr.Row():
            self.other_samples = self._strip("Second image", "other-samples")
            self.other_image = upload(
                sources=["upload", "clipboard"],
                label="or upload one",
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
        self.pair_maps = self._gallery(
            "Explained by the methods chosen under Classes", "pair-maps", 2
        )
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
                self.rate = gr.HTML(WAITING, elem_id="rate")
                self.live_classes = gr.Label(
                    label="The network says", num_top_classes=5, show_heading=False
                )
                self.take = gr.Button("Explore the last frame", elem_id="take")
            with gr.Column(scale=2, min_width=330):
                self.live = gr.HTML(
                    js_on_load=asset("explorer.js"), elem_id="live", elem_classes="grid"
                )

    def _strip(self, label: str, name: str) -> gr.Gallery:
        """The given images, to choose one."""
        return gr.Gallery(
            [(photo.picture, photo.name) for photo in self.session.photos.values()],
            columns=4,
            allow_preview=False,
            object_fit="cover",
            height=84,
            label=label,
            show_label=False,
            buttons=[],
            interactive=False,
            elem_id=name,
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
