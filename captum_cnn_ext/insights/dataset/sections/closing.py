"""What this audit cannot say, and what it was made from and with."""

from __future__ import annotations

from datetime import datetime, timezone

from captum_cnn_ext.insights.dataset.audited import AuditedData
from captum_cnn_ext.insights.report.blocks import Block, Facts, Group, Listing, SectionContent
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.manifest import software, system_words
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.wording import first_of

KEY = "not_checked"
ALWAYS = (
    "Images unlike these: every number holds for the data set that was given, and no further.",
    "Whether the labels are right: check the confident errors.",
    "What the model ignores: a map shows what speaks for the answer, not what was overlooked.",
    "Why it does so: maps and groups of images show where and what, only tests by changed images "
    "say what an answer hangs on.",
)


def build(audited: AuditedData, report: Report) -> SectionContent:
    """The list, then the settings."""
    records = audited.records
    blocks: list[Block] = [Listing("This audit does not say", [*report.unchecked, *ALWAYS], "note")]
    if records.skipped:
        items = [f"{audited.path(n)}: {why}" for n, why in records.skipped]
        one = len(items) == 1
        title = "1 image was left out" if one else f"{len(items):,} images were left out"
        blocks.append(Listing(title, first_of(items, 10), "warning"))
    if records.remarks:
        items = [f"{audited.path(n)}: {why}" for n, why in records.remarks]
        blocks.append(Listing("Masks that could not be used, the first ones", items, "warning"))
    settings = records.settings
    facts = [
        ("Model", audited.subject.name),
        ("Weights", f"{audited.subject.weights}; fingerprint {settings['model']}"),
        ("Preprocessing", audited.subject.preprocessing),
        ("Layer", records.layer),
        ("Images at once", str(settings["batch_size"])),
        ("Number type", settings["autocast"] or "as the model's"),
        ("Seed", str(audited.seed)),
        ("Date", datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        ("Software", ", ".join(f"{name} {version}" for name, version in software().items())),
        ("Operating system", system_words()),
    ]
    blocks.append(Group("Settings", [Facts(facts)]))
    return SectionContent(blocks)


SECTION = Section(KEY, "Not checked", build)
