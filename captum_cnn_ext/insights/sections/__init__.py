"""The sections of a report, in the order in which they are built and shown.

A module that adds a section puts its `Section` into `SECTIONS`, or calls `register_section`.
"""

from collections.abc import Iterable

from captum_cnn_ext.errors import ArgumentError, choose
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.sections import (
    attributions,
    checks,
    graph,
    methods,
    reproducibility,
    structure,
    summary,
    times,
    two_models,
)
from captum_cnn_ext.insights.sections.units import (
    feature_maps,
    filters,
    reconstructions,
    synthesis,
    top_patches,
)

QUICK_SECTIONS = ("summary", "attributions", "against", "structure", "settings")
SECTIONS: list[Section] = [
    summary.SECTION,
    attributions.SECTION,
    methods.SECTION,
    checks.SECTION,
    two_models.SECTION,
    reconstructions.SECTION,
    top_patches.SECTION,
    synthesis.SECTION,
    feature_maps.SECTION,
    graph.SECTION,
    structure.SECTION,
    filters.SECTION,
    times.SECTION,
    reproducibility.SECTION,
]


def register_section(section: Section, *, before: str | None = "times") -> None:
    """Add a section to all reports made from now on; one with the same key is replaced.

    Cost: none until a report is made.

    Args:
        section: what to add.
        before: key of the section that it stands before; None puts it at the end.

    Raises:
        ArgumentError: there is no section ``before``; a ``ValueError``.

    Example::

        >>> from captum_cnn_ext.insights import Section, SectionContent, Text
        >>> from captum_cnn_ext.insights.sections import SECTIONS, register_section
        >>> section = Section("hello", "Hello", lambda: SectionContent([Text("hello")]))
        >>> register_section(section)
        >>> [s.key for s in SECTIONS][-3:]
        ['hello', 'times', 'settings']
        >>> SECTIONS.remove(section)
    """
    keys = [known.key for known in SECTIONS]
    if section.key in keys:
        SECTIONS[keys.index(section.key)] = section
        return
    place = len(keys) if before is None else keys.index(choose("before", before, keys))
    SECTIONS.insert(place, section)


def chosen_sections(
    sections: Iterable[Section | str] | None, comparing: bool = False
) -> list[Section]:
    """The sections meant by keys and sections, in the order given; None means all.

    When two models are compared, the section that does so is among them; else it cannot be.

    Raises:
        ArgumentError: no such key, none at all, one twice, or a comparison with nothing.
    """
    known = {section.key: section for section in SECTIONS}
    compared = two_models.SECTION.key
    if sections is None:
        wanted: list[Section | str] = [s for s in SECTIONS if comparing or s.key != compared]
    else:
        wanted = list(sections)
        if comparing and compared not in wanted and known.get(compared) not in wanted:
            wanted.append(compared)
    if not comparing and compared in wanted:
        raise ArgumentError(f"sections={compared!r}: there is no second model to compare with")
    chosen = [
        known[choose("sections", s, list(known))] if isinstance(s, str) else s for s in wanted
    ]
    keys = [section.key for section in chosen]
    if not keys or len(set(keys)) < len(keys):
        what = f"{keys}, which has one twice" if keys else "none"
        raise ArgumentError(f"sections: got {what}; expected different ones of {list(known)}")
    return chosen
