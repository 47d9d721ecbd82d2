"""What was audited, and what the network says about each photo."""

from captum_cnn_ext.insights.pictures import photo_picture
from captum_cnn_ext.insights.report.audited import Audited
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
from captum_cnn_ext.insights.report.findings import Report, error_text
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.wording import listed, percent, short
from captum_cnn_ext.methods.call import X

TOP = 5
SURE = 0.5  # below this the strongest class has less than all others together


def build(audited: Audited, report: Report) -> SectionContent:
    """Facts of the model, notes on how it was prepared, and the predictions."""
    _find(audited, report)
    _tabulate(audited, report)
    blocks: list[Block] = []
    if audited.model.training:
        blocks.append(
            Text(
                "The model was in training mode. Batch statistics and dropout act as in training, "
                "so these results depend on which photos are looked at together. Call "
                "model.eval() before an audit.",
                "warning",
            )
        )
    names, classes = audited.subject.class_names, _classes(audited)
    if names is not None and classes and len(names) != classes:
        blocks.append(
            Text(
                f"There are {len(names)} class names for {classes} outputs: names may stand for "
                "the wrong classes.",
                "warning",
            )
        )
    blocks.append(Facts(_facts(audited)))
    if audited.subject.notes:
        doubtful = audited.subject.untrained or audited.subject.guess is not None
        tone: Tone = "warning" if doubtful else "note"
        blocks.append(Listing("Notes", audited.subject.notes, tone))
    cards = [_card(audited, photo) for photo in range(len(audited.photos))]
    blocks.append(Text(_shown(audited)))
    blocks.append(Predictions(cards))
    return SectionContent(blocks)


def _shown(audited: Audited) -> str:
    """What stands beside the photos, in words."""
    inputs = "The photos are shown as the network gets them, after resizing and cropping."
    if audited.predicted is None:
        return (
            "What the rest of this report explains in each photo, and its score there: the "
            f"network's own number. {inputs}"
        )
    count = min(TOP, _classes(audited))
    shown = "The class" if count == 1 else f"The {count} strongest classes"
    return (
        f"{shown} of each photo. {audited.predicted.rule} {inputs} The class in bold is the one "
        "that the rest of this report explains"
        + (", as asked for." if audited.target_given else ": the strongest one.")
    )


def _classes(audited: Audited) -> int:
    """How many classes the network tells apart; 0 where that is not what is explained."""
    return 0 if audited.predicted is None else audited.predicted.outputs.shape[1]


