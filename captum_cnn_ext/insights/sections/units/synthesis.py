"""What the explained class and the layers' strongest channels look for."""

import warnings

from captum_cnn_ext.attr import LayerFeatureMaps
from captum_cnn_ext.insights.layers import ChosenLayer
from captum_cnn_ext.insights.pictures import photo_picture, scale
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import Panels, Picture, SectionContent, Text
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.report.work import Work
from captum_cnn_ext.methods.call import MODEL
from captum_cnn_ext.methods.expression import Script, imported, variable
from captum_cnn_ext.synthesis import Synthesis

CLASS_STEPS = 40  # a few seconds in all; what is drawn is there, and faint
CHANNEL_STEPS = 24
TRIED = 2  # channels of a layer, strongest first, until one answers to noise


def build(audited: Audited, report: Report, work: Work) -> SectionContent:
    """Images optimised for the first photo's class, and for what its layers answered most to."""
    mean, std = audited.subject.mean, audited.subject.std
    channels = audited.inputs.shape[1] if audited.inputs.ndim == 4 else 0
    if channels not in (1, 3) or mean is None or std is None:
        why = (
            "the normalisation of its inputs is not known"
            if channels in (1, 3)
            else "its inputs are no pictures of one or three channels"
        )
        return SectionContent([Text(f"Nothing was drawn for this model: {why}.", "note")])
    with work.listening("Synthesis"):
        pictures = _of_class(audited, report) if audited.explained.of_classes else []
        for layer in audited.layers:
            pictures += _of_layer(audited, report, layer)
    photo, of_class = audited.photos.names[0], audited.explained.of_classes
    wanted, steps = "a channel", f"{CHANNEL_STEPS}"
    whose = f"The channels are the most active ones for {photo}"
    if of_class:
        wanted, steps = "a class or a channel", f"{CLASS_STEPS} and {CHANNEL_STEPS}"
        whose = f"The class is the one explained for {photo}; the channels are the most active "
        whose += "ones for that photo"
    return SectionContent(
        [
            Text(
                f"Images made from noise, step by step, so that {wanted} responds ever more "
                "strongly; the number is the response reached. They show what the network looks "
                f"for, not a photo. {whose}. These are sketches of {steps} steps; captum-cnn-ext "
                "synthesize takes 256 and draws recognisable objects."
            ),
            Panels("", pictures),
        ]
    )


def _of_class(audited: Audited, report: Report) -> list[Picture]:
    """A box or an area of one photo is no wish that an image could be made for."""
    name = audited.explained.names[0]
    script, wanted = _made(audited, CLASS_STEPS, "Target", audited.targets[0])
    report.keep("synthesis/class", wanted.images, f"image optimised for {name}")
    return [_picture(wanted, f"{name}: {float(wanted.values[0]):.1f}", script)]


def _of_layer(audited: Audited, report: Report, layer: ChosenLayer) -> list[Picture]:
    maps = LayerFeatureMaps(audited.model, layer.name).attribute(audited.inputs[:1])
    if maps.ndim != 4:
        return []
    means = maps[0].mean((1, 2))
    for channel in means.topk(min(TRIED, len(means))).indices.tolist():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "objective .* never changed")
            script, made = _made(audited, CHANNEL_STEPS, "Channel", layer.name, channel)
        if made.values[0] == 0:  # a rectifier that is off for noise has no gradient to climb
            continue
        words = f"image optimised for channel {channel} of layer {layer.name}"
        report.keep(f"synthesis/{layer.name}", made.images, words)
        title = f"{layer.name}, channel {channel}: {float(made.values[0]):.1f}"
        return [_picture(made, title, script)]
    return []


def _made(audited: Audited, steps: int, kind: str, *of: str | int) -> tuple[Script, Synthesis]:
    script = Script()
    script.let(
        "made",
        imported("captum_cnn_ext.synthesis.maximize")(
            MODEL,
            imported(f"captum_cnn_ext.synthesis.{kind}")(*of),
            tuple(audited.inputs.shape[1:]),
            recipe="lucid",
            steps=steps,
            seed=audited.seed,
            **scale(audited.subject.mean, audited.subject.std),
        ),
    )
    return script, script.run(model=audited.model)["made"]


def _picture(made: Synthesis, title: str, script: Script) -> Picture:
    image, alt = variable("made").images[0], f"Synthesised: {title}"
    return photo_picture(image, [0.0], [1.0], script, alt=alt, title=title, made=made)


SECTION = Section("synthesis", "Synthesised images: what the network looks for", build)
