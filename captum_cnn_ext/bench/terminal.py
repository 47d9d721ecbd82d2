"""Results as a narrow table for a terminal; files keep the whole one."""

from collections.abc import Sequence

from captum_cnn_ext.bench.results import Results
from captum_cnn_ext.bench.table import JUDGES, methods_in_order, summarize, verdict
from captum_cnn_ext.bench.variants import photo_of

HEADINGS = ("method", "passes", "insertion - deletion", "ROAD", "beats a blob?")
EXPLAINED = (
    "passes: the time of a map, in forward passes of the network; the median of the images.",
    "insertion - deletion: the score, of a class its probability, while the pixels that the map",
    "ranks highest come into a blurred photo, minus that while they go; means over all steps.",
    "ROAD: half of the score without the pixels that it ranks lowest minus that without the",
    "highest; holes are filled in from around them. Of both, more is better.",
    "beats a blob? The same for a blob in the centre (gaussian), which does not look at the",
    "network; two answers, by insertion - deletion and by ROAD, where these disagree.",
)
BEATS = {"better": "yes", "worse": "worse", "not better": "not decided", "": "-"}


def aligned(rows: Sequence[Sequence[str]], numbers: int) -> str:
    """Rows below their headings; ``numbers`` columns after the first are to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if 0 < place <= numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def text(results: Results) -> str:
    """The table of `markdown` with five of its columns, for a terminal."""
    summary, settings = summarize(results), results.settings
    images = {image for cells in results.cells.values() for image in cells}
    photos = {photo_of(image) for image in images}
    rows: list[Sequence[str]] = [HEADINGS]
    for method in methods_in_order(summary):
        row = summary[method]
        words = [BEATS[verdict(row.get(f"{judge}_over_gaussian"))] for judge in JUDGES]
        scores = (f"{row[judge].mean:.3f}" for judge in JUDGES)
        rows.append((method, f"{row['passes']:.1f}", *scores, " / ".join(dict.fromkeys(words))))
    lines = [
        f"{settings.get('model')}, layer {settings.get('layer')}: {_count(images, 'image')} from "
        f"{_count(photos, 'photo')}",
        "",
        aligned(rows, 3),
        "",
        *EXPLAINED,
    ]
    if len(photos) < 10:
        lines.append(f"{_count(photos, 'photo')} can mislead: give ten or more with --images.")
    lines += [
        f"{method} failed on {_count(range(row['failed']), 'image')}: {row['error'][0]}"
        for method, row in summary.items()
        if row["failed"]
    ]
    return "\n".join(lines)


def _count(things: object, word: str) -> str:
    number = len(things)  # type: ignore[arg-type]
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