def _facts(audited: Audited) -> list[tuple[str, str]]:
    model, inputs = audited.model, audited.inputs
    parameters = list(model.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    total = sum(p.numel() for p in parameters)
    frozen = f", {total - trainable:,} of them frozen" if total > trainable else ""
    types = sorted({str(p.dtype).removeprefix("torch.") for p in parameters}) or ["none"]
    try:
        count = audited.table.multiply_adds
        work = f"{count:,} ({count / 1e9:.2f} G) for one photo"
    except Exception as error:
        work = f"not known ({error_text(error)})"
    return [
        ("Model", audited.subject.name),
        ("Weights", audited.subject.weights),
        ("Parameters", f"{total:,}{frozen}"),
        ("Multiply-adds", work),
        ("Input", " × ".join(map(str, inputs.shape[1:])) + " (channels, height, width)"),
        *([("Classes", f"{_classes(audited):,}")] if audited.predicted else []),
        ("Device", str(inputs.device)),
        ("Number type", ", ".join(types)),
    ]


def _card(audited: Audited, photo: int) -> Prediction:
    subject, name = audited.subject, audited.photos.names[photo]
    explained = audited.explained
    target, box, bars = explained.targets[photo], explained.box(photo), list[Bar]()
    if audited.predicted is None:
        score = explained.scores[photo]
        share = score if box is not None else 0.0  # of other scores it is not known what is full
        bars.append(Bar(explained.names[photo], share, explained.numbers[photo], True))
    else:
        strongest = _strongest(audited, photo, TOP)
        if target not in strongest:
            strongest[-1:] = [target]
        for index in strongest:
            share = audited.share(photo, index)
            bars.append(Bar(subject.class_name(index), share, percent(share), index == target))
    size = audited.photos.sizes[photo]
    picture = photo_picture(
        X[photo],
        subject.mean,
        subject.std,
        alt=f"{name} as the network gets it",
        title=name,
        caption=f"from {size[0]} × {size[1]} px" if size else "",
        boxes=None if box is None else list(box),
        x=audited.inputs,
    )
    return Prediction(picture, bars)


def _strongest(audited: Audited, photo: int, count: int) -> list[int]:
    assert audited.predicted is not None
    shares = audited.predicted.probabilities[photo]
    return [int(i) for i in shares.argsort(descending=True, stable=True)[:count]]


def _find(audited: Audited, report: Report) -> None:
    """What can be said of the model and of its predictions before anything is explained."""
    subject, classes = audited.subject, _classes(audited)
    if subject.guess is not None:
        report.note(
            "unsure", subject.guess.doubt, "summary", subject.guess.next_step,
            id="preprocessing-guessed", numbers={},
        )  # fmt: skip
    if audited.model.training:
        text = "The model is in training mode, so its outputs depend on chance and on the batch."
        step = "Call model.eval() and make the report again."
        report.find("wrong", text, "summary", step)
    else:
        text = "The model is in evaluation mode"
        if classes > 1 and subject.class_names is not None and len(subject.class_names) == classes:
            text += f" and has a name for each of its {classes} outputs"
        report.find("fine", f"{text}.", "summary")
    if subject.untrained:
        text = "The weights are random: nothing was learnt, so no map here means anything."
        report.find("wrong", text, "summary", "Load trained weights (--weights).")
    if subject.class_names is not None and classes and len(subject.class_names) != classes:
        text = f"There are {len(subject.class_names)} class names for {classes} outputs"
        text += ": names may stand for the wrong classes."
        report.find("wrong", text, "summary", "Give one name for each output, in order.")
    if classes < 2:
        return
    best = [_strongest(audited, photo, 1)[0] for photo in range(len(audited.photos))]
    shares = [audited.share(photo, index) for photo, index in enumerate(best)]
    doubtful = [
        f"{short(name)} ({short(subject.class_name(index))} {percent(share)})"
        for name, index, share in zip(audited.photos.names, best, shares, strict=True)
        if share < SURE
    ]
    numbers = {"least_probability": min(shares), "photos_below_half": float(len(doubtful))}
    if doubtful:
        text = f"The network is not sure of {listed(doubtful)}: its strongest class has less than "
        text += "half of the probability."
        step = "Check these predictions yourself: a map only explains what the network said."
        report.find("unsure", text, "summary", step, **numbers)
    else:
        text = "In every photo the strongest class has more than half of the probability."
        step = "High probability does not mean right: measure accuracy on labelled photos."
        report.find("fine", text, "summary", step, **numbers)


def _tabulate(audited: Audited, report: Report) -> None:
    if audited.predicted is None:
        explained = audited.explained
        found = zip(audited.photos.names, explained.names, explained.scores, strict=True)
        columns = [Column("photo"), Column("explained"), Column("score", number=True)]
        report.tabulate("explained", "What is explained.", columns, [list(row) for row in found])
        return
    columns = [Column("photo"), *Column.numbers("rank"), Column("class")]
    columns += [*Column.numbers("index", "output", "probability"), Column("explained")]
    rows: list[list[Cell]] = []
    for photo, name in enumerate(audited.photos.names):
        outputs, target = audited.predicted.outputs[photo], audited.targets[photo]
        for rank, index in enumerate(_strongest(audited, photo, TOP), 1):
            label, share = audited.subject.class_name(index), audited.share(photo, index)
            marked = "yes" if index == target else ""
            rows.append([name, rank, label, index, float(outputs[index]), share, marked])
    report.tabulate("predictions", audited.predicted.rule, columns, rows)


SECTION = Section("summary", "Model and predictions", build)
