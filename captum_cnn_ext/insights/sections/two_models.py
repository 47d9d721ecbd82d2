"""Two models, or two checkpoints of one, on the same photos."""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_cnn_ext._engine.fingerprints import fingerprint
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext.attr import LayerFeatureMaps
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence import linear_cka
from captum_cnn_ext.insights.report.audited import Audited, Rival
from captum_cnn_ext.insights.report.blocks import (
    Block,
    Cell,
    Column,
    Facts,
    Group,
    SectionContent,
    Table,
    Text,
)
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.report.work import Work
from captum_cnn_ext.insights.sections import two_models_maps as against_maps
from captum_cnn_ext.insights.sections.two_models_maps import HERE, KEY, THERE, same_outputs
from captum_cnn_ext.insights.wording import listed, percent, short

LAYERS = 12  # whose activations are compared
PHOTOS = 8
POSITIONS = 1024  # examples for the alignment


def build(audited: Audited, report: Report, work: Work) -> SectionContent:
    """Predictions, maps, weights and activations beside each other."""
    rival = audited.rival
    if rival is None:
        return SectionContent([Text("There is no second model to compare with.", "note")])
    with state_as_found(rival.subject.model, [rival.photos.inputs]):
        with work.step("comparing predictions"):
            blocks: list[Block] = [
                _both(audited, report, rival),
                _predictions(audited, report, rival),
            ]
        with work.step("comparing maps"):
            blocks.append(Group("Maps", against_maps.blocks(audited, report, work, rival)))
        with work.step("comparing weights"):
            blocks.append(Group("Weights", _weights(audited, report, rival)))
        with work.step("comparing activations"):
            blocks.append(Group("What the layers see", _activations(audited, report, rival)))
    return SectionContent(blocks)


def _both(audited: Audited, report: Report, rival: Rival) -> Facts:
    subjects = audited.subject, rival.subject
    if rival.subject.untrained:
        text = "The other model's weights are random: comparing with it says nothing."
        report.find("wrong", text, KEY, "Load trained weights.")
    if rival.subject.guess is not None and audited.subject.guess is None:
        text = f"Of the other model: {rival.subject.guess.doubt}"
        report.find("unsure", text, KEY, rival.subject.guess.next_step)
    report.keep("against/inputs", rival.photos.inputs, f"network inputs of {THERE}")
    hashes = audited.weights_sha256, fingerprint(rival.subject.model.state_dict())
    rows = [
        (word, f"{subject.name}, weights: {subject.weights}, SHA-256 {sha[:16]}…")
        for word, subject, sha in zip((HERE, THERE), subjects, hashes, strict=True)
    ]
    notes = [("Notes on " + THERE, "; ".join(rival.subject.notes))] if rival.subject.notes else []
    return Facts([*rows, *notes])


def _predictions(audited: Audited, report: Report, rival: Rival) -> Group:
    if audited.predicted is None or rival.predicted is None:
        return _scores(audited, report, rival)
    same = same_outputs(audited, rival)
    names = rival.subject if rival.subject.class_names is not None or not same else audited.subject
    rows: list[list[Cell]] = []
    apart = []
    for photo, name in enumerate(audited.photos.names):
        here, there = audited.predicted.probabilities[photo], rival.predicted.probabilities[photo]
        best, other = int(here.argmax()), int(there.argmax())
        label, label_there = audited.subject.class_name(best), names.class_name(other)
        agree = best == other if same else label == label_there
        shared = float(there[best]) if same else None
        apart += [] if agree else [f"{short(name)} ({short(label)} or {short(label_there)})"]
        rows.append(
            [
                *(name, label, float(here[best]), label_there, float(there[other]), shared),
                "yes" if agree else "no",
            ]
        )
    columns = [Column("photo"), Column(HERE), Column("probability", number=True)]
    columns += [Column(THERE), Column("its probability", number=True)]
    columns += [Column(f"{THERE}, for the class of {HERE}", number=True), Column("same class")]
    count = len(rows)
    numbers = {"photos": float(count), "same_class": float(count - len(apart))}
    if apart:
        text = f"The two models disagree on {len(apart)} of {count} photos: {listed(apart)}."
        report.find("unsure", text, KEY, "Look at these photos first.", **numbers)
    else:
        text = f"Both models name the same class for {count} of {count} photos."
        report.find("fine", text, KEY, "", **numbers)
    shown = [[_short(cell) for cell in row] for row in rows]
    report.tabulate("against_predictions", "", columns, rows)
    words = f"The same strongest class for {percent((count - len(apart)) / count)} of the photos."
    texts = Column.texts(*(column.title for column in columns))
    return Group("Predictions", [Text(words), Table("", texts, shown)])


def _scores(audited: Audited, report: Report, rival: Rival) -> Group:
    """The score of what is explained, by both models."""
    ours, theirs = audited.explained, rival.explained
    found = zip(audited.photos.names, ours.names, ours.scores, theirs.scores, strict=True)
    rows: list[list[Cell]] = [list(row) for row in found]
    columns = Column.texts("photo", "explained") + Column.numbers(HERE, THERE)
    table = report.tabulate("against_predictions", "", columns, rows)
    lost = [short(str(row[0])) for row in rows if row[2] and not row[3]]
    if lost:
        text = f"What {HERE} finds in {listed(lost)} has no score from {THERE}."
        step = "Look at these photos first."
        report.find("unsure", text, KEY, step, photos=float(len(rows)), lost=float(len(lost)))
    words = f"The score of what is explained, by {HERE} and by {THERE}."
    return Group("Scores", [Text(words), table])


