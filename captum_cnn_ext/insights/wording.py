"""Names and numbers in sentences and tables."""

import math
from collections.abc import Sequence

from captum_cnn_ext.metrics import Interval

LONGEST = 60  # letters of a name within a sentence


def short(name: str) -> str:
    """A name that fits into a sentence; tables and captions have it whole."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names in a sentence: the first few, and how many more there are, which is never one."""
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def first_of(items: Sequence[str], most: int) -> list[str]:
    """The first items of a list, and a last one of how many more there are, which is never one."""
    if len(items) <= most + 1:
        return list(items)
    return [*items[:most], f"and {len(items) - most} more"]


def counted(number: int, thing: str) -> str:
    """How many of a thing: 1 photo, 2 photos."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def percent(share: float) -> str:
    """A share as a percentage with one decimal, never rounded to 0 or to 100."""
    if math.isnan(share):
        return "not known"
    if share >= 1 or share <= 0:
        return f"{share:.0%}"
    return "< 0.1%" if share < 0.0005 else "> 99.9%" if share >= 0.9995 else f"{share:.1%}"


def of_images(share: float, count: int) -> str:
    """A share with what it is of: ``38.0% (19 of 50 images)``."""
    if not count or math.isnan(share):
        return "no images"
    things = "image" if count == 1 else "images"
    return f"{percent(share)} ({round(share * count):,} of {count:,} {things})"


def shown(interval: Interval, count: int | None = None) -> str:
    """A share with its interval in words, and how many of how many images it is."""
    if math.isnan(interval.mean):
        return "no images"
    ends = f"{percent(interval.low)} to {percent(interval.high)}"
    if count is None:
        return f"{percent(interval.mean)} ({ends})"
    return f"{of_images(interval.mean, count)[:-1]}; 95% interval {ends})"


def rounded(value: float | None, digits: int = 3) -> float | None:
    """A number for a table; None where there is none."""
    return None if value is None or not math.isfinite(value) else round(float(value), digits)
