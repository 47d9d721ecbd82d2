"""What of a result can be logged: a picture, numbers, words, and a page for browsers."""

import io
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from captum_cnn_ext.insights.dataset.result import DatasetAudit
from captum_cnn_ext.insights.explanation import Explanation
from captum_cnn_ext.insights.report.result import Audit

Pictures = Image.Image


@dataclass(frozen=True)
class Loggable:
    """The parts of a result; what it does not have is empty.

    ``words`` are Markdown, ``page`` is HTML or SVG by ``ending``.
    """

    picture: Pictures | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    words: str = ""
    page: str = ""
    ending: str = "html"


def loggable(result: Any) -> Loggable:
    """The parts of any result of this package, as a notebook would show them.

    Raises:
        TypeError: it is none.
    """
    png = getattr(result, "_repr_png_", lambda: None)()
    words = getattr(result, "_repr_markdown_", lambda: "")() or ""
    svg = getattr(result, "_repr_svg_", lambda: None)() or ""
    audited = isinstance(result, (Audit, DatasetAudit))
    if not any(hasattr(result, f"_repr_{kind}_") for kind in ("png", "markdown", "svg")):
        raise TypeError(
            f"result: got {type(result).__name__}, expected what a function of this package "
            "returns and a notebook shows, such as explain's or audit's, or a dict of these"
        )
    return Loggable(
        Image.open(io.BytesIO(png)).convert("RGB") if png else None,
        _numbers(result),
        words or str(result),
        result.to_html() if audited else svg,
        "html" if audited else "svg",
    )


def _numbers(result: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    if isinstance(result, DatasetAudit):
        found["accuracy"] = float(result.records.correct.mean())
    if isinstance(result, (Audit, DatasetAudit)):
        page = result.page if isinstance(result, DatasetAudit) else result
        for verdict in ("wrong", "unsure", "fine"):
            count = sum(one.verdict == verdict for one in page.overview.findings)
            found[f"findings_{verdict}"] = float(count)
    if isinstance(result, Explanation):
        found["probability"] = result.probability
        if result.faithfulness:
            own, *controls = result.faithfulness.values()
            found |= {"faithfulness": own, "faithfulness_over_controls": own - max(controls)}
    if isinstance(area := getattr(result, "area", None), torch.Tensor):
        found["area"] = float(area.mean())
    return found
