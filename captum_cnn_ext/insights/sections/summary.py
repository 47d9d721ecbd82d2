"""What was audited, and what the network says about each photo."""

from __future__ import annotations

from captum_cnn_ext.insights.pictures import photo_picture
from captum_cnn_ext.insights.report.blocks import (
    Bar,
    Block,
    Cell,
    Column,
    Facts,
    Listing,
    Prediction,
    Predictions,
    SectionContent,
    Text,
    Tone,
)
from captum_cnn_ext.insights.report.context import AuditContext, error_text
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.methods.call import X

TOP = 5
LONGEST = 60  # letters of a name within a sentence
SURE = 0.5  # below this the strongest class has less than all others together


def build(context: AuditContext) -> SectionContent:
    """Facts of the model, notes on how it was prepared, and the predictions."""
    _find(context)
    _tabulate(context)
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
            "gets them, after resizing and cropping. The class in bold is the one that the rest "
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
    target = context.targets[photo]
    strongest = _strongest(context, photo, TOP)
    if target not in strongest:
        strongest[-1:] = [target]
    bars = []
    for index in strongest:
        share = context.share(photo, index)
        bars.append(Bar(subject.class_name(index), share, percent(share), index == target))
    size = context.photos.sizes[photo]
    picture = photo_picture(
        X[photo],
        subject.mean,
        subject.std,
        alt=f"{name} as the network gets it",
        title=name,
        caption=f"from {size[0]} × {size[1]} px" if size else "",
        x=context.inputs,
    )
    return Prediction(picture, bars)


def _strongest(context: AuditContext, photo: int, count: int) -> list[int]:
    shares = context.predicted.probabilities[photo]
    return [int(i) for i in shares.argsort(descending=True, stable=True)[:count]]


def _find(context: AuditContext) -> None:
    """What can be said of the model and of its predictions before anything is explained."""
    subject, classes = context.subject, context.predicted.outputs.shape[1]
    if context.model.training:
        text = "The model is in training mode, so its outputs depend on chance and on the batch."
        step = "Call model.eval() and make the report again."
        context.find("wrong", text, "summary", step)
    else:
        context.find("fine", "The model is in evaluation mode.", "summary")
    if subject.weights.startswith("random"):
        text = "The weights are random: nothing was learnt, so no map here means anything."
        context.find("wrong", text, "summary", "Load trained weights (--weights).")
    if subject.class_names is not None and len(subject.class_names) != classes:
        text = f"There are {len(subject.class_names)} class names for {classes} outputs"
        text += ": names may stand for the wrong classes."
        context.find("wrong", text, "summary", "Give one name for each output, in order.")
    if classes == 1:
        return
    best = [_strongest(context, photo, 1)[0] for photo in range(len(context.photos))]
    shares = [context.share(photo, index) for photo, index in enumerate(best)]
    doubtful = [
        f"{short(name)} ({short(subject.class_name(index))} {percent(share)})"
        for name, index, share in zip(context.photos.names, best, shares, strict=True)
        if share < SURE
    ]
    numbers = {"least_probability": min(shares), "photos_below_half": float(len(doubtful))}
    if doubtful:
        text = f"The network is not sure of {listed(doubtful)}: its strongest class has less than "
        text += "half of the probability."
        step = "Check these predictions yourself: a map only explains what the network said."
        context.find("unsure", text, "summary", step, **numbers)
    else:
        text = "In every photo the strongest class has more than half of the probability."
        step = "High probability does not mean right: measure accuracy on labelled photos."
        context.find("fine", text, "summary", step, **numbers)


def short(name: str) -> str:
    """A name that fits into a sentence; tables and captions have it whole."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def listed(names: list[str], most: int = 4) -> str:
    """Names in a sentence: the first few, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _tabulate(context: AuditContext) -> None:
    columns = [Column("photo"), Column("rank", number=True), Column("class")]
    columns += [Column("index", number=True), Column("output", number=True)]
    columns += [Column("probability", number=True), Column("explained")]
    rows: list[list[Cell]] = []
    for photo, name in enumerate(context.photos.names):
        outputs, target = context.predicted.outputs[photo], context.targets[photo]
        for rank, index in enumerate(_strongest(context, photo, TOP), 1):
            label, share = context.subject.class_name(index), context.share(photo, index)
            explained = "yes" if index == target else ""
            rows.append([name, rank, label, index, float(outputs[index]), share, explained])
    context.tabulate("predictions", context.predicted.rule, columns, rows)


def percent(share: float) -> str:
    """A probability as a percentage with one decimal, never rounded to 0 or to 100."""
    if share >= 1 or share <= 0:
        return f"{share:.0%}"
    return "< 0.1 %" if share < 0.0005 else "> 99.9 %" if share >= 0.9995 else f"{share:.1%}"


SECTION = Section("summary", "Model and predictions", build)
