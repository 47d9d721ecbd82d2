"""Each method's cost, and how far its maps name what the score needs, beside two controls."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from captum_cnn_ext import metrics
from captum_cnn_ext.insights.report.blocks import Cell, Column, Facts, SectionContent, Text
from captum_cnn_ext.insights.report.context import AuditContext
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.sections.attributions import deepest_methods, map_of
from captum_cnn_ext.insights.sections.summary import listed
from captum_cnn_ext.methods import INPUT, Call

KEY = "methods"
ENOUGH, PHOTOS = 6, 8  # photos that can decide at 5 %, and the most that are looked at
FEW = 2  # photos for a first impression, where there are not enough to decide
STEPS = 8
LEVEL = 0.05
GAUSSIAN, RANDOM = "control: Gaussian", "control: random"


def build(context: AuditContext) -> SectionContent:
    """Insertion and deletion of the maps at the input and at the deepest layer."""
    photos = min(PHOTOS if len(context.photos) >= ENOUGH else FEW, len(context.photos))
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
    _find(context, quality)
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
        "deepest layer: too few for a ranking, which captum-cnn-ext bench makes. Whether "
        f"a method beats a control is said where chance alone would seldom say so ({LEVEL:.0%}, by "
        f"flipping the signs of the differences photo by photo), from {ENOUGH} photos on. "
        " Passes are measured time in forward passes of the photos."
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
    """What the photos decide: which maps beat both controls, and which lose to one."""
    hill, chance = quality["", GAUSSIAN], quality["", RANDOM]
    found = {_label(*place): value for place, value in quality.items() if place[0]}
    if not found:
        return
    numbers = {"gaussian": float(hill.mean()), "random": float(chance.mean())}
    numbers |= {label: float(value.mean()) for label, value in found.items()}
    over = {label: (value - hill, value - chance) for label, value in found.items()}
    better = [label for label, both in over.items() if min(map(decided, both)) > 0]
    worse = [label for label, both in over.items() if min(map(decided, both)) < 0]
    rest = [label for label in found if label not in (*better, *worse)]
    if worse:
        text = f"{listed(worse)}: on these {len(hill)} photos less faithful than a map that knows "
        text += "nothing of the network. Prefer another method."
        context.find("unsure", text, KEY, **numbers)
    if better:
        text = f"{listed(better)}: on these {len(hill)} photos more faithful than both controls."
        context.find("fine", text, KEY, **numbers)
    if rest:
        text = f"Whether {listed(rest)} {'is' if len(rest) == 1 else 'are'} more faithful than the "
        text += f"controls: {len(hill)} photo{'s' if len(hill) > 1 else ''} did not decide it"
        text += f" ({ENOUGH} or more can)." if len(hill) < ENOUGH else "."
        context.unchecked.append(text)


def decided(differences: Tensor) -> int:
    """1 or -1 where the photos decide for more or for less, else 0: an exact sign-flip test."""
    flips = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * len(differences)).reshape(
        -1, len(differences)
    )
    sums = flips.double() @ differences.double().cpu()
    total = float(differences.double().sum())
    by_chance = float((sums.abs() >= abs(total) * (1 - 1e-9)).double().mean())
    return 0 if by_chance > LEVEL else int(total > 0) - int(total < 0)


def _label(where: str, name: str) -> str:
    return name if where == INPUT else f"{name} at {where}"


def _steps(context: AuditContext) -> int:
    return len(deepest_methods(context)) + 2


SECTION = Section(KEY, "Methods: cost and faithfulness", build, _steps)
