"""Faces that put the methods together: the audit report, the live explorer, comparisons.

A section of your own is a function that names what it reads: ``audited`` (`Audited`), ``maps``
(`MethodMaps`), ``report`` (`Report`), ``work`` (`Work`). It returns `Text`, `Listing`, `Facts`,
`Table`, `Picture`, `Panels` and `Group` in a `SectionContent`; `figure_picture` turns a matplotlib
figure into a `Picture`.
"""

from captum_cnn_ext.insights.comparison import Comparison, compare
from captum_cnn_ext.insights.dataset.audit import audit_dataset
from captum_cnn_ext.insights.dataset.result import DatasetAudit, SavedDatasetAudit
from captum_cnn_ext.insights.explanation import Explanation, explain
from captum_cnn_ext.insights.explorer import Explorer, explore, unit_gradients
from captum_cnn_ext.insights.gate.check import check
from captum_cnn_ext.insights.gate.outcome import Check, Outcome
from captum_cnn_ext.insights.partners.log_to import log_to
from captum_cnn_ext.insights.pictures import figure_picture
from captum_cnn_ext.insights.report.audit import audit
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import (
    Block,
    Column,
    Facts,
    Group,
    Listing,
    Panels,
    Picture,
    SectionContent,
    Table,
    Text,
)
from captum_cnn_ext.insights.report.findings import Problem, Report
from captum_cnn_ext.insights.report.method_maps import MethodMaps
from captum_cnn_ext.insights.report.result import Audit, SavedAudit
from captum_cnn_ext.insights.report.section import AuditContext, Section
from captum_cnn_ext.insights.report.work import Work
from captum_cnn_ext.insights.sections import SECTIONS, register_section
from captum_cnn_ext.methods import KnownMethod, known_methods

__all__ = [
    "Audit",
    "AuditContext",
    "Audited",
    "Block",
    "Check",
    "Column",
    "Comparison",
    "DatasetAudit",
    "Explanation",
    "Explorer",
    "Facts",
    "Group",
    "KnownMethod",
    "Listing",
    "MethodMaps",
    "Outcome",
    "Panels",
    "Picture",
    "Problem",
    "Report",
    "SECTIONS",
    "SavedAudit",
    "SavedDatasetAudit",
    "Section",
    "SectionContent",
    "Table",
    "Text",
    "Work",
    "audit",
    "audit_dataset",
    "check",
    "compare",
    "explain",
    "explore",
    "figure_picture",
    "known_methods",
    "log_to",
    "register_section",
    "unit_gradients",
]
