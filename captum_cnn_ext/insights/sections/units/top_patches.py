"""The parts of the photos that excite the strongest units of the chosen layers most."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_cnn_ext.evidence import TopPatches, top_patches
from captum_cnn_ext.insights.pictures import figure_picture
from captum_cnn_ext.insights.report.blocks import Block, Group, SectionContent, Text
from captum_cnn_ext.insights.report.context import AuditContext
from captum_cnn_ext.insights.report.figure_code import scale_code
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.methods import AT_ONCE
from captum_cnn_ext.render import show_patches

PATCHES = 5
CHANNELS = 8


def build(context: AuditContext) -> SectionContent:
    """Nine overlapping crops of half the size of each photo, ranked for every channel."""
    crops = _crops(context.inputs)
    blocks: list[Block] = [
        Text(
            f"Each photo was cut into 9 overlapping crops of half its size ({len(crops)} in all). "
            f"For the {CHANNELS} channels with the strongest units, the parts of the crops that "
            "excite them most, at most one of each crop; under them the unit's activation. A few "
            "photos show what a channel can respond to, not what it stands for: "
            "captum-cnn-ext top-patches does the same over a whole data set."
        )
    ]
    for layer in context.layers:
        try:
            top = top_patches(
                context.model, layer.name, crops, k=PATCHES, batch_size=AT_ONCE, num_workers=0
            )
        except (ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())[:300]
            blocks.append(Group(layer.label, [Text(f"Not made: {why}", "note")]))
            continue
        blocks.append(Group(layer.label, [_drawn(context, top, crops)]))
    return SectionContent(blocks)


def _crops(inputs: Tensor) -> Tensor:
    height, width = (max(1, length // 2) for length in inputs.shape[2:])
    rows = [0, (inputs.shape[2] - height) // 2, inputs.shape[2] - height]
    columns = [0, (inputs.shape[3] - width) // 2, inputs.shape[3] - width]
    return torch.cat([inputs[:, :, r : r + height, c : c + width] for r in rows for c in columns])


def _drawn(context: AuditContext, top: TopPatches, crops: Tensor) -> Block:
    rows = top.values[:, 0].nan_to_num(-torch.inf).argsort(descending=True, stable=True)[:CHANNELS]
    channels = top.channels[rows]
    context.keep(f"top_patches/{top.layer}/values", top.values, f"strongest units of {top.layer}")
    context.keep(f"top_patches/{top.layer}/crops", top.images, "numbers of their crops")
    figure, _ = show_patches(
        top.patches(crops, channels),
        mean=context.subject.mean,
        std=context.subject.std,
        row_titles=[str(channel) for channel in channels.tolist()],
        values=top.values[rows],
    )
    code = (
        "from captum_cnn_ext.evidence import top_patches\n"
        "from captum_cnn_ext.render import show_patches\n"
        "height, width = (max(1, side // 2) for side in x.shape[2:])\n"
        "rows, columns = (\n"
        "    [0, (side - part) // 2, side - part]\n"
        "    for side, part in zip(x.shape[2:], (height, width)))\n"
        "crops = torch.cat(\n"
        "    [x[:, :, r : r + height, c : c + width] for r in rows for c in columns])\n"
        f"top = top_patches(model, {top.layer!r}, crops, k={PATCHES}, batch_size={AT_ONCE}, "
        "num_workers=0)\n"
        f"order = top.values[:, 0].nan_to_num(-torch.inf).argsort(descending=True, stable=True)"
        f"[:{CHANNELS}]\n"
        "channels = top.channels[order]\n"
        "figure, _ = show_patches(\n"
        f"    top.patches(crops, channels), values=top.values[order], row_titles=channels.tolist()"
        f"{scale_code(context.subject.mean, context.subject.std)})"
    )
    return figure_picture(
        figure,
        code=code,
        alt=f"Patches that excite units of {top.layer}",
        title=f"{top.layer}, channels in rows",
        caption=f"What a unit can see: {top.field.partition(': ')[2]}.",
    )


SECTION = Section("top_patches", "Strongest patches", build, open=False)
