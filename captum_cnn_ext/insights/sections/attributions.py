"""Where in each photo the evidence for a class is, by several methods side by side."""

from __future__ import annotations

from torch import Tensor

from captum_cnn_ext._engine.arguments import ArgumentError
from captum_cnn_ext.insights.blocks import (
    Block,
    Facts,
    Group,
    Listing,
    Panels,
    SectionContent,
    Text,
)
from captum_cnn_ext.insights.catalogue import INPUT
from captum_cnn_ext.insights.context import AuditContext, MethodParameters, Problem
from captum_cnn_ext.insights.methods import Method, as_maps, methods_at
from captum_cnn_ext.insights.pictures import (
    STRONGEST_SHARE,
    heat_picture,
    heat_scale,
    photo_picture,
)
from captum_cnn_ext.insights.section import Section
from captum_cnn_ext.insights.sections.summary import percent

Maps = dict[str, dict[str, Tensor]]  # where -> method -> (N, C, h, w)


def methods_of(context: AuditContext) -> dict[str, list[Method]]:
    """All methods of this section: those of the input, of each layer, of the layers joined."""
    layers = [layer.name for layer in context.layers]
    return methods_at(context.model, context.inputs, layers, layers, context.methods)


def build(context: AuditContext) -> SectionContent:
    """Run every method, keep its maps, and draw them photo by photo."""
    maps: Maps = {}
    left_out: dict[str, list[str]] = {}
    for where, methods in methods_of(context).items():
        maps[where] = {}
        for method in methods:
            place = "" if where == INPUT else where
            with context.step(f"{method.name} {place}".strip()):
                reason = _run(context, method, where, maps[where])
            if reason:
                left_out.setdefault(f"{method.name}: {reason}", []).append(where)
    methods_run = _each_once(context)
    context.parameters += [MethodParameters(m.name, m.origin, m.parameters) for m in methods_run]
    blocks: list[Block] = [
        Text(
            "Each picture shows one method's positive evidence for the class in the heading, over "
            "the grey photo. Evidence is about the class score, the network's output before any "
            "softmax. The maps of a layer have that layer's resolution and are enlarged "
            "bilinearly."
        ),
        heat_scale("no positive evidence", "strongest in this picture"),
        Text(
            f"Every picture has a scale of its own (full colour leaves {STRONGEST_SHARE:g} % of "
            "its total beyond), so strengths cannot be compared between pictures; the file of "
            "arrays has the numbers, signed and unscaled."
        ),
    ]
    blocks.append(Facts([(method.name, method.known.idea) for method in methods_run]))
    if left_out:
        items = [f"{text} (at {', '.join(places)})" for text, places in left_out.items()]
        blocks.append(Listing("Not drawn", items))
    for photo, name in enumerate(context.photos.names):
        with context.step(f"drawing {name}"):
            blocks.append(_photo(context, photo, maps))
    return SectionContent(blocks)


def _run(context: AuditContext, method: Method, where: str, found: dict[str, Tensor]) -> str | None:
    """Run a method and keep its maps; where it cannot be run, the reason."""
    try:
        place = "" if where == INPUT else where
        result = context.timed(method.name, method.origin, place, method.attribute)
        found[method.name] = as_maps(result, len(context.photos))
    except (ArgumentError, AssertionError, ValueError) as error:  # it does not fit this network
        text = " ".join(str(error).split()) or type(error).__name__
        return text.removeprefix(f"layer {where!r}: ")
    except Exception as error:
        context.problems.append(Problem(f"attributions, {method.name} at {where}", error))
        return f"failed with {type(error).__name__}: {' '.join(str(error).split())}"
    place = "input values" if where == INPUT else f"layer {where}"
    context.keep(f"attributions/{where}/{method.name}", result, f"{method.name} by {place}")
    return None


def _each_once(context: AuditContext) -> list[Method]:
    """Each method once, however many layers it runs at."""
    every = [method for methods in methods_of(context).values() for method in methods]
    return list({method.name: method for method in every}.values())


def _photo(context: AuditContext, photo: int, maps: Maps) -> Group:
    subject, name = context.subject, context.photos.names[photo]
    target = context.targets[photo]
    label, share = subject.class_name(target), percent(context.share(photo, target))
    image = context.inputs[photo]
    original = photo_picture(
        image,
        subject.mean,
        subject.std,
        alt=f"{name} as the network gets it",
        title="Input",
    )
    rows: list[Block] = [Panels("The input", [original])]
    for where, found in maps.items():
        pictures = [
            heat_picture(
                image,
                attribution[photo],
                subject.mean,
                subject.std,
                alt=f"{method} for {label} on {name}, {where}",
                title=method,
            )
            for method, attribution in found.items()
        ]
        if where == INPUT:
            rows[0] = Panels("At the input", [original, *pictures])
        elif pictures:
            labels = {layer.name: layer.label for layer in context.layers}
            rows.append(Panels(f"At {labels.get(where, where)}", pictures))
    return Group(f"{name}: {label} {share}", rows)


def _steps(context: AuditContext) -> int:
    return sum(len(methods) for methods in methods_of(context).values()) + len(context.photos)


SECTION = Section("attributions", "Attributions", build, _steps)
