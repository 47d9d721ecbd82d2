"""How long each method took, compared with a forward pass."""

from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import Column, SectionContent, Text
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.report.work import TIMED_FORWARDS, Work


def build(audited: Audited, report: Report, work: Work) -> SectionContent:
    """Seconds of every method that was timed, and the same in forward passes."""
    if not work.timings:
        return SectionContent([Text("No method was timed in this report.", "note")])
    forward = work.forward_seconds
    photos = "the photo" if len(audited.photos) == 1 else f"all {len(audited.photos)} photos"
    words = Text(
        f"Seconds for {photos} on {audited.inputs.device}, each method run once; and the same in "
        f"forward passes of these photos, of which one takes {forward:.3g} s (median of "
        f"{TIMED_FORWARDS}). One run on a shared machine is no benchmark: read the order of "
        "magnitude."
    )
    rows = [
        (t.method, t.origin, t.layer or "input", round(t.seconds, 3), round(t.seconds / forward, 1))
        for t in work.timings
    ]
    columns = Column.texts("method", "from", "at") + Column.numbers("seconds", "forward passes")
    total = sum(t.seconds for t in work.timings)
    return SectionContent(
        [words, report.tabulate("times", f"{total:.1f} s in all.", columns, rows)]
    )


SECTION = Section("times", "Time taken by each method", build, open=False)
