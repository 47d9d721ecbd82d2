"""What the explained class and the layers' strongest channels look for."""

from __future__ import annotations

import warnings

from captum_cnn_ext.attr import LayerFeatureMaps
from captum_cnn_ext.insights.layers import ChosenLayer
from captum_cnn_ext.insights.pictures import photo_picture
from captum_cnn_ext.insights.report.blocks import Panels, Picture, SectionContent, Text
from captum_cnn_ext.insights.report.context import AuditContext
from captum_cnn_ext.insights.report.figure_code import scale_code
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.synthesis import Channel, Objective, Synthesis, Target, maximize

CLASS_STEPS = 40  # a few seconds in all; what is drawn is there, and faint
CHANNEL_STEPS = 24
TRIED = 2  # channels of a layer, strongest first, until one answers to noise


def build(context: AuditContext) -> SectionContent:
    """Images optimised for the first photo's class, and for what its layers answered most to."""
    mean, std = context.subject.mean, context.subject.std
    channels = context.inputs.shape[1] if context.inputs.ndim == 4 else 0
    if channels not in (1, 3) or mean is None or std is None:
        why = (
            "the normalisation of its inputs is not known"
            if channels in (1, 3)
            else "its inputs are no pictures of one or three channels"
        )
        return SectionContent([Text(f"Nothing was drawn for this model: {why}.", "note")])
    target = context.targets[0]
    name = context.subject.class_name(target)
    with context.listening("Synthesis"):
        wanted = _made(context, Target(target), tuple(context.inputs.shape[1:]), CLASS_STEPS)
        code = _code(context, "Target", str(target), CLASS_STEPS)
        pictures = [_picture(wanted, f"{name}: {float(wanted.values[0]):.1f}", code)]
        context.keep("synthesis/class", wanted.images, f"image optimised for {name}")
        for layer in context.layers:
            pictures += _of_layer(context, layer)
    return SectionContent(
        [
            Text(
                "Images made from noise by gradient ascent until the network's class, or the "
                "strongest channel of a layer, answered strongly; under each stands what was "
                "reached. They show what the network looks for, and not this photo. The class is "
                f"that of {context.photos.names[0]}; the channels have the largest mean "
                "for it, of those that answer to noise at all. "
                f"{CLASS_STEPS} steps for the class, {CHANNEL_STEPS} for a channel: longer ascents "
                "(`captum-cnn-ext synthesize`) draw more."
            ),
            Panels("", pictures),
        ]
    )


def _of_layer(context: AuditContext, layer: ChosenLayer) -> list[Picture]:
    maps = LayerFeatureMaps(context.model, layer.name).attribute(context.inputs[:1])
    if maps.ndim != 4:
        return []
    size = tuple(context.inputs.shape[1:])
    means = maps[0].mean((1, 2))
    for channel in means.topk(min(TRIED, len(means))).indices.tolist():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "objective .* never changed")
            made = _made(context, Channel(layer.name, channel), size, CHANNEL_STEPS)
        if made.values[0] == 0:  # a rectifier that is off for noise has no gradient to climb
            continue
        words = f"image optimised for channel {channel} of layer {layer.name}"
        context.keep(f"synthesis/{layer.name}", made.images, words)
        title = f"{layer.name}, channel {channel}: {float(made.values[0]):.1f}"
        code = _code(context, "Channel", f"{layer.name!r}, {channel}", CHANNEL_STEPS)
        return [_picture(made, title, code)]
    return []


def _made(
    context: AuditContext, objective: Objective, shape: tuple[int, ...], steps: int
) -> Synthesis:
    return maximize(
        context.model,
        objective,
        shape,
        recipe="lucid",
        steps=steps,
        mean=context.subject.mean,
        std=context.subject.std,
        seed=context.seed,
    )


def _code(context: AuditContext, kind: str, of: str, steps: int) -> str:
    return (
        "from PIL import Image\nfrom captum_cnn_ext.render import to_rgb\n"
        f"from captum_cnn_ext.synthesis import {kind}, maximize\n"
        f"made = maximize(model, {kind}({of}), tuple(x.shape[1:]), recipe='lucid', steps={steps}, "
        f"seed={context.seed}{scale_code(context.subject.mean, context.subject.std)})\n"
        "figure = Image.fromarray((to_rgb(made.images[0]) * 255).round().astype('uint8'))"
    )


def _picture(made: Synthesis, title: str, code: str) -> Picture:
    alt = f"Synthesised: {title}"
    return photo_picture(made.images[0], [0.0], [1.0], alt=alt, title=title, code=code)


SECTION = Section("synthesis", "What it looks for", build)
