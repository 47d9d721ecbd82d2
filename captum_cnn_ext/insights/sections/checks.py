"""Do the maps change when the network's weights are random?"""

from collections.abc import Callable

from torch import Tensor, nn

from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import (
    Block,
    Cell,
    Column,
    Listing,
    SectionContent,
    Text,
    Tone,
)
from captum_cnn_ext.insights.report.findings import Report, Verdict, error_text
from captum_cnn_ext.insights.report.method_maps import MethodMaps
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.report.work import Work
from captum_cnn_ext.insights.wording import listed
from captum_cnn_ext.methods import INPUT, Call, calls_at
from captum_cnn_ext.metrics import parameter_randomization

KEY = "checks"
PHOTOS = 2
DEAR = 5.0  # forward passes; what costs more is checked on one photo
# of the rank correlation with the trained network's map, when all weights are random
UNCHANGED, LITTLE_CHANGED = 0.8, 0.5
SAME = 0.9  # with the trained network's map, when the classifier alone is random


def build(audited: Audited, maps: MethodMaps, report: Report, work: Work) -> SectionContent:
    """Parameter randomisation of the methods at the input and at the deepest layer."""
    stages = _stages(audited.model)
    columns = [Column("method"), Column("verdict", tones=TONES), Column("at")]
    columns += Column.numbers("photos", *stages)
    columns += [Column("similarity", number=True, shown=False)]
    rows: list[list[Cell]] = []
    failed: list[str] = []
    likenesses: dict[str, list[float]] = {}
    for where, method in maps.judged:
        with work.step(f"randomisation, {method.name}"):
            if maps.of(where, method) is None:
                continue
            dear = (maps.passes(where, method.name) or 0) > DEAR
            photos = 1 if dear else min(PHOTOS, len(audited.photos))
            try:
                found = parameter_randomization(
                    audited.model,
                    _explain(audited, work, where, method),
                    audited.inputs[:photos],
                    layers=list(stages.values()),
                    seed=audited.seed,
                )
            except (ValueError, RuntimeError) as error:
                failed.append(f"{method.name}: {error_text(error)}")
                continue
        likeness = found.rank_correlation.mean(1).tolist()
        similarity = float(found.similarity[-1].mean())
        shown = [round(value, 3) for value in likeness]
        word = _verdict(likeness)
        label = method.name if where == INPUT else f"{method.name} at {where}"
        likenesses[label] = likeness
        rows.append([method.name, word, where, photos, *shown, round(similarity, 3)])
        report.keep(
            f"checks/{where}/{method.name}",
            found.rank_correlation,
            f"rank correlation of {' and of '.join(f'“{name}”' for name in stages)}",
        )
    blocks: list[Block] = [
        Text(
            "A map that explains this network must depend on what the network has learnt. So the "
            "weights are replaced by random ones, first those of the last layer (the classifier), "
            "then of the rest, and every map is made again. The numbers say how alike the new map "
            "and the original rank the pixels: 1 is the same ranking, 0 an unrelated one (rank "
            "correlation). Coarse maps agree somewhat by chance: of 7 × 7 positions, up to about "
            "0.5."
        ),
        Text(
            f"The verdict, from all weights random: {LITTLE_CHANGED:g} or more is “{LITTLE}”, "
            f"{UNCHANGED:g} or more “{NOT}”. “{BLIND}”: with the classifier alone random, the "
            f"map stays {SAME:g} or more alike, so it can hardly tell one class from another."
        ),
    ]
    _find(report, likenesses)
    if rows:
        blocks.append(report.tabulate("checks", "", columns, rows).on_page(join=True))
    else:
        blocks.append(Text("No method could be checked.", "note"))
    if failed:
        blocks.append(Listing("Not checked", failed))
    return SectionContent(blocks)


def _stages(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Layers that are randomised together, last first; each column adds to those before it."""
    own = [name for name, m in model.named_modules() if next(m.parameters(False), None) is not None]
    last, *rest = reversed(own)
    half = -(-len(rest) // 2)
    parts = {
        "classifier random": (last,),
        "second half too": tuple(rest[:half]),
        "all weights random": tuple(rest[half:]),
    }
    return {name: layers for name, layers in parts.items() if layers}


def _explain(
    audited: Audited, work: Work, where: str, method: Call
) -> Callable[[nn.Module, Tensor], Tensor]:
    """The method on any copy of the model, with the same random numbers each time."""
    layers = [layer.name for layer in audited.layers]

    def explain(model: nn.Module, inputs: Tensor) -> Tensor:
        places = calls_at(model, audited.inputs, layers, layers, [method.known], audited.seed)
        targets = audited.explained.rows(slice(len(inputs)), inputs)
        with work.listening(f"{method.name} with random weights"):
            return places[where][0].attribute(inputs, targets)

    return explain


CHANGES, LITTLE, NOT, BLIND = "changes", "changes little", "does not change", "blind to the class"
TONES: dict[str, Tone] = {CHANGES: "fine", LITTLE: "warning", BLIND: "warning", NOT: "error"}
ADVICE: dict[str, tuple[Verdict, str, str]] = {
    NOT: (
        "wrong",
        "stays the same when all weights are random: it does not explain this network.",
        "Do not use these maps as explanations.",
    ),
    BLIND: (
        "unsure",
        "hardly changes when the classifier is random: it shows what stands out in the photo, not "
        "why this class was chosen.",
        "To compare classes, use a method whose verdict is “changes”.",
    ),
    LITTLE: (
        "unsure",
        "changes little when all weights are random: much of it is the photo itself.",
        "Compare with another method before you rely on it.",
    ),
    CHANGES: ("fine", "changes when the weights are random, as it should.", ""),
}


def _verdict(likeness: list[float]) -> str:
    first, end = abs(likeness[0]), abs(likeness[-1])
    if end >= UNCHANGED:
        return NOT
    if first >= SAME and len(likeness) > 1:
        return BLIND
    return LITTLE if end >= LITTLE_CHANGED else CHANGES


def _find(report: Report, found: dict[str, list[float]]) -> None:
    """One sentence for all methods that came out alike."""
    verdicts = {label: _verdict(likeness) for label, likeness in found.items()}
    for word, (verdict, advice, next_step) in ADVICE.items():
        labels = [label for label in verdicts if verdicts[label] == word]
        numbers = {label: abs(found[label][-1]) for label in labels}
        if labels:
            text = f"{listed(labels)}: the map {advice}"
            report.find(verdict, text, KEY, next_step, **numbers)


def _steps(maps: MethodMaps) -> int:
    return len(maps.judged)


SECTION = Section(KEY, "Sanity check: do the maps depend on the weights?", build, _steps)
