"""Where two models look: their maps beside each other, and how far these agree."""

from torch import Tensor

from captum_cnn_ext import metrics
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.pictures import heat_picture
from captum_cnn_ext.insights.report.audited import Audited, Rival
from captum_cnn_ext.insights.report.blocks import Block, Cell, Column, Panels, Picture, Text
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.work import Work
from captum_cnn_ext.insights.sections.attributions import batch_code
from captum_cnn_ext.insights.wording import listed
from captum_cnn_ext.methods import LAYER, KnownMethod, call_of

KEY = "against"
HERE, THERE = "this model", "the other"
PREFERRED = ("LayerHiResCam", "LayerGradCam")
METHODS = 2
ALIKE = 0.5  # a mean rank correlation below is worth a look


def same_outputs(audited: Audited, rival: Rival) -> bool:
    """Whether both models have the same number of classes, or the same other targets."""
    ours, theirs = audited.predicted, rival.predicted
    if ours is None or theirs is None:
        return ours is theirs
    return ours.outputs.shape[1] == theirs.outputs.shape[1]


def blocks(audited: Audited, report: Report, work: Work, rival: Rival) -> list[Block]:
    """Maps at each model's deepest layer: pictures, and a table of rank correlations."""
    here, there = audited.layers[-1].name, rival.layers[-1].name
    same = same_outputs(audited, rival)
    other, theirs = rival.subject.model, rival.photos.inputs
    found: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    for known in _methods(audited):
        with work.listening(f"{known.name}, both models"):
            try:
                ours = call_of(known, audited.model, audited.inputs, [here], audited.seed)
                others = call_of(known, other, theirs, [there], audited.seed)
                one = ours.maps(audited.inputs, audited.targets)
                two = others.maps(theirs, rival.explained.targets)
            except (ArgumentError, AssertionError, ValueError):
                continue  # it fits only one of the layers
        likeness = metrics.rank_correlation(
            metrics.as_maps(one, audited.inputs), metrics.as_maps(two, audited.inputs)
        )
        found[known.name] = one, two, likeness
        report.keep(f"against/{known.name}", two, f"{known.name} of {THERE} at {there}")
        report.keep(f"against/{known.name}/likeness", likeness, "rank correlation of the maps")
    if not found:
        return [Text("No method of this report fits both models' layers.", "note")]
    rows: list[list[Cell]] = [
        [name, method, round(float(likeness[photo]), 3)]
        for photo, name in enumerate(audited.photos.names)
        for method, (_, _, likeness) in found.items()
    ]
    columns = [Column("photo"), Column("method"), Column("rank correlation", number=True)]
    table = report.tabulate("against_maps", "", columns, rows)
    _find(report, found)
    words = (
        f"{HERE.capitalize()} at {here}, {THERE} at {there}, for "
        + ("what is explained. " if same else "each model's own strongest class. ")
        + "The rank correlation says how far the pixels stand in the same order: 1 the same, 0 "
        "nothing in common. Maps are signed and enlarged to the input's size."
    )
    pictures = [
        Panels(name, _pictures(audited, rival, found, photo), together=2)
        for photo, name in enumerate(audited.photos.names)
    ]
    return [Text(words), table, *pictures]


def _methods(audited: Audited) -> list[KnownMethod]:
    fitting = [m for m in audited.methods if m.at == LAYER and not m.noisy]
    return sorted(fitting, key=lambda method: method.name not in PREFERRED)[:METHODS]


def _pictures(
    audited: Audited,
    rival: Rival,
    found: dict[str, tuple[Tensor, Tensor, Tensor]],
    photo: int,
) -> list[Picture]:
    pictures = []
    load = f"{rival.code}\nx = torch.from_numpy(arrays['against/inputs']).to(x)\n"
    sides = (
        (HERE, audited.subject, audited.photos, audited.layers, "", audited.explained),
        (THERE, rival.subject, rival.photos, rival.layers, load, rival.explained),
    )
    known = {method.name: method for method in audited.methods}
    for method, maps in found.items():
        for (side, subject, photos, layers, begin, explained), heat in zip(
            sides, maps[:2], strict=True
        ):
            call = call_of(known[method], subject.model, photos.inputs, [layers[-1].name])
            code = batch_code(call, photo, len(photos), explained, subject)
            pictures.append(
                heat_picture(
                    photos.inputs[photo],
                    heat[photo],
                    subject.mean,
                    subject.std,
                    alt=f"{method} of {side} on {photos.names[photo]}",
                    title=f"{method}, {side}",
                    code=begin + code,
                    boxes=explained.box(photo),
                )
            )
    return pictures


def _find(report: Report, found: dict[str, tuple[Tensor, Tensor, Tensor]]) -> None:
    means = {method: float(likeness.mean()) for method, (_, _, likeness) in found.items()}
    apart = [f"{method} ({value:.2f} of 1)" for method, value in means.items() if value < ALIKE]
    if apart:
        text = f"The two models look at different places, by {listed(apart)}."
        report.find("unsure", text, KEY, "Compare their maps below.", **means)
    else:
        text = "The two models look at much the same places"
        words = listed([f"{method} {value:.2f} of 1" for method, value in means.items()])
        report.find("fine", f"{text} ({words}).", KEY, "", **means)
