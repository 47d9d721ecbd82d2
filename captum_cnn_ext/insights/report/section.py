"""A section of the report: a key, a title and a function that builds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.insights.report.blocks import SectionContent

if TYPE_CHECKING:
    from captum_cnn_ext.insights.report.context import AuditContext


def _one_step(context: AuditContext) -> int:
    return 1


@dataclass(frozen=True)
class Section:
    """One independent part of an audit.

    Cost: what ``build`` costs; a section that raises is shown as failed and the others go on.

    Args:
        key: short name, unique in a report, used for links and for ``sections=``.
        title: heading.
        build: makes the content from the audit's context (model, inputs, predictions, layers).
            It may keep arrays with ``context.keep`` and time methods with ``context.timed``.
        steps: how many progress steps ``build`` reports with ``context.step``; a section that
            reports none counts as one.
        open: whether readers see it at once; long and technical ones open with a click.

    Raises:
        ValueError: the key is not made of lower-case letters, digits and underscores.

    Example::

        >>> from captum_cnn_ext.insights import Section, SectionContent, Text
        >>> def build(context):
        ...     return SectionContent([Text(f"{len(context.photos.names)} photos")])
        >>> Section("count", "How many photos", build).key
        'count'
    """

    key: str
    title: str
    build: Callable[[AuditContext], SectionContent]
    steps: Callable[[AuditContext], int] = _one_step
    open: bool = True

    __repr__ = brief

    def __post_init__(self) -> None:
        plain = self.key.isascii() and self.key.replace("_", "a").isalnum() and self.key.islower()
        if not plain:
            raise ValueError(
                f"key={self.key!r}: expected lower-case letters, digits and underscores, because "
                "it becomes part of links"
            )
