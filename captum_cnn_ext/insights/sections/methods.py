"""Each method's cost, and how far its maps name what the score needs, beside two controls."""

import torch
from torch import Tensor

from captum_cnn_ext import metrics
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import (
    Cell,
    Column,
    Facts,
    Fold,
    SectionContent,
    Text,
    Tone,
)
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.method_maps import MethodMaps
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.report.work import Work
from captum_cnn_ext.insights.wording import counted, listed
from captum_cnn_ext.methods import INPUT, Call

KEY = "methods"
ENOUGH, PHOTOS = 6, 8  # photos that can decide at 5 %, and the most that are looked at
FEW = 2  # photos for a first impression, where there are not enough to decide
STEPS = 8
LEVEL = 0.05
GAUSSIAN, RANDOM = "baseline: blob in the centre", "baseline: random numbers"
CONTROLS = {GAUSSIAN: "Gaussian", RANDOM: "random"}  # names of their arrays


def build(audited: Audited, maps: MethodMaps, report: Report, work: Work) -> SectionContent:
    """Insertion and deletion of the maps at the input and at the deepest layer."""
    photos = min(PHOTOS if len(audited.photos) >= ENOUGH else FEW, len(audited.photos))
    inputs = audited.inputs[:photos]
    targets = audited.explained.rows(slice(photos), inputs)
    controls = {
        GAUSSIAN: metrics.gaussian_map(inputs),
        RANDOM: metrics.random_map(inputs, audited.seed),
    }
    areas: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}
    given: dict[tuple[str, str], Tensor] = {("", name): map_ for name, map_ in controls.items()}
    methods: dict[tuple[str, str], Call] = {}
    for where, method in maps.judged:
        found = maps.of(where, method)
        if found is not None:
            given[where, method.name], methods[where, method.name] = found[:photos], method
    for place, map_ in given.items():
        with work.step(f"insertion and deletion, {place[1]}"):
            curves = metrics.insertion_and_deletion(
                audited.model, inputs, map_, targets, steps=STEPS
            )
            areas[place] = curves[0].area, curves[1].area
    quality = {place: up - down for place, (up, down) in areas.items()}
    blob = metrics.as_maps(controls[GAUSSIAN], inputs)
    rows: list[list[Cell]] = []
    scores = {place: round(float(value.mean()), 4) for place, value in quality.items()}
    for where, name in sorted(areas, key=lambda place: -scores[place]):
        up, down = areas[where, name]
        used = methods.get((where, name))
        difference = (quality[where, name] - quality["", GAUSSIAN]).mean()
        like = metrics.rank_correlation(metrics.as_maps(given[where, name], inputs), blob).mean()
        rows.append(
            [
                name,
                _judged(quality, where, name),
                where or "",
                _rounded(maps.passes(where, name)) if used else None,
                round(float(up.mean()), 4),
                round(float(down.mean()), 4),
                scores[where, name],
                None if name == GAUSSIAN else round(float(difference), 4),
                None if name == GAUSSIAN else round(float(like), 3),
            ]
        )
        report.keep(
            f"faithfulness/{where or 'control'}/{CONTROLS.get(name, name)}",
            [up.tolist(), down.tolist()],
            f"areas under insertion and deletion of the first {photos} photo(s)",
        )
    _find(report, quality)
    return SectionContent(
        [
            *[Text(text) for text in _words(photos, audited.explained.of_classes)],
            report.tabulate("methods", "", _columns(), rows).on_page(join=True),
            Fold(
                "What one map of one photo costs",
                [Facts([(name, method.known.cost) for (_, name), method in methods.items()])],
            ),
        ]
    )


def _words(photos: int, of_classes: bool) -> list[str]:
    score, short = ("class score", "class's probability") if of_classes else ("score", "score")
    which = "the first photo" if photos == 1 else f"the first {photos} photos"
    return [
        f"A map is faithful if the places it marks are those that the {score} depends on. Two "
        "tests ask the network itself. Insertion starts from a blurred photo and puts the "
        f"strongest places of the map back: the sooner the {short} rises, the better "
        "(a larger area under the curve). Deletion takes them out of the photo: the sooner the "
        f"{short} falls, the better (a smaller area). The number here is insertion minus "
        "deletion.",
        "Two baselines do not use the network: a blob in the centre, and random numbers. A "
        "useful map beats both. Beating the blob is hard where the object is in the centre, as in "
        "most photos; a map that looks much like the blob may only say so.",
        f"{STEPS} steps on {which}, for maps of the input and of the deepest layer. The verdict "
        f"is given only where chance alone would seldom give it ({LEVEL:.0%}, by flipping the "
        f"signs of the differences photo by photo), which takes {ENOUGH} photos. For a ranking of "
        "methods on many images, run captum-cnn-ext bench.",
    ]


BETTER, WORSE, OPEN = "beats both baselines", "worse than a baseline", "not decided"


def _columns() -> list[Column]:
    tones: dict[str, Tone] = {BETTER: "fine", WORSE: "warning"}
    columns = [Column("method"), Column("verdict", tones=tones), Column("at")]
    columns += [Column("passes", number=True, shown=False)]
    titles = ["insertion ↑", "deletion ↓", "score ↑", "above the blob", "likeness to the blob"]
    return [*columns, *Column.numbers(*titles)]


def _judged(quality: dict[tuple[str, str], Tensor], where: str, name: str) -> str:
    """What the photos decide of one map."""
    if not where:
        return ""
    own = quality[where, name]
    signs = [decided(own - quality["", control]) for control in (GAUSSIAN, RANDOM)]
    return BETTER if min(signs) > 0 else WORSE if min(signs) < 0 else OPEN


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _find(report: Report, quality: dict[tuple[str, str], Tensor]) -> None:
    """What the photos decide: which maps beat both controls, and which lose to one."""
    blob, chance = quality["", GAUSSIAN], quality["", RANDOM]
    found = {_label(*place): value for place, value in quality.items() if place[0]}
    if not found:
        return
    numbers = {"gaussian": float(blob.mean()), "random": float(chance.mean())}
    numbers |= {label: float(value.mean()) for label, value in found.items()}
    verdicts = {_label(*place): _judged(quality, *place) for place in quality if place[0]}
    better, worse, rest = (
        [label for label, verdict in verdicts.items() if verdict == wanted]
        for wanted in (BETTER, WORSE, OPEN)
    )
    photos = counted(len(blob), "photo")
    if worse:
        text = f"{listed(worse)}: on these {photos} less faithful than a baseline that knows "
        text += "nothing of the network."
        step = "Do not rely on these maps; use a method that beats both baselines."
        report.find("unsure", text, KEY, step, **numbers)
    if better:
        text = f"{listed(better)}: on these {photos} more faithful than both baselines."
        report.find("fine", text, KEY, "Prefer these maps.", **numbers)
    if rest:
        text = f"Whether the maps of {listed(rest)} are more faithful than the two baselines: "
        text += f"{photos} did not decide it. "
        text += f"Give {ENOUGH} or more." if len(blob) < ENOUGH else "Give more photos."
        report.unchecked.append(text)


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


def _steps(maps: MethodMaps) -> int:
    return len(maps.judged) + 2


SECTION = Section(KEY, "Are the maps faithful?", build, _steps)
