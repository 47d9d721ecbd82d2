"""What was audited, and what the network says about each photo."""

from __future__ import annotations

from captum_cnn_ext.insights.blocks import (
    Bar,
    Block,
    Facts,
    Listing,
    Prediction,
    Predictions,
    SectionContent,
    Text,
    Tone,
)
from captum_cnn_ext.insights.context import AuditContext, error_text
from captum_cnn_ext.insights.pictures import photo_picture
from captum_cnn_ext.insights.section import Section

TOP = 5


def build(context: AuditContext) -> SectionContent:
    """Facts of the model, notes on how it was prepared, and the predictions."""
    blocks: list[Block] = []
    if context.model.training:
        blocks.append(
            Text(
                "The model was in training mode. Batch statistics and dropout act as in training, "
                "so these results depend on which photos are looked at together. Call "
                "model.eval() before an audit.",
                "warning",
            )
        )
    names, classes = context.subject.class_names, context.predicted.outputs.shape[1]
    if names is not None and len(names) != classes:
        blocks.append(
            Text(
                f"There are {len(names)} class names for {classes} outputs: names may stand for "
                "the wrong classes.",
                "warning",
            )
        )
    blocks.append(Facts(_facts(context)))
    if context.subject.notes:
        untrained = context.subject.weights.startswith("random")
        tone: Tone = "warning" if untrained else "note"
        blocks.append(Listing("Notes", context.subject.notes, tone))
    cards = [_card(context, photo) for photo in range(len(context.photos))]
    count = min(TOP, context.predicted.probabilities.shape[1])
    shown = "The class" if count == 1 else f"The {count} strongest classes"
    blocks.append(
        Text(
            f"{shown} of each photo. {context.predicted.rule} The photos are shown as the network "
            "gets them, after resizing and cropping. A filled bar marks the class that the rest "
            "of this report explains"
            + (", as asked for." if context.target_given else ": the strongest one.")
        )
    )
    blocks.append(Predictions(cards))
    return SectionContent(blocks)


def _facts(context: AuditContext) -> list[tuple[str, str]]:
    model, inputs = context.model, context.inputs
    parameters = list(model.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    total = sum(p.numel() for p in parameters)
    frozen = f", {total - trainable:,} of them frozen" if total > trainable else ""
    types = sorted({str(p.dtype).removeprefix("torch.") for p in parameters}) or ["none"]
    try:
        count = context.table.multiply_adds
        work = f"{count:,} ({count / 1e9:.2f} G) for one photo"
    except Exception as error:
        work = f"not known ({error_text(error)})"
    return [
        ("Model", context.subject.name),
        ("Weights", context.subject.weights),
        ("Parameters", f"{total:,}{frozen}"),
        ("Multiply-adds", work),
        ("Input", " × ".join(map(str, inputs.shape[1:])) + " (channels, height, width)"),
        ("Classes", f"{context.predicted.outputs.shape[1]:,}"),
        ("Device", str(inputs.device)),
        ("Number type", ", ".join(types)),
    ]


def _card(context: AuditContext, photo: int) -> Prediction:
    subject, name = context.subject, context.photos.names[photo]
    probabilities = context.predicted.probabilities[photo]
    target = context.targets[photo]
    strongest = [int(i) for i in probabilities.argsort(descending=True, stable=True)[:TOP]]
    if target not in strongest:
        strongest[-1:] = [target]
    bars = []
    for index in strongest:
        share = context.share(photo, index)
        bars.append(Bar(subject.class_name(index), share, percent(share), index == target))
    size = context.photos.sizes[photo]
    picture = photo_picture(
        context.inputs[photo],
        subject.mean,
        subject.std,
        alt=f"{name} as the network gets it",
        title=name,
        caption=f"from {size[0]} × {size[1]} px" if size else "",
    )
    return Prediction(picture, bars)


def percent(share: float) -> str:
    """A probability as a percentage with one decimal, never rounded to 0 or to 100."""
    if share >= 1 or share <= 0:
        return f"{share:.0%}"
    return "< 0.1 %" if share < 0.0005 else "> 99.9 %" if share >= 0.9995 else f"{share:.1%}"


SECTION = Section("summary", "Summary", build)