def _short(cell: Cell) -> Cell:
    return percent(cell) if isinstance(cell, float) else cell


def _weights(audited: Audited, report: Report, rival: Rival) -> list[Block]:
    own, other = audited.model.state_dict(), rival.subject.model.state_dict()
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in (own, other)]
    if shapes[0] != shapes[1]:
        shared = sum(shapes[1].get(name) == shape for name, shape in shapes[0].items())
        text = f"The architectures differ: {shared} of {len(own)} tensors have the same name and "
        return [Text(f"{text}shape. Weights are compared where all have.", "note")]
    rows: list[list[Cell]] = []
    for name, tensor in own.items():
        if not tensor.is_floating_point():
            continue
        one, two = tensor.detach().double(), other[name].detach().to(tensor.device).double()
        size, change = float(one.norm()), float((two - one).norm())
        relative = change / size if size else None if change else 0.0
        rows.append([name, tensor.numel(), relative, float((two - one).abs().max())])
    rows.sort(key=lambda row: -_order(row[2]))
    changed = [row for row in rows if row[3]]
    numbers = {"tensors": float(len(rows)), "changed": float(len(changed))}
    if changed:
        text = f"{len(changed)} of {len(rows)} tensors of weights differ; most: {changed[0][0]}."
        report.find("fine", text, KEY, "", **numbers)
    else:
        text = "All weights are the same: these are one model, and the comparison says nothing."
        report.find("unsure", text, KEY, "Check that the right file was given.", **numbers)
    columns = [Column("tensor"), *Column.numbers("values", "relative change", "largest change")]
    words = (
        "Relative change is the length of the difference over the length of the tensor in "
        f"{HERE}: 0 is the same, 1 as far as zero is, √2 what two unrelated tensors of one size "
        "have. Largest change is that of one value."
    )
    shown = [[_digits(cell) for cell in row] for row in rows]
    report.tabulate("against_weights", "", columns, rows)
    return [Text(words), Table(text, columns, shown)]


def _order(value: Cell) -> float:
    return float("inf") if not isinstance(value, (int, float)) else value


def _digits(cell: Cell) -> Cell:
    return float(f"{cell:.3g}") if isinstance(cell, float) else cell


def _activations(audited: Audited, report: Report, rival: Rival) -> list[Block]:
    pairs = _pairs(audited, rival)
    if not pairs:
        return [Text("There are no layers with maps to compare.", "note")]
    count = min(PHOTOS, len(audited.photos))
    first = _maps(audited.model, audited.inputs[:count], [one for one, _ in pairs])
    second = _maps(rival.subject.model, rival.photos.inputs[:count], [two for _, two in pairs])
    rows: list[list[Cell]] = []
    for one, two in pairs:
        a, b = first.get(one), second.get(two)
        if a is None or b is None or a.ndim != 4 or b.ndim != 4:
            continue
        found = _examples(a, b, audited.seed)
        try:
            rows.append([one, two, round(linear_cka(*found), 4), len(found[0])])
        except ArgumentError:  # too few positions
            continue
    columns = Column.texts(f"layer of {HERE}", f"layer of {THERE}")
    columns += Column.numbers("alignment", "positions")
    words = (
        "Linear centred kernel alignment (Kornblith, Norouzi, Lee, Hinton, 2019, "
        "arXiv:1905.00414; unbiased estimate): 1 where two layers see the same up to a rotation "
        "of their channels, about 0 where they have nothing in common. Its examples are positions "
        f"of the maps of {'the photo' if count == 1 else f'{count} photos'}, which depend on each "
        "other: few photos make it rough."
    )
    if not rows:
        return [Text("No pair of layers has enough positions to compare.", "note")]
    return [Text(words), report.tabulate("against_activations", "", columns, rows)]


def _pairs(audited: Audited, rival: Rival) -> list[tuple[str, str]]:
    """Layers of the same name where the models are built alike, else all chosen ones with all."""
    there = {name: type(module) for name, module in rival.subject.model.named_modules()}
    rows = [
        row.name
        for row in audited.table
        if row.calls == 1 and len(row.output_shapes) == 1 and len(row.output_shapes[0]) == 4
    ]
    kinds = dict(audited.model.named_modules())
    alike = [name for name in rows if name in there and isinstance(kinds[name], there[name])]
    if rows and len(alike) == len(rows):
        places = torch.linspace(0, len(alike) - 1, min(LAYERS, len(alike))).round().int().tolist()
        return [(alike[place], alike[place]) for place in places]
    return [(one.name, two.name) for one in audited.layers for two in rival.layers]


def _maps(model: nn.Module, inputs: Tensor, layers: list[str]) -> dict[str, Tensor]:
    names = list(dict.fromkeys(layers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a layer that runs twice is compared at its last call
        found = LayerFeatureMaps(model, names).attribute(inputs)
    return {n: maps for n, maps in zip(names, found, strict=True) if isinstance(maps, Tensor)}


def _examples(one: Tensor, two: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Both maps' features (n, C) at the same positions, on the coarser grid, at most POSITIONS."""
    size = min(one.shape[2], two.shape[2]), min(one.shape[3], two.shape[3])
    parts = []
    for maps in (one, two):
        maps = maps if maps.shape[2:] == size else F.adaptive_avg_pool2d(maps, size)
        parts.append(maps.permute(0, 2, 3, 1).flatten(0, 2))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(parts[0]), generator=generator, device="cpu")[:POSITIONS]
    first, second = (part[chosen.to(part.device)] for part in parts)
    return first, second.to(first.device)


def _steps(audited: Audited) -> int:
    return 4 if audited.rival is not None else 1


SECTION = Section(KEY, "Against another model", build, _steps)
