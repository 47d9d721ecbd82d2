"""The weights of two convolutions as pictures."""

from __future__ import annotations

from matplotlib.figure import Figure
from torch import nn

from captum_cnn_ext.evidence import filter_similarity
from captum_cnn_ext.insights.pictures import figure_picture
from captum_cnn_ext.insights.report.blocks import Block, Panels, Picture, SectionContent, Text
from captum_cnn_ext.insights.report.context import AuditContext
from captum_cnn_ext.insights.report.figure_code import module_code
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.render import show_filter_families, show_filters

FIRST_FILTERS = 64
DEEP_FILTERS = 12
DEEP_CHANNELS = 24
SIGNED = "Red positive, blue negative, white 0."


def build(context: AuditContext) -> SectionContent:
    """The first convolution, and the last one whose kernel is larger than one pixel."""
    modules = dict(context.model.named_modules())
    found = [(row.name, modules.get(row.name)) for row in context.table]
    convs = [(name, conv) for name, conv in found if isinstance(conv, nn.Conv2d)]
    if not convs:
        return SectionContent([Text("This model has no two-dimensional convolution.", "note")])
    deep = [(name, conv) for name, conv in convs[1:] if max(conv.kernel_size) > 1]
    pictures = [_first(*convs[0]), *(_deep(*item) for item in deep[-1:])]
    words = (
        "The first convolution"
        + (", and the last one whose kernel is larger than 1 × 1. " if deep else ". ")
        + "Weights as they are stored, before any normalisation layer that follows. Each filter "
        "has a colour scale of its own, so strengths cannot be compared between filters."
    )
    blocks: list[Block] = [Text(words), Panels("", pictures, large=True)]
    return SectionContent([*blocks, *_families(*convs[0])])


def _families(name: str, conv: nn.Conv2d) -> list[Block]:
    """Filters of the first layer that are turned copies of each other, with the controls."""
    square = conv.kernel_size[0] == conv.kernel_size[1] > 1 and len(conv.weight) > 1
    if not square or conv.weight.shape[1] > 4:
        return []
    try:
        found = filter_similarity(conv)
    except ImportError as error:
        return [Text(f"Turned copies among the filters were not sought: {error}", "note")]
    code = (
        "from captum_cnn_ext.evidence import filter_similarity\n"
        "from captum_cnn_ext.render import show_filter_families\n"
        f"conv = {module_code(name)}\n"
        "figure, _ = show_filter_families(conv.weight, filter_similarity(conv).families)"
    )
    words = Text(
        f"Turned copies in {name}: {found}. Small kernels look turned by chance, which is why the "
        "shuffled and the unturned scores stand beside."
    )
    if not found.families:
        return [words]
    figure, _ = show_filter_families(conv.weight, found.families)
    alt = f"Families of filters of {name}"
    title = "Filters that are turned copies"
    return [words, figure_picture(figure, alt=alt, title=title, code=code)]


def _first(name: str, conv: nn.Conv2d) -> Picture:
    options = f"first={FIRST_FILTERS}"
    figure, _ = show_filters(conv.weight, first=FIRST_FILTERS)
    if conv.weight.shape[1] == 3:
        caption = (
            "Each tile is one filter, its three input channels drawn as red, green and blue: grey "
            "is weight 0, a brighter channel a positive weight, a darker one a negative weight."
        )
    else:
        caption = f"The filter's weights on {conv.weight.shape[1]} input channel(s). {SIGNED}"
    return _picture(name, conv, figure, caption, options)


def _deep(name: str, conv: nn.Conv2d) -> Picture:
    filters, channels = conv.weight.shape[:2]
    if channels == 1:
        options = f"first={FIRST_FILTERS}"
        figure, _ = show_filters(conv.weight, first=FIRST_FILTERS)
        caption = f"A depthwise convolution: each filter sees one channel. {SIGNED}"
    else:
        some = min(DEEP_FILTERS, filters), min(DEEP_CHANNELS, channels)
        options = f"filters=range({some[0]}), channels=range({some[1]})"
        figure, _ = show_filters(conv.weight, filters=range(some[0]), channels=range(some[1]))
        caption = f"A row is one filter, a tile its weights on one input channel. {SIGNED}"
    return _picture(name, conv, figure, caption, options)


def _picture(name: str, conv: nn.Conv2d, figure: Figure, caption: str, options: str) -> Picture:
    kernel = " × ".join(map(str, conv.kernel_size))
    title = f"{name}: {conv.out_channels} filters of {kernel} on {conv.in_channels} channels"
    title += f" in {conv.groups} groups" if conv.groups > 1 else ""
    code = (
        "from captum_cnn_ext.render import show_filters\n"
        f"figure, _ = show_filters({module_code(name)}.weight, {options})"
    )
    alt = f"Filters of {name}"
    return figure_picture(figure, alt=alt, title=title, caption=caption, code=code)


SECTION = Section("filters", "Filters", build, open=False)
