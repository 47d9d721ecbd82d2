"""The weights of two convolutions as pictures."""

from typing import Any

from torch import nn

from captum_cnn_ext.insights.pictures import drawn
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import Block, Panels, Picture, SectionContent, Text
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.methods.call import MODEL
from captum_cnn_ext.methods.expression import Script, imported

FIRST_FILTERS = 64
DEEP_FILTERS = 12
DEEP_CHANNELS = 24
SIGNED = "Red positive, blue negative, white 0."


def build(audited: Audited) -> SectionContent:
    """The first convolution, and the last one whose kernel is larger than one pixel."""
    modules = dict(audited.model.named_modules())
    found = [(row.name, modules.get(row.name)) for row in audited.table]
    convs = [(name, conv) for name, conv in found if isinstance(conv, nn.Conv2d)]
    if not convs:
        return SectionContent([Text("This model has no two-dimensional convolution.", "note")])
    deep = [(name, conv) for name, conv in convs[1:] if max(conv.kernel_size) > 1]
    pictures = [_first(audited, *convs[0]), *(_deep(audited, *item) for item in deep[-1:])]
    words = (
        "The first convolution"
        + (", and the last one whose kernel is larger than 1 × 1. " if deep else ". ")
        + "Weights as they are stored, before any normalisation layer that follows. Each filter "
        "has a colour scale of its own, so strengths cannot be compared between filters."
    )
    blocks: list[Block] = [Text(words), Panels("", pictures, large=True)]
    return SectionContent([*blocks, *_families(audited, *convs[0])])


def _families(audited: Audited, name: str, conv: nn.Conv2d) -> list[Block]:
    """Filters of the first layer that are turned copies of each other, with the controls."""
    square = conv.kernel_size[0] == conv.kernel_size[1] > 1 and len(conv.weight) > 1
    if not square or conv.weight.shape[1] > 4:
        return []
    script = Script()
    layer = script.let("conv", MODEL.get_submodule(name))
    alike = script.let("found", imported("captum_cnn_ext.evidence.filter_similarity")(layer))
    try:
        names = script.run(model=audited.model)
    except ImportError as error:
        return [
            Text(f"Rotated copies among the filters could not be searched for: {error}", "note")
        ]
    found = names["found"]
    words = Text(
        f"Are filters of {name} rotated copies of one another? {found}. Small kernels look rotated "
        "by chance; the scores of shuffled and of unrotated kernels show how often."
    )
    if not found.families:
        return [words]
    figure = imported("captum_cnn_ext.render.show_filter_families")(layer.weight, alike.families)[0]
    alt, title = f"Families of filters of {name}", "Filters that are rotated copies"
    return [words, drawn(figure, script, alt=alt, title=title, **names)]


def _first(audited: Audited, name: str, conv: nn.Conv2d) -> Picture:
    if conv.weight.shape[1] == 3:
        caption = (
            "Each tile is one filter, its three input channels drawn as red, green and blue: grey "
            "is weight 0, a brighter channel a positive weight, a darker one a negative weight."
        )
    else:
        caption = f"The filter's weights on {conv.weight.shape[1]} input channel(s). {SIGNED}"
    return _picture(audited, name, conv, caption, first=FIRST_FILTERS)


def _deep(audited: Audited, name: str, conv: nn.Conv2d) -> Picture:
    filters, channels = conv.weight.shape[:2]
    if channels == 1:
        options: dict[str, Any] = {"first": FIRST_FILTERS}
        caption = f"A depthwise convolution: each filter sees one channel. {SIGNED}"
    else:
        options = {
            "filters": range(min(DEEP_FILTERS, filters)),
            "channels": range(min(DEEP_CHANNELS, channels)),
        }
        caption = f"A row is one filter, a tile its weights on one input channel. {SIGNED}"
    return _picture(audited, name, conv, caption, **options)


def _picture(audited: Audited, name: str, conv: nn.Conv2d, caption: str, **options: Any) -> Picture:
    kernel = " × ".join(map(str, conv.kernel_size))
    title = f"{name}: {conv.out_channels} filters of {kernel} on {conv.in_channels} channels"
    title += f" in {conv.groups} groups" if conv.groups > 1 else ""
    weight = MODEL.get_submodule(name).weight
    figure = imported("captum_cnn_ext.render.show_filters")(weight, **options)[0]
    alt = f"Filters of {name}"
    return drawn(figure, alt=alt, title=title, caption=caption, model=audited.model)


SECTION = Section("filters", "Filters", build, open=False)
