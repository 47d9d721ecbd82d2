"""What each view of the page shows, as HTML with every name escaped, pictures and code."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

import torch
from PIL import Image

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.comparison import Comparison
from captum_cnn_ext.insights.explorer import drawing
from captum_cnn_ext.insights.explorer.code_snippets import Snippets
from captum_cnn_ext.insights.explorer.computing.listing import ExploredLayer
from captum_cnn_ext.insights.explorer.computing.questions_and_answers import Photo, Unit
from captum_cnn_ext.insights.explorer.computing.session import PER_PAGE, ExplorerSession
from captum_cnn_ext.insights.explorer.computing.what_it_says import BOXES, Said
from captum_cnn_ext.insights.wording import counted, percent
from captum_cnn_ext.methods import LAYER, known_methods
from captum_cnn_ext.render.drawing.wording import number

PAIRS = 12  # units shown for two images
STAGE = "★ "


@dataclass(frozen=True)
class GridChoice:
    """How a grid is shown."""

    sort: str = "max"
    scale: str = "map"
    gamma: float = 1.0
    page: int = 0


class Views:
    """Draws what a session finds.

    Args:
        session: what is explored.
        snippets: writes the code of views.
    """

    def __init__(self, session: ExplorerSession, snippets: Snippets) -> None:
        self.session, self.snippets = session, snippets

    def heading(self) -> str:
        """What is explored, and what to do first."""
        subject = self.session.subject
        notes = "".join(f"<p class=note>{escape(note)}</p>" for note in subject.notes)
        return (
            f"<h1>What does {escape(subject.name)} see?</h1>"
            "<p>Pick an <b>image</b>, then a <b>layer</b>, then click a <b>unit</b> (a channel of "
            "the layer): see where it responds, which pixels drive it, and an image made to "
            "activate it. The other tabs explain a <b>class</b>, compare <b>two images</b>, and "
            "show your <b>camera</b> live.</p>"
            f"<p class=note>Weights: {escape(subject.weights)}</p>{notes}"
        )

    def class_label(self, index: int) -> str:
        """A class as it is listed: its name, and its number, which tells namesakes apart."""
        name = self.session.subject.class_name(index)
        return name if name == f"class {index}" else f"{name} ({index})"

    def said(self, said: Said) -> str:
        """What the network says, as it is listed."""
        label = self.class_label(said.label)
        box = str(said.target).replace(":", " ")
        return f"{box}: {label}" if self.session.kind == BOXES else label

    def top_classes(self, photo: Photo) -> dict[str, float]:
        """The five things that the network is surest of."""
        return {self.said(one): one.share for one in self.session.says(photo)}

    def layer_list(self, current: str) -> str:
        """The layers as buttons: ends of stages, and those between them folded away."""
        groups: list[str] = []
        inner: list[ExploredLayer] = []
        for layer in self.session.layers.values():
            if not layer.stage:
                inner.append(layer)
                continue
            groups += [_folded(inner, current, f"before {layer.name}"), _button(layer, current)]
            inner = []
        if groups:
            groups.append(_folded(inner, current, "after the last stage"))
        else:  # no stages are known
            groups = [_button(layer, current) for layer in inner]
        return (
            "<label><b>2 · Layer</b> (★ ends a stage) <input type=search placeholder="
            '"find a layer" aria-label="find a layer"></label>'
            f'<div class=scroll role=group aria-label="layers">{"".join(groups)}</div>'
        )

    def grid(
        self,
        photo: Photo,
        layer: str,
        choice: GridChoice,
        unit: int | None = None,
        origin: Unit | None = None,
    ) -> str:
        """One page of a layer's units as a grid of buttons."""
        frozen = origin is not None and origin.layer != layer
        maps = (
            self.session.gradients(photo, layer, origin)
            if origin is not None and frozen
            else self.session.maps(photo, layer)
        )
        order = self.session.order(maps, choice.sort)
        first = choice.page * PER_PAGE
        shown = order[first : first + PER_PAGE]
        signed = bool((maps < 0).any())
        contrasted = drawing.contrasted(maps, choice.scale, choice.gamma)[shown]
        pictures = drawing.tiles(contrasted, signed)
        tops = maps.flatten(1).amax(1)[shown].tolist()
        cells = "".join(
            f'<button class="unit" data-unit="{channel}" tabindex="{-1 if place else 0}" '
            f'aria-pressed="{"true" if channel == unit else "false"}" '
            f'title="unit {channel}, maximum {number(top, 3)}">'
            f'<img src="{drawing.data_uri(picture)}" alt="">'
            f"<span><b>{channel}</b> {number(top, 2)}</span></button>"
            for place, (channel, picture, top) in enumerate(zip(shown, pictures, tops, strict=True))
        )
        what = escape(layer)
        if origin is not None and frozen:
            what = f"gradient of unit {origin.channel} of {escape(origin.layer)} (frozen) at {what}"
            if int((maps.flatten(1).abs().amax(1) > 0).sum()) == 1:
                what += " (in one unit only: what lies between works on each unit alone; press U)"
        last = min(first + PER_PAGE, len(order))
        sorts = {"max": "strongest first", "index": "by number"}
        colors = "blue below 0, red above" if signed else "dark is 0, yellow most"
        scales = {"map": "each on its own scale", "layer": "all on one scale"}
        return (
            f"<p class=what><b>{what}</b> {escape(photo.name)}: units {first + 1}–{last} of "
            f"{len(order)}, {sorts[choice.sort]}; {colors}; {scales[choice.scale]}</p>"
            f'<div class=units role=group aria-label="units">{cells}</div>'
        )

    def pages(self, layer: str) -> int:
        """How many pages a layer's grid has."""
        return -(-self.session.layer(layer).shape[0] // PER_PAGE)

    def strongest(self, photo: Photo, layer: str) -> int:
        """The unit to begin with."""
        return self.session.order(self.session.maps(photo, layer), "max")[0]

    def unit_facts(self, photo: Photo, unit: Unit) -> str:
        """A unit in words, with a link of its own."""
        facts, layer = self.session.facts(photo, unit), self.session.layer(unit.layer)
        where = f" at row {facts.position[0]}, column {facts.position[1]}" if facts.position else ""
        broken = f"; <b>{facts.broken} values are not finite</b>" if facts.broken else ""
        query = {"layer": unit.layer, "unit": unit.channel}
        if photo.name in self.session.photos:
            query = {"image": photo.name, **query}
        return (
            f"<h2>Unit {unit.channel} of {escape(unit.layer)}</h2>"
            f"<p>{escape(layer.kind)}. Maximum <b>{number(facts.maximum, 3)}</b>{where}, mean "
            f"{number(facts.mean, 3)}{broken}; number {facts.rank} of {facts.channels} "
            f"by strength for {escape(photo.name)}. "
            f'<a class=permalink href="?{escape(urlencode(query))}">'
            "Link to this unit</a></p>"
        )

    def unit_map(self, photo: Photo, unit: Unit) -> Image.Image:
        """The unit's map enlarged over the image."""
        subject, inputs = self.session.subject, self.session.inputs(photo)
        own = self.session.maps(photo, unit.layer)[unit.channel]
        own = own.expand(1, 1) if own.ndim == 0 else own
        sign = self.session.sign(photo, unit)
        look = {"mean": subject.mean, "std": subject.std}
        return drawing.heat_panel(inputs[0], own, sign, **look)[0]

    def reconstruction(
        self, photo: Photo, unit: Unit, rule: str, seed: str, look: str
    ) -> tuple[Image.Image, str]:
        """The unit back in pixels, and a remark."""
        found = self.session.reconstruction(photo, unit, rule, seed)
        return drawing.reconstruction_picture(found.picture, look), escape(found.remark)

    def patches(self, unit: Unit, rule: str) -> list[tuple[Image.Image, str]]:
        """The unit's top patches with their values; after each the pixels that drive the unit.

        Both are cut to where these pixels are: late units see far more than what drives them.
        """
        subject = self.session.subject
        shown = []
        for patch in self.session.patches(unit, rule):
            part = ... if patch.driving is None else drawing.energetic(patch.driving)
            picture = drawing.photo_panel(patch.picture[part], mean=subject.mean, std=subject.std)
            shown.append((picture, f"{number(patch.value, 3)} {patch.name}"))
            if patch.driving is not None:
                shown.append((drawing.reconstruction_picture(patch.driving[part]), rule))
        return shown

    def explained(self, photos: Sequence[Photo]) -> list[tuple[Image.Image, str]]:
        """The images as the network gets them, which the maps stand beside."""
        look = {"mean": self.session.subject.mean, "std": self.session.subject.std}
        return [
            (drawing.photo_panel(self.session.inputs(photo)[0], **look), f"{photo.name}, the input")
            for photo in photos
        ]

    def explanations(
        self, name: str, found: Comparison | ArgumentError
    ) -> list[tuple[Image.Image, str]]:
        """The maps of one method, one for each image; nothing for a method that does not fit."""
        if isinstance(found, ArgumentError):
            return []
        subject = self.session.subject
        ((run, maps),) = found.attributions.items()
        known = known_methods().get(name)
        at = f" at {found.places[run]}" if known is not None and known.at == LAYER else ""
        shown = []
        boxes = found.boxes or [None] * len(found.labels)
        for image, own, label, box in zip(found.inputs, maps, found.labels, boxes, strict=True):
            picture, remark = drawing.heat_panel(
                image, own, mean=subject.mean, std=subject.std, boxes=box
            )
            shown.append((picture, " · ".join(filter(None, (label, f"{name}{at}", remark)))))
        return shown

    def pair(self, first: Photo, second: Photo, layer: str) -> str:
        """Two images: what the network says, and the units that tell them apart."""
        sides = "".join(self._side(photo) for photo in (first, second))
        apart = self.session.differences(first, second, layer)[:PAIRS]
        channels = [channel for channel, _ in apart]
        both = torch.stack([self.session.maps(photo, layer)[channels] for photo in (first, second)])
        signed = bool((both < 0).any())
        joined = both.movedim(0, 1)  # one scale for both maps of a unit
        colored = drawing.contrasted(joined)
        upper, lower = (drawing.tiles(colored[:, row], signed) for row in (0, 1))
        cells = "".join(
            f'<button class="unit" data-unit="{channel}" title="unit {channel}">'
            f'<img src="{drawing.data_uri(above)}" alt="for the first image">'
            f'<img src="{drawing.data_uri(below)}" alt="for the second image">'
            f"<span><b>{channel}</b> {number(distance, 3)}</span></button>"
            for (channel, distance), above, below in zip(apart, upper, lower, strict=True)
        )
        return (
            f"<div class=sides>{sides}</div>"
            f"<p class=what><b>{escape(layer)}</b>: the units whose maps differ most; above for "
            f"{escape(first.name)}, below for {escape(second.name)}, one scale for both; the "
            "number is the distance of the maps</p>"
            f'<div class=units role=group aria-label="units that differ">{cells}</div>'
        )

    def _side(self, photo: Photo) -> str:
        subject, image = self.session.subject, self.session.inputs(photo)[0]
        picture = drawing.photo_panel(image, mean=subject.mean, std=subject.std)
        rows = "".join(
            f"<li>{escape(self.said(one))} <b>{percent(one.share)}</b></li>"
            for one in self.session.says(photo, 3)
        )
        return (
            f'<figure><img src="{drawing.data_uri(picture)}" alt=""><figcaption>'
            f"{escape(photo.name)}<ol>{rows}</ol></figcaption></figure>"
        )

    def progress(self, share: float, words: str, seconds: float) -> str:
        """How far slow work is."""
        return (
            f'<div class=progress role=status><progress max=1 value="{share:.3f}"></progress> '
            f"{escape(words)} · {seconds:.0f} s</div>"
        )

    def message(self, text: str) -> str:
        """A line of text."""
        return f"<div class=message role=status>{escape(text)}</div>" if text else ""


def _button(layer: ExploredLayer, current: str) -> str:
    marked = ' aria-current="true"' if layer.name == current else ""
    star = STAGE if layer.stage else ""
    about = ", ".join(filter(None, (layer.kind, layer.settings)))
    return (
        f'<button class="layer" data-layer="{escape(layer.name)}"{marked} '
        f'title="{escape(layer.name)}: {escape(about)}; {layer.parameters:,} parameters">'
        f"<b>{star}{escape(layer.name)}</b><span>{layer.size} · {escape(about)}</span></button>"
    )


def _folded(layers: Sequence[ExploredLayer], current: str, where: str) -> str:
    if not layers:
        return ""
    opened = " open" if any(layer.name == current for layer in layers) else ""
    count = counted(len(layers), "layer")
    buttons = "".join(_button(layer, current) for layer in layers)
    return f"<details{opened}><summary>{count} {escape(where)}</summary>{buttons}</details>"
