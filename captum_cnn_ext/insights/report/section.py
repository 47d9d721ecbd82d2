"""A section of the report: a key, a title, and a function that says what it reads."""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import SectionContent
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.method_maps import MethodMaps
from captum_cnn_ext.insights.report.work import Work


@dataclass(frozen=True)
class AuditContext:
    """All that a section may read, by the names of its parameters.

    Args:
        audited: model, photos, predictions, layers, methods: what was asked.
        maps: the maps of the methods, each made once.
        report: what goes into the report: findings, arrays, tables.
        work: progress, times, warnings.
    """

    audited: Audited
    maps: MethodMaps
    report: Report
    work: Work

    __repr__ = brief

    def call(self, function: Callable[..., Any]) -> Any:
        """``function`` with those parts that its parameters name."""
        names = inspect.signature(function).parameters
        if not set(names) <= set(PARTS):  # the spelling of 0.1: one context
            return function(self)
        return function(**{name: getattr(self, name) for name in names})

    def __getattr__(self, name: str) -> Any:
        """The spelling of 0.1: ``context.photos`` for ``audited.photos``, and so on."""
        for part in ("audited", "report", "work"):
            if hasattr(self.__dict__.get(part), name):
                return getattr(self.__dict__[part], name)
        raise AttributeError(name)


PARTS = tuple(AuditContext.__annotations__)


def _one_step() -> int:
    return 1


@dataclass(frozen=True)
class Section:
    """One independent part of an audit.

    Cost: what ``build`` costs; a section that raises is shown as failed and the others go on.

    Args:
        key: short name, unique in a report, used for links and for ``sections=``.
        title: heading.
        build: makes the content. It is given what its parameters name: ``audited`` (model, photos,
            predictions, layers), ``maps`` (the methods' maps), ``report`` (``report.keep`` an
            array, ``report.tabulate`` a table, ``report.find`` a sentence for its top),
            ``work`` (``work.step`` of the progress bar, ``work.timed``).
        steps: how many progress steps ``build`` reports with ``work.step``, from the same
            parameters; a section that reports none counts as one.
        open: whether readers see it at once; long and technical ones open with a click.

    Raises:
        ValueError: the key is not made of lower-case letters, digits and underscores, or ``build``
            or ``steps`` has a parameter that is none of these.

    Example::

        >>> from captum_cnn_ext.insights import Section, SectionContent, Text
        >>> def build(audited, report):
        ...     report.keep("photos/mean", audited.inputs.mean((1, 2, 3)), "mean of each input")
        ...     return SectionContent([Text(f"{len(audited.photos)} photos")])
        >>> Section("count", "How many photos", build).key
        'count'
    """

    key: str
    title: str
    build: Callable[..., SectionContent]
    steps: Callable[..., int] = _one_step
    open: bool = True

    __repr__ = brief

    def __post_init__(self) -> None:
        plain = self.key.isascii() and self.key.replace("_", "a").isalnum() and self.key.islower()
        if not plain:
            raise ValueError(
                f"key={self.key!r}: expected lower-case letters, digits and underscores, because "
                "it becomes part of links"
            )
        for role in ("build", "steps"):
            names = list(inspect.signature(getattr(self, role)).parameters)
            unknown = [name for name in names if name not in PARTS]
            if unknown and len(names) > 1:
                raise ValueError(
                    f"{role}: has a parameter {unknown[0]!r}; expected any of {', '.join(PARTS)}"
                )
            if unknown:
                warnings.warn(
                    f"{role}({unknown[0]}): name what it reads, any of {', '.join(PARTS)}; one "
                    "context for all is the spelling of 0.1 and goes away in the next version",
                    DeprecationWarning,
                    stacklevel=3,
                )
