"""Each method's cost, and how far its maps name what the score needs, beside two controls."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from captum_cnn_ext import metrics
from captum_cnn_ext.insights.report.blocks import Cell, Column, Facts, SectionContent, Text
from captum_cnn_ext.insights.report.context import AuditContext
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.sections.attributions import deepest_methods, map_of
from captum_cnn_ext.insights.sections.summary import listed
from captum_cnn_ext.methods import INPUT, Call

KEY = "methods"
PHOTOS = 2
STEPS = 8
GAUSSIAN, RANDOM = "control: Gaussian", "control: random"


def build(context: AuditContext) -> SectionContent:
    """Insertion and deletion of the maps at the input and at the deepest layer."""
    photos = min(PHOTOS, len(context.photos))
    inputs, targets = context.inputs[:photos], context.targets[:photos]
    controls = {
        GAUSSIAN: metrics.gaussian_map(inputs),
        RANDOM: metrics.random_map(inputs, context.seed),
    }
    areas: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}
    maps: dict[tuple[str, str], Tensor] = {("", name): given for name, given in controls.items()}
    methods: dict[tuple[str, str], Call] = {}
    for where, method in deepest_methods(context):
        found = map_of(context, where, method)
        if found is not None:
            maps[where, method.name], methods[where, method.name] = found[:photos], method
    for place, given in maps.items():
        with context.step(f"insertion and deletion, {place[1]}"):
            curves = metrics.insertion_and_deletion(
                context.model, inputs, given, targets, steps=STEPS
            )
            areas[place] = curves[0].area, curves[1].area
    quality = {place: up - down for place, (up, down) in areas.items()}
    hill = metrics.as_maps(controls[GAUSSIAN], inputs)
    rows: list[list[Cell]] = []
    for (where, name), (up, down) in areas.items():
        used = methods.get((where, name))
        difference = (quality[where, name] - quality["", GAUSSIAN]).mean()
        like = metrics.rank_correlation(metrics.as_maps(maps[where, name], inputs), hill).mean()
        rows.append(
            [
                name,
                where or "",
                _passes(context, where, name) if used else None,
                round(float(up.mean()), 4),
                round(float(down.mean()), 4),
                round(float(quality[where, name].mean()), 4),
                None if name == GAUSSIAN else round(float(difference), 4),
                None if name == GAUSSIAN else round(float(like), 3),
            ]
        )
        context.keep(
            f"faithfulness/{where or 'control'}/{name.removeprefix('control: ')}",
            [up.tolist(), down.tolist()],
            f"areas under insertion and deletion of the first {photos} photo(s)",
        )
    _find(context, {place: value.mean() for place, value in quality.items()})
    return SectionContent(
        [
            Text(_words(photos)),
            context.tabulate("methods", "", _columns(), sorted(rows, key=_worst_last)),
            Text("What one map of one photo costs:"),
            Facts([(name, method.known.cost) for (_, name), method in methods.items()]),
        ]
    )


def _words(photos: int) -> str:
    which = "the first photo" if photos == 1 else f"the first {photos} photos"
    return (
        "A map is faithful if it names early what the score needs. Insertion puts the strongest "
        "pixels of a map into a blurred photo: the sooner the class's probability rises, the "
        "larger its area. Deletion takes them out: the sooner it falls, the smaller its area. A "
        "hill in the middle of the picture and random numbers know nothing of the network; a "
        "method should beat both. A map much like the hill may only say that photographers put "
        f"things in the middle. {STEPS} steps on {which}, with maps of the input and of the "
        "deepest layer: enough to see what is broken, too few for a ranking, which "
        "captum-cnn-ext bench makes. Passes are measured time in forward passes of the photos."
    )


def _columns() -> list[Column]:
    columns = [Column("method"), Column("at"), Column("passes", number=True)]
    columns += [Column("insertion ↑", number=True), Column("deletion ↓", number=True)]
    columns += [Column("difference ↑", number=True), Column("over Gaussian", number=True)]
    return [*columns, Column("like Gaussian", number=True)]


def _worst_last(row: Sequence[Cell]) -> float:
    value = row[5]
    return -value if isinstance(value, (int, float)) else 0.0


def _passes(context: AuditContext, where: str, name: str) -> float | None:
    place = "" if where == INPUT else where
    found = [t.seconds for t in context.timings if t.method == name and t.layer == place]
    return round(found[0] / context.forward_seconds, 1) if found else None


def _find(context: AuditContext, quality: dict[tuple[str, str], Tensor]) -> None:
    scores = {place: float(value) for place, value in quality.items()}
    hill, chance = scores.pop(("", GAUSSIAN)), scores.pop(("", RANDOM))
    if not scores:
        return
    numbers = {"gaussian": hill, "random": chance}
    numbers |= {_label(*place): value for place, value in scores.items()}
    blind = [_label(*place) for place, value in scores.items() if value <= chance]
    weak = [_label(*place) for place, value in scores.items() if chance < value <= hill]
    if blind:
        text = f"{listed(blind)}: on these photos no more faithful than random numbers. Prefer "
        context.find("unsure", f"{text}another method, or judge it on more photos.", KEY, **numbers)
    if weak:
        text = f"{listed(weak)}: on these photos no more faithful than a hill in the middle of "
        context.find("unsure", f"{text}the picture. Prefer another method.", KEY, **numbers)
    best = max(scores, key=lambda place: scores[place])
    if scores[best] > max(hill, chance):
        text = f"{len(scores) - len(blind) - len(weak)} of {len(scores)} maps beat both controls; "
        text += f"most faithful on these photos: {_label(*best)}."
        context.find("fine", text, KEY, **numbers)


def _label(where: str, name: str) -> str:
    return name if where == INPUT else f"{name} at {where}"


def _steps(context: AuditContext) -> int:
    return len(deepest_methods(context)) + 2


SECTION = Section(KEY, "Methods: cost and faithfulness", build, _steps)
