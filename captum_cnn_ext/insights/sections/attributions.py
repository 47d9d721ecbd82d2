"""Where in each photo the evidence for a class is, by several methods side by side."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from captum_cnn_ext.insights.audited_model import AuditedModel
from captum_cnn_ext.insights.pictures import (
    HEAT,
    STRONGEST_SHARE,
    heat_picture,
    heat_scale,
    photo_picture,
    scale,
)
from captum_cnn_ext.insights.predictions import Explained
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import (
    Block,
    Facts,
    Fold,
    Group,
    Listing,
    Panels,
    SectionContent,
    Text,
)
from captum_cnn_ext.insights.report.findings import MethodParameters, Report
from captum_cnn_ext.insights.report.method_maps import MethodMaps, layer_of
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.report.work import Work
from captum_cnn_ext.methods import AT_ONCE, INPUT, Call
from captum_cnn_ext.methods.call import X
from captum_cnn_ext.methods.expression import imported, source, variable

# right most often where the truth is known (benchmarks/README.md), each of another kind; Grad-CAM,
# as people know it, whose map CAM and XGrad-CAM give wherever a layer is pooled and classified
DEFAULT_METHODS = (
    "InputXGradient",
    "Occlusion",
    "LayerGradCam",
    "LayerHiResCam",
    "LayerLayerCam",
    "LayerRefineCam",
)
QUICK_METHODS = ("InputXGradient", "LayerGradCam", "LayerHiResCam", "LayerLayerCam")
SUGGESTED, BESIDE = "LayerHiResCam", ("Occlusion", "InputXGradient")  # shown large for each photo
SAME = 1e-3  # of a map's largest value: closer maps are drawn once
SCORE = {
    True: "the score of the class in the heading, according to one method. The score is the "
    "network's output before any softmax.",
    False: "the score of what is named in the heading, according to one method.",
}
Maps = dict[str, dict[str, Tensor]]  # where -> method -> (N, C, h, w)


def build(audited: Audited, maps: MethodMaps, report: Report, work: Work) -> SectionContent:
    """Run every method, keep its maps, and draw them photo by photo."""
    left_out: dict[str, list[str]] = {}
    for where, calls in maps.calls.items():
        for call in calls:
            with work.step(f"{call.name} {layer_of(where)}".strip()):
                reason = maps.reason(where, call)
            if reason:
                left_out.setdefault(f"{call.name}: {reason}", []).append(where)
    # each once, however many layers it runs at
    methods_run = {call.name: call for calls in maps.calls.values() for call in calls}.values()
    report.parameters += [MethodParameters(m.name, m.origin, m.parameters) for m in methods_run]
    blocks: list[Block] = [
        Text(
            "A map (attribution) marks the places of a photo that raised "
            f"{SCORE[audited.explained.of_classes]} Maps of a layer are as coarse as that layer "
            "and are enlarged to the photo; maps at the input have a value for each pixel. "
            "Methods answer different questions, so expect them to differ; a place that several "
            "of them mark is safer to believe."
        ),
        heat_scale("no evidence for it", "strongest in this picture"),
        Text(
            f"Each picture has its own colour scale (the strongest {STRONGEST_SHARE:g} % are "
            "clipped), so compare places, not strengths, between pictures. The numbers, signed and "
            "unscaled, are in the file of arrays."
        ),
    ]
    described = Facts([(method.name, method.known.idea) for method in methods_run])
    blocks.append(Fold("What each method computes", [described]))
    drawn = maps.by_place()
    if merged := _merged(drawn):
        blocks.append(
            Text(
                f"{merged} gave the same map and are drawn once. This is expected at the last "
                "layer before global pooling and one linear layer, where their formulas agree; at "
                "earlier layers they differ."
            )
        )
    if left_out:
        items = [f"{text} (at {', '.join(places)})" for text, places in left_out.items()]
        blocks.append(Listing("Not drawn", items))
    for photo, name in enumerate(audited.photos.names):
        with work.step(f"drawing {name}"):
            blocks.append(_photo(audited, maps, photo, drawn))
    return SectionContent(blocks)


def batch_code(
    call: Call, photo: int, photos: int, explained: Explained, subject: AuditedModel
) -> str:
    """The batch that the photo was explained in, its maps, and the photo's one drawn."""
    alone = call.reads_scores and not explained.of_classes  # as `Call.attribute` does it
    start = photo if alone else photo - photo % AT_ONCE
    rows = slice(start, start + (1 if alone else AT_ONCE))
    batch = f"x = x[{rows.start}:{rows.stop}]\n" if photos > len(range(photos)[rows]) else ""
    row, box = photo - start, explained.box(photo)
    figure = imported("captum_cnn_ext.render.overlay")(
        X[row],
        variable("heat")[row],
        **scale(subject.mean, subject.std),
        **HEAT,
        **({} if box is None else {"boxes": list(box)}),
    )[0]
    return f"{batch}{explained.code(rows, alone)}\n{call.code}\n\n{source(figure, 'figure')}"


