"""Everything that is needed to make this report again."""

from collections.abc import Sequence
from datetime import datetime, timezone

from captum_cnn_ext._engine.fingerprints import fingerprint
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import Block, Cell, Column, Facts, Group, SectionContent
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.manifest import (
    FINGERPRINT,
    device_words,
    software,
    system_words,
)
from captum_cnn_ext.insights.report.section import Section


def build(audited: Audited, report: Report) -> SectionContent:
    """Versions, device, seed, preprocessing, fingerprints, parameters and the list of arrays."""
    blocks: list[Block] = [Facts(_facts(audited))]
    explained = audited.explained
    if report.parameters:
        columns = Column.texts("method", "from", "parameters")
        rows = [(p.method, p.origin, p.parameters) for p in report.parameters]
        blocks.append(
            Group("Parameters of the methods", [report.tabulate("parameters", "", columns, rows)])
        )
    photos: list[Sequence[Cell]] = [
        (name, fingerprint({"": image}), what, target if explained.of_classes else None)
        for name, image, what, target in zip(
            audited.photos.names, audited.inputs, explained.names, explained.targets, strict=True
        )
    ]
    columns = Column.texts("photo", "SHA-256 of the network input", "explained class")
    columns += Column.numbers("index")
    if not explained.of_classes:
        columns, photos = [*columns[:2], Column("explained")], [row[:3] for row in photos]
    blocks.append(Group("Photos", [report.tabulate("photos", "", columns, photos)]))
    columns = Column.texts("array", "shape", "type", "what it is")
    arrays = [
        (name, " × ".join(map(str, array.shape)), str(array.dtype), report.array_words[name])
        for name, array in report.arrays.items()
    ]
    caption = (
        "The first axis is the photo; maps have channels, height and width after it. Attributions "
        "are those of what is explained, signed and not scaled."
    )
    blocks.append(
        Group(
            "Arrays in the file beside this report",
            [report.tabulate("arrays", caption, columns, arrays)],
        )
    )
    return SectionContent(blocks)


def _facts(audited: Audited) -> list[tuple[str, str]]:
    versions = [f"{name} {version}" for name, version in software().items()]
    device = audited.inputs.device
    layers = ", ".join(layer.label for layer in audited.layers)
    command = [("Command", audited.command)] if audited.command else []
    return [
        *command,
        ("Date", datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        ("Software", ", ".join(versions)),
        ("Device", device_words(device)),
        ("Operating system", system_words()),
        ("Seed", f"{audited.seed}, set again before each method"),
        ("Mode of the model", "training" if audited.model.training else "evaluation"),
        ("Preprocessing", audited.subject.preprocessing),
        ("Layers", f"{layers}. {audited.layer_reason}"),
        ("Explained", "as asked for" if audited.target_given else "the strongest class"),
        ("SHA-256 of the weights", audited.weights_sha256),
        ("How fingerprints are made", FINGERPRINT),
    ]


SECTION = Section("settings", "How to make this report again", build, open=False)
