"""The parts of the photos that excite the strongest units of the chosen layers most."""

import torch
from torch import Tensor

from captum_cnn_ext.evidence import TopPatches, top_patches
from captum_cnn_ext.insights.pictures import drawn, scale
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import Block, Group, SectionContent, Text
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.methods import AT_ONCE
from captum_cnn_ext.methods.call import MODEL, X
from captum_cnn_ext.methods.expression import Expression, Script, evaluate, imported

PATCHES = 5
CHANNELS = 8


def build(audited: Audited, report: Report) -> SectionContent:
    """Nine overlapping crops of half the size of each photo, ranked for every channel."""
    crops = _crops(audited.inputs)
    blocks: list[Block] = [
        Text(
            f"The parts of the photos to which the {CHANNELS} strongest channels of each layer "
            "respond most, with the response below. Each photo was cut into 9 overlapping crops "
            f"({len(crops)} in all), and a crop gives at most one part. A few photos show what a "
            "channel can respond to, not what it stands for: for that, run captum-cnn-ext "
            "top-patches on a whole data set."
        )
    ]
    for layer in audited.layers:
        try:
            top = top_patches(
                audited.model, layer.name, crops, k=PATCHES, batch_size=AT_ONCE, num_workers=0
            )
        except (ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())[:300]
            blocks.append(Group(layer.label, [Text(f"Not made: {why}", "note")]))
            continue
        blocks.append(Group(layer.label, [_drawn(audited, report, top, crops)]))
    return SectionContent(blocks)


def _crops(inputs: Tensor) -> Tensor:
    crops: Tensor = evaluate(_cut(inputs.shape), x=inputs)
    return crops


def _cut(shape: torch.Size) -> Expression:
    height, width = (max(1, length // 2) for length in shape[2:])
    rows = [0, (shape[2] - height) // 2, shape[2] - height]
    columns = [0, (shape[3] - width) // 2, shape[3] - width]
    parts = [X[:, :, r : r + height, c : c + width] for r in rows for c in columns]
    return imported("torch.cat")(parts)


def _drawn(audited: Audited, report: Report, top: TopPatches, crops: Tensor) -> Block:
    order = top.values[:, 0].nan_to_num(-torch.inf).argsort(descending=True, stable=True)
    rows = order[:CHANNELS].tolist()
    channels = top.channels[rows].tolist()
    report.keep(f"top_patches/{top.layer}/values", top.values, f"strongest units of {top.layer}")
    report.keep(f"top_patches/{top.layer}/crops", top.images, "numbers of their crops")
    script = Script()
    parts = script.let("crops", _cut(audited.inputs.shape))
    ranked = imported("captum_cnn_ext.evidence.top_patches")(
        MODEL, top.layer, parts, k=PATCHES, batch_size=AT_ONCE, num_workers=0
    )
    strongest = script.let("top", ranked)
    return drawn(
        imported("captum_cnn_ext.render.show_patches")(
            strongest.patches(parts, channels),
            values=strongest.values[rows],
            row_titles=[str(channel) for channel in channels],
            **scale(audited.subject.mean, audited.subject.std),
        )[0],
        script,
        alt=f"Patches that activate channels of {top.layer}",
        title=f"{top.layer}, channels in rows",
        caption=f"One value of this layer depends on: {top.field.partition(': ')[2]}.",
        crops=crops,
        top=top,
    )


SECTION = Section("top_patches", "Parts of photos that activate a channel most", build, open=False)
