"""What the chosen layers make of the first photos."""

import torch
from torch import Tensor

from captum_cnn_ext.attr import LayerFeatureMaps
from captum_cnn_ext.insights.pictures import drawn
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import (
    Block,
    Group,
    Panels,
    Picture,
    SectionContent,
    Text,
)
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.report.work import Work
from captum_cnn_ext.methods import AT_ONCE
from captum_cnn_ext.methods.call import MODEL, X
from captum_cnn_ext.methods.expression import Script, imported

PHOTOS = 2
MAPS = 36


def build(audited: Audited, report: Report, work: Work) -> SectionContent:
    """The strongest feature maps of each layer for the first photos; all maps are kept."""
    layers = LayerFeatureMaps(audited.model, [layer.name for layer in audited.layers])
    with work.listening("Feature maps"):
        chunks = [layers.attribute(inputs) for inputs in torch.split(audited.inputs, AT_ONCE)]
    shown = min(PHOTOS, len(audited.photos))
    which = "each photo" if shown == len(audited.photos) else f"the first {shown} photos"
    blocks: list[Block] = [
        Text(
            f"What each layer computes from {which}, before any explanation: one picture a "
            f"channel, bright where it responds, for up to {MAPS} channels, the strongest first. "
            "Above each map: its channel's number and its largest value."
        ),
        Text(audited.layer_reason),
    ]
    for place, layer in enumerate(audited.layers):
        maps = torch.cat([chunk[place] for chunk in chunks])
        report.keep(
            f"feature_maps/{layer.name}",
            maps,
            f"outputs of layer {layer.name}",
        )
        blocks.append(Group(layer.label, [_drawn(audited, layer.name, maps, shown)]))
    return SectionContent(blocks)


def _drawn(audited: Audited, layer: str, maps: Tensor, photos: int) -> Panels | Text:
    if maps.ndim != 4:
        return Text(f"Not drawn: shape {tuple(maps.shape[1:])} is not a stack of maps.", "note")
    pictures = [_picture(audited, layer, maps, photo) for photo in range(photos)]
    return Panels("", pictures, large=True)


def _picture(audited: Audited, layer: str, maps: Tensor, photo: int) -> Picture:
    name, one = audited.photos.names[photo], slice(photo, photo + 1)
    script = Script()
    kept = script.let(
        "maps", imported("captum_cnn_ext.attr.LayerFeatureMaps")(MODEL, layer).attribute(X[one])
    )
    show = imported("captum_cnn_ext.render.show_feature_maps")
    negative = bool((maps[photo] < 0).any())
    caption = (
        "Each map on its own scale: white is 0, red positive, blue negative."
        if negative
        else "Each map on its own scale: dark is 0, yellow its own maximum."
    )
    return drawn(
        show(kept[0], sort="max", first=MAPS)[0],
        script,
        alt=f"Feature maps of {layer} for {name}",
        title=f"{name} at {layer}",
        caption=caption,
        maps=maps[one],
    )


SECTION = Section("feature_maps", "Feature maps", build, open=False)
