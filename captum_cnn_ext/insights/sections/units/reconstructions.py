"""What the strongest units of each layer saw, back in pixels."""

from __future__ import annotations

from captum_cnn_ext.insights.pictures import figure_picture
from captum_cnn_ext.insights.reconstructing import reconstructed, saturates
from captum_cnn_ext.insights.report.blocks import Block, Group, SectionContent, Text
from captum_cnn_ext.insights.report.context import AuditContext, MethodParameters, RuleCoverage
from captum_cnn_ext.insights.report.figure_code import scale_code
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.sections.summary import listed
from captum_cnn_ext.render import show_reconstructions

KEY = "reconstructions"
PHOTOS = 2
UNITS = 8
RULES = {
    "deconvnet": "Deconvnet pictures (Zeiler, Fergus 2014): the max-poolings before the layer "
    "remember where in this photo their maxima were.",
    "guided": "Guided pictures (Springenberg et al. 2014): there is no max-pooling before the "
    "layer, without which a deconvnet picture would be much the same for every photo.",
}
CLAMPED = (
    " Units are ranked and taken back from what this activation receives: many reach its ceiling, "
    "where it passes nothing back."
)


def build(context: AuditContext) -> SectionContent:
    """The strongest units of each layer for the first photos; the arrays are kept."""
    shown = min(PHOTOS, len(context.photos))
    which = "each photo" if shown == len(context.photos) else f"the first {shown} photos"
    blocks: list[Block] = [
        Text(
            f"The {UNITS} channels of each layer with the largest maximum in {which}, their "
            "strongest unit taken back to the pixels that made it strong. Over each stand the "
            "channel and the activation, below it the same pixels of the photo. The crops hold "
            "95 % of each picture's energy; a unit may see more. These pictures show what a unit "
            "responds to, not what the network decides by."
        )
    ]
    for layer in context.layers:
        with context.step(f"DeconvNet {layer.name}"):
            blocks.append(Group(layer.label, _at(context, layer.name, layer.shape, shown)))
    _find(context)
    options = f"top={UNITS}, seed='max', the rule named at each layer"
    context.parameters.append(MethodParameters("DeconvNet", "captum-cnn-ext", options))
    return SectionContent(blocks)


def _at(context: AuditContext, layer: str, shape: tuple[int, ...], shown: int) -> list[Block]:
    inputs, subject = context.inputs[:shown], context.subject
    try:
        with context.listening(f"DeconvNet at {layer}"):
            found, rule = reconstructed(context.model, layer, inputs, top=min(UNITS, shape[0]))
    except ValueError as error:  # a layer without maps, or compiled
        return [Text(f"Not drawn: {' '.join(str(error).split())}", "note")]
    for name in ("attributions", "channels", "positions", "values", "boxes"):
        values = getattr(found, name)
        if values is not None:
            context.keep(
                f"reconstructions/{layer}/{name}", values, f"{name} of {rule} pictures at {layer}"
            )
    context.coverage.append(RuleCoverage(layer, rule, found.coverage))
    figure, _ = show_reconstructions(
        inputs,
        found,
        mean=subject.mean,
        std=subject.std,
        row_titles=context.photos.names[:shown],
        crop="energy",
    )
    alt = f"What the strongest units of {layer} saw in {', '.join(context.photos.names[:shown])}"
    before = saturates(context.model, layer)
    options = f"top={min(UNITS, shape[0])}, rule={rule!r}, attribute_to_neuron_input={before}"
    code = (
        "from captum_cnn_ext.attr import DeconvNet\n"
        "from captum_cnn_ext.render import show_reconstructions\n"
        f"found = DeconvNet(model, {layer!r}).reconstruct(x[:{shown}], {options})\n"
        f"figure, _ = show_reconstructions(x[:{shown}], found"
        f"{scale_code(subject.mean, subject.std)}, crop='energy')"
    )
    clamped = CLAMPED if before else ""
    return [Text(RULES[rule] + clamped), figure_picture(figure, alt=alt, code=code)]


def _find(context: AuditContext) -> None:
    """Whether the rule met every rectifier that it had to."""
    if not context.coverage:
        return
    met = max(sum(c.coverage.rectifiers.values()) for c in context.coverage)
    unknown = {name for c in context.coverage for name in c.coverage.unknown}
    numbers = {"rectifiers": float(met), "kinds_unknown": float(len(unknown))}
    if unknown:
        text = f"The pictures of units may be wrong: {listed(sorted(unknown))} may be an activation"
        text += " that the backward rule does not know. Write it with torch's own functions."
        context.find("unsure", text, KEY, **numbers)
    else:
        text = f"The backward rule met all activations up to the deepest layer ({met})."
        context.find("fine", text, KEY, **numbers)


def _steps(context: AuditContext) -> int:
    return len(context.layers)


SECTION = Section(KEY, "What each of these units saw", build, _steps)
