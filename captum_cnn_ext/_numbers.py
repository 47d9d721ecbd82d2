"""Judge the numbers that a user passes: counts, other numbers, seeds. No other file does.

NumPy's numbers and tensors of no dimension are numbers too; ``True``, text and NaN are none.
"""

import math
import operator
from collections.abc import Iterable
from typing import Any

from captum_cnn_ext.errors import ArgumentError


def as_count(parameter: str, value: Any, minimum: int = 1, maximum: int | None = None) -> int:
    """``value`` as an int, if it is an integer from ``minimum`` to ``maximum``."""
    found = whole(value)
    if found is not None and minimum <= found and (maximum is None or found <= maximum):
        return found
    bounds = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    raise ArgumentError(f"{parameter}={value!r}: expected an integer {bounds}")


def as_count_or_none(parameter: str, value: Any, minimum: int = 1) -> int | None:
    """``as_count``, where None has a meaning of its own."""
    found = whole(value)
    if value is None or (found is not None and found >= minimum):
        return found
    raise ArgumentError(
        f"{parameter}={value!r}: expected an integer of at least {minimum}, or None"
    )


def as_number(
    parameter: str,
    value: Any,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    *,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """``value`` as a float, if it is finite and within the bounds; the last two are excluded."""
    found = _real(value)
    if minimum <= found <= maximum and above < found < below:
        return found
    low = f"of at least {minimum:g}" if minimum > -math.inf else ""
    low = f"above {above:g}" if above > -math.inf else low
    high = f"at most {maximum:g}" if maximum < math.inf else ""
    high = f"below {below:g}" if below < math.inf else high
    bounds = " and ".join(filter(None, (low, high)))
    raise ArgumentError(f"{parameter}={value!r}: expected a finite number {bounds}".rstrip())


def as_numbers(parameter: str, values: Iterable[Any], **bounds: float) -> tuple[float, ...]:
    """One number or more, each within the bounds."""
    found = tuple(values) if isinstance(values, Iterable) and not isinstance(values, str) else ()
    if not found:
        raise ArgumentError(f"{parameter}={values!r}: expected at least one number")
    return tuple(as_number(f"{parameter}[{i}]", value, **bounds) for i, value in enumerate(found))


def as_seed(parameter: str, value: Any) -> int:
    """``value`` as an int, if PyTorch's generators take it."""
    found = whole(value)
    if found is None or not -(2**63) <= found < 2**63:
        raise ArgumentError(f"{parameter}={value!r}: expected an integer of 64 bits, such as 0")
    return found


def whole(value: Any) -> int | None:
    """``value`` as an int, or None where it is no integer."""
    if _is_truth(value):
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _real(value: Any) -> float:
    """NaN for what is no number and for what is not finite: no comparison with NaN holds."""
    if _is_truth(value) or isinstance(value, (str, bytes)) or len(getattr(value, "shape", ())):
        return math.nan
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")
