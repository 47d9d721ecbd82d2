"""Each class in a row: how often it is found, and what the tests of shortcuts say of it."""

from __future__ import annotations

from captum_cnn_ext.evidence import Shortcuts, Suspect
from captum_cnn_ext.evidence.shortcuts.suspects import is_other_side, with_part
from captum_cnn_ext.insights.dataset.audited import AuditedData
from captum_cnn_ext.insights.dataset.scores import ClassScore
from captum_cnn_ext.insights.dataset.sections.shortcuts import HOW_OFTEN
from captum_cnn_ext.insights.report.blocks import Block, Cell, Column, SectionContent, Table, Text
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.wording import shown

SHOWN = 20  # rows on the page
SHORTCUT, OPEN, NONE, UNTESTED = "shortcut", "not decided", "none found", "not tested"
OTHER = "see the other class"  # of two
WORST_FIRST = (SHORTCUT, OTHER, OPEN, UNTESTED, NONE)
COLUMNS = [
    Column("class"),
    Column("shortcut", tones={SHORTCUT: "error", OTHER: "warning", OPEN: "warning", NONE: "fine"}),
    Column("found (95% interval)"),
    Column("images", number=True),
    Column("what, and what it does"),
]


def build(audited: AuditedData, report: Report) -> SectionContent:
    """The table, worst first, and how often its verdicts are wrong."""
    tests = audited.shortcuts if isinstance(audited.shortcuts, Shortcuts) else None
    scores = [s for s in audited.scores if s.images]
    rows = sorted(((_verdict(tests, s.index), s) for s in scores), key=_rank)
    cells: list[list[Cell]] = [
        [audited.classes[s.index], said, shown(s.recall), s.images, _what(tests, s.index, said)]
        for said, s in rows
    ]
    caption = "Found: the share of the class's images that the model assigns to it."
    if len(cells) > SHOWN:
        caption += f" The first {SHOWN} of {len(cells)} classes; by_class.csv has all."
    report.tabulate("by_class", caption, COLUMNS, cells)
    blocks: list[Block] = [Table(caption, COLUMNS, cells[:SHOWN])]
    return SectionContent([*blocks, Text(HOW_OFTEN)] if tests is not None else blocks)


def _rank(row: tuple[str, ClassScore]) -> tuple[int, float]:
    return WORST_FIRST.index(row[0]), row[1].recall.mean


def _verdict(tests: Shortcuts | None, label: int) -> str:
    if tests is None or label not in tests.classes:
        return UNTESTED
    said = {one.verdict for one in _of_class(tests, label)}
    if SHORTCUT not in said and is_other_side(tests, label):
        return OTHER
    return SHORTCUT if SHORTCUT in said else OPEN if OPEN in said else NONE


def _what(tests: Shortcuts | None, label: int, verdict: str) -> str:
    """The most telling thing of a class, in a line."""
    if tests is None:
        return ""
    if verdict == UNTESTED:
        return "too few images that it gets right, or not chosen"
    if verdict == OTHER:
        return "it lacks what the other class is recognised by"
    own = _of_class(tests, label)
    if not own:
        return "nothing that was tried turns other images into it"
    first = own[0]
    text = with_part(first) + _effect(first)
    return f"{text}; it may be the object itself" if first.verdict == "strategy" else text


def _of_class(tests: Shortcuts, label: int) -> list[Suspect]:
    """The suspects that name this class, the most telling one first."""
    return [one for one in tests.suspects if one.named == label]


def _effect(one: Suspect) -> str:
    does = f"put into other images it turns {one.flips:.0%} of them"
    if one.held_by is not None:
        does = f"without it {one.flips:.0%} of its images turn into the other class"
    return f": {does} ({one.null:.0%} by chance, p = {one.p_corrected:.3f})"


SECTION = Section("by_class", "Class by class", build)
