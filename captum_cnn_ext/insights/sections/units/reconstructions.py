"""What activated the strongest channels of each layer, as pixels."""

from captum_cnn_ext.insights.pictures import drawn, scale
from captum_cnn_ext.insights.reconstructing import reconstructed, saturates
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import Block, Group, SectionContent, Text
from captum_cnn_ext.insights.report.findings import MethodParameters, Report, RuleCoverage
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.report.work import Work
from captum_cnn_ext.insights.wording import listed
from captum_cnn_ext.methods.call import MODEL, X
from captum_cnn_ext.methods.expression import Script, imported

KEY = "reconstructions"
PHOTOS = 2
UNITS = 8
RULES = {
    "deconvnet": "Made by a deconvnet (Zeiler, Fergus 2014).",
    "guided": "Made by guided backpropagation (Springenberg et al. 2014). A deconvnet needs "
    "max-pooling to tell photos apart, and there is none before this layer.",
}
CLAMPED = (
    " Responses are measured before the layer's activation function, because many reach its "
    "ceiling."
)


def build(audited: Audited, report: Report, work: Work) -> SectionContent:
    """The strongest units of each layer for the first photos; the arrays are kept."""
    shown = min(PHOTOS, len(audited.photos))
    which = "each photo" if shown == len(audited.photos) else f"the first {shown} photos"
    blocks: list[Block] = [
        Text(
            "A layer has channels, each of which responds to one kind of pattern. Shown are the "
            f"{UNITS} channels of each layer that respond most in {which}. The picture projects "
            "the channel's strongest response back to the pixels that caused it; above it are "
            "the channel's number and that response, below it the matching part of the photo. "
            "These pictures show what a channel responds to, not what the network decides by. (A "
            "crop holds 95 % of the picture's energy; the channel may see more.)"
        )
    ]
    for layer in audited.layers:
        with work.step(f"DeconvNet {layer.name}"):
            blocks.append(
                Group(layer.label, _at(audited, report, work, layer.name, layer.shape, shown))
            )
    _find(report)
    options = f"top={UNITS}, seed='max', the rule named at each layer"
    report.parameters.append(MethodParameters("DeconvNet", "captum-cnn-ext", options))
    return SectionContent(blocks)


def _at(
    audited: Audited, report: Report, work: Work, layer: str, shape: tuple[int, ...], shown: int
) -> list[Block]:
    inputs, subject = audited.inputs[:shown], audited.subject
    try:
        with work.listening(f"DeconvNet at {layer}"):
            found, rule = reconstructed(audited.model, layer, inputs, top=min(UNITS, shape[0]))
    except ValueError as error:  # a layer without maps, or compiled
        return [Text(f"Not drawn: {' '.join(str(error).split())}", "note")]
    for name in ("attributions", "channels", "positions", "values", "boxes"):
        values = getattr(found, name)
        if values is not None:
            report.keep(
                f"reconstructions/{layer}/{name}", values, f"{name} of {rule} pictures at {layer}"
            )
    report.coverage.append(RuleCoverage(layer, rule, found.coverage))
    before, names = saturates(audited.model, layer), list(audited.photos.names[:shown])
    script, method = Script(), imported("captum_cnn_ext.attr.DeconvNet")(MODEL, layer)
    units = script.let(
        "found",
        method.reconstruct(
            X[:shown],
            top=min(UNITS, shape[0]),
            rule=rule,
            attribute_to_neuron_input=before,
        ),
    )
    figure = imported("captum_cnn_ext.render.show_reconstructions")(
        X[:shown],
        units,
        **scale(subject.mean, subject.std),
        row_titles=names,
        crop="energy",
    )[0]
    alt = f"What activates the strongest channels of {layer} in {', '.join(names)}"
    words = Text(RULES[rule] + (CLAMPED if before else ""))
    return [words, drawn(figure, script, alt=alt, found=found, x=audited.inputs)]


def _find(report: Report) -> None:
    """Whether the rule met every rectifier that it had to."""
    if not report.coverage:
        return
    met = max(sum(c.coverage.rectifiers.values()) for c in report.coverage)
    unknown = {name for c in report.coverage for name in c.coverage.unknown}
    numbers = {"rectifiers": float(met), "kinds_unknown": float(len(unknown))}
    if unknown:
        text = f"The pictures of channels may be wrong: {listed(sorted(unknown))} may be an "
        text += "activation function that the method does not know."
        step = "Write it with torch's own functions, or ignore these pictures."
        report.find("unsure", text, KEY, step, **numbers)
    else:
        text = "The pictures of channels take every activation function into account "
        text += f"({met} up to the deepest layer)."
        report.find("fine", text, KEY, "", **numbers)


def _steps(audited: Audited) -> int:
    return len(audited.layers)


SECTION = Section(KEY, "What activates each channel", build, _steps)
