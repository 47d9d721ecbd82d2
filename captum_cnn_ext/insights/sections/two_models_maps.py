"""Where two models look: their maps beside each other, and how far these agree."""

from __future__ import annotations

from torch import Tensor

from captum_cnn_ext import metrics
from captum_cnn_ext._engine.judging.arguments import ArgumentError
from captum_cnn_ext.insights.pictures import heat_picture
from captum_cnn_ext.insights.report.blocks import Block, Cell, Column, Panels, Picture, Text
from captum_cnn_ext.insights.report.context import AuditContext, Rival
from captum_cnn_ext.insights.sections.attributions import batch_code
from captum_cnn_ext.insights.sections.summary import listed
from captum_cnn_ext.methods import LAYER, KnownMethod, call_of

KEY = "against"
HERE, THERE = "this model", "the other"
PREFERRED = ("LayerHiResCam", "LayerGradCam")
METHODS = 2
ALIKE = 0.5  # a mean rank correlation below is worth a look


def same_outputs(context: AuditContext, rival: Rival) -> bool:
    """Whether both models have the same number of classes."""
    return context.predicted.outputs.shape[1] == rival.predicted.outputs.shape[1]


def rival_targets(context: AuditContext, rival: Rival) -> list[int]:
    """The classes explained of the second model: the same ones, where it has the same."""
    if same_outputs(context, rival):
        return context.targets
    return [int(index) for index in rival.predicted.probabilities.argmax(1)]


def blocks(context: AuditContext, rival: Rival) -> list[Block]:
    """Maps at each model's deepest layer: pictures, and a table of rank correlations."""
    here, there = context.layers[-1].name, rival.layers[-1].name
    same = same_outputs(context, rival)
    targets = rival_targets(context, rival)
    other, theirs = rival.subject.model, rival.photos.inputs
    found: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    for known in _methods(context):
        with context.listening(f"{known.name}, both models"):
            try:
                ours = call_of(known, context.model, context.inputs, [here], context.seed)
                others = call_of(known, other, theirs, [there], context.seed)
                one, two = ours.maps(context.inputs, context.targets), others.maps(theirs, targets)
            except (ArgumentError, AssertionError, ValueError):
                continue  # it fits only one of the layers
        likeness = metrics.rank_correlation(
            metrics.as_maps(one, context.inputs), metrics.as_maps(two, context.inputs)
        )
        found[known.name] = one, two, likeness
        context.keep(f"against/{known.name}", two, f"{known.name} of {THERE} at {there}")
        context.keep(f"against/{known.name}/likeness", likeness, "rank correlation of the maps")
    if not found:
        return [Text("No method of this report fits both models' layers.", "note")]
    rows: list[list[Cell]] = [
        [name, method, round(float(likeness[photo]), 3)]
        for photo, name in enumerate(context.photos.names)
        for method, (_, _, likeness) in found.items()
    ]
    columns = [Column("photo"), Column("method"), Column("rank correlation", number=True)]
    table = context.tabulate("against_maps", "", columns, rows)
    _find(context, found)
    words = (
        f"{HERE.capitalize()} at {here}, {THERE} at {there}, for "
        + ("the explained class. " if same else "each model's own strongest class. ")
        + "The rank correlation says how far the pixels stand in the same order: 1 the same, 0 "
        "nothing in common. Maps are signed and enlarged to the input's size."
    )
    pictures = [
        Panels(name, _pictures(context, rival, found, photo))
        for photo, name in enumerate(context.photos.names)
    ]
    return [Text(words), table, *pictures]


def _methods(context: AuditContext) -> list[KnownMethod]:
    fitting = [m for m in context.methods if m.at == LAYER and not m.noisy]
    return sorted(fitting, key=lambda method: method.name not in PREFERRED)[:METHODS]


def _pictures(
    context: AuditContext,
    rival: Rival,
    found: dict[str, tuple[Tensor, Tensor, Tensor]],
    photo: int,
) -> list[Picture]:
    pictures = []
    load = f"{rival.code}\nx = torch.from_numpy(arrays['against/inputs']).to(x)\n"
    targets = context.targets, rival_targets(context, rival)
    sides = (
        (HERE, context.subject, context.photos, context.layers, "", targets[0]),
        (THERE, rival.subject, rival.photos, rival.layers, load, targets[1]),
    )
    known = {method.name: method for method in context.methods}
    for method, maps in found.items():
        for (side, subject, photos, layers, begin, classes), heat in zip(
            sides, maps[:2], strict=True
        ):
            call = call_of(known[method], subject.model, photos.inputs, [layers[-1].name])
            code = batch_code(call, photo, len(photos), classes, subject)
            pictures.append(
                heat_picture(
                    photos.inputs[photo],
                    heat[photo],
                    subject.mean,
                    subject.std,
                    alt=f"{method} of {side} on {photos.names[photo]}",
                    title=f"{method}, {side}",
                    code=begin + code,
                )
            )
    return pictures


def _find(context: AuditContext, found: dict[str, tuple[Tensor, Tensor, Tensor]]) -> None:
    means = {method: float(likeness.mean()) for method, (_, _, likeness) in found.items()}
    apart = [f"{method} ({value:.2f} of 1)" for method, value in means.items() if value < ALIKE]
    if apart:
        text = f"The two models look at different places, by {listed(apart)}."
        context.find("unsure", text, KEY, "Compare their maps below.", **means)
    else:
        text = "The two models look at much the same places"
        words = listed([f"{method} {value:.2f} of 1" for method, value in means.items()])
        context.find("fine", f"{text} ({words}).", KEY, "", **means)
