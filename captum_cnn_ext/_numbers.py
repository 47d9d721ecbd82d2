"""Judge the numbers that a user passes: counts, other numbers, seeds. No other file does.

NumPy's numbers and tensors of no dimension are numbers too; ``True``, text and NaN are none.
"""

import math
import operator
from collections.abc import Iterable, Sequence
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
    high = f"of {high}" if high and not low else high
    high = f"below {below:g}" if below < math.inf else high
    bounds = " and ".join(filter(None, (low, high)))
    raise ArgumentError(f"{parameter}={value!r}: expected a finite number {bounds}".rstrip())


def as_numbers(parameter: str, values: Any, **bounds: float) -> tuple[float, ...]:
    """One number or several, each within the bounds."""
    if not isinstance(values, Iterable) or isinstance(values, str) or not _ndim(values):
        return (as_number(parameter, values, **bounds),)
    found = tuple(as_number(f"{parameter}[{i}]", v, **bounds) for i, v in enumerate(values))
    if not found:
        raise ArgumentError(f"{parameter}={values!r}: expected at least one number")
    return found


def as_indices(parameter: str, values: Any) -> list[int]:
    """An index or several (a list, a range, a tensor), which may count from the end."""
    listed = values.tolist() if hasattr(values, "tolist") else values
    listed = listed if isinstance(listed, Iterable) and not isinstance(listed, str) else [listed]
    found = [whole(value) for value in listed]
    if not found or None in found:
        raise ArgumentError(f"{parameter}={values!r}: expected an index, or a list of indices")
    return [index for index in found if index is not None]


def as_size(value: int | Sequence[int]) -> tuple[int, int]:
    """(H, W): the last two of any spelling of ``size``."""
    listed = tuple(value)[-2:] if isinstance(value, Sequence) else (value, value)
    if len(listed) != 2:
        raise ArgumentError(f"size={value!r}: expected (H, W)")
    return as_count("size", listed[0]), as_count("size", listed[1])


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
    if _is_truth(value) or isinstance(value, (str, bytes)) or _ndim(value, 0):
        return math.nan
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")


def _ndim(value: Any, plain: int = 1) -> int:
    return len(getattr(value, "shape", (1,) * plain))