def _photo(audited: Audited, maps: MethodMaps, photo: int, drawn: Maps) -> Group:
    subject, name = audited.subject, audited.photos.names[photo]
    explained = audited.explained
    label, box = explained.names[photo], explained.box(photo)
    image = audited.inputs[photo]
    original = photo_picture(
        X[photo],
        subject.mean,
        subject.std,
        alt=f"{name} as the network gets it",
        title="Input",
        boxes=None if box is None else list(box),
        x=audited.inputs,
    )
    calls = {(where, m.name): m for where, ms in maps.calls.items() for m in ms}
    chosen = _shown_large(audited, drawn)
    main = [original]
    rows: list[Block] = []
    for where, found in drawn.items():
        alike = same_maps(found)
        pictures = [
            heat_picture(
                image,
                attribution[photo],
                subject.mean,
                subject.std,
                alt=f"{' = '.join(names)} for {label} on {name}, {where}",
                title=" = ".join(names),
                code=batch_code(
                    calls[where, method],
                    photo,
                    len(audited.photos),
                    explained,
                    subject,
                ),
                boxes=box,
            )
            for names in alike
            for method, attribution in [(names[0], found[names[0]])]
        ]
        for names, picture in zip(alike, pictures, strict=True):
            if any((where, method) in chosen for method in names):
                place = "" if where == INPUT else f" at {where}"
                main.insert(1, replace(picture, title=picture.title + place))
        labels = {layer.name: layer.label for layer in audited.layers}
        if pictures:
            title = "At the input" if where == INPUT else f"At layer {labels.get(where, where)}"
            rows.append(Panels(title, pictures))
    count = sum(len(row.pictures) for row in rows if isinstance(row, Panels))
    shown: list[Block] = [Panels("", main, medium=True)]
    if count > len(main) - 1:
        shown.append(Fold(f"All {count} maps of this photo", rows))
    return Group(f"{name}: {explained.words[photo]}", shown)


def _shown_large(audited: Audited, maps: Maps) -> list[tuple[str, str]]:
    """The map that is suggested for a first look, and one that asks another way."""
    deepest = maps.get(audited.layers[-1].name, {}) if audited.layers else {}
    first = next((m for m in (SUGGESTED, *deepest) if m in deepest), None)
    chosen = [(audited.layers[-1].name, first)] if first else []
    found = maps.get(INPUT, {})
    other = next((m for m in (*BESIDE, *found) if m in found), None)
    chosen += [(INPUT, other)] if other else []
    return chosen or [(where, m) for where, ms in maps.items() for m in ms][:1]


def same_maps(found: Mapping[str, Tensor]) -> list[list[str]]:
    """Methods whose maps differ by their strength alone, together."""
    groups: list[list[str]] = []
    for name, given in found.items():
        fitting = (g for g in groups if _alike(found[g[0]], given))
        if (group := next(fitting, None)) is not None:
            group.append(name)
        else:
            groups.append([name])
    return groups


def _alike(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    scaled = [maps / maps.abs().flatten(1).amax(1).clamp_min(1e-12).view(-1, 1, 1, 1)
              for maps in (one.double(), other.double())]  # fmt: skip
    return bool((scaled[0] - scaled[1]).abs().max() <= SAME)


def _merged(maps: Maps) -> str:
    """The methods that gave one map somewhere, in words."""
    sets = {tuple(names) for found in maps.values() for names in same_maps(found) if names[1:]}
    return "; ".join(", ".join(names[:-1]) + f" and {names[-1]}" for names in sorted(sets))


def _steps(audited: Audited, maps: MethodMaps) -> int:
    return sum(map(len, maps.calls.values())) + len(audited.photos)


SECTION = Section("attributions", "Where the evidence is", build, _steps)
