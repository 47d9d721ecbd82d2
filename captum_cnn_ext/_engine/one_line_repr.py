"""What a result is in one line: its fields, with tensors by their shapes."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from torch import Tensor, nn

LONGEST, LONGEST_VALUE = 199, 48


def brief(result: Any) -> str:
    """The ``__repr__`` of a dataclass: one line of less than 200 characters, whatever it holds.

    What the class says in one line itself (its ``__str__``), else its fields, the first ones
    where not all have room: tensors and arrays by type and shape, collections by their length,
    models by their class.
    """
    name = type(result).__name__
    said: Any = type(result).__str__
    own = "\n" if said is object.__str__ else str(result)
    if "\n" not in own:
        return _cut(f"{name}({own})", LONGEST)
    shown: list[str] = []
    for one in fields(result):
        if not one.repr or one.name.startswith("_"):
            continue
        text = f"{one.name}={_value(getattr(result, one.name))}"
        if len(f"{name}({', '.join([*shown, text])}, ...)") > LONGEST:
            shown.append("...")
            break
        shown.append(text)
    return f"{name}({', '.join(shown)})"


def _value(value: Any) -> str:
    if isinstance(value, (Tensor, np.ndarray)):
        kind = str(value.dtype).removeprefix("torch.")
        device = getattr(value, "device", "cpu")
        where = f" on {device}" if str(device) != "cpu" else ""
        return f"{kind} {tuple(value.shape)}{where}"
    if isinstance(value, nn.Module):
        return type(value).__name__
    if isinstance(value, (str, bytes)):
        return _cut(repr(value), LONGEST_VALUE)
    if isinstance(value, (Mapping, Sequence)):
        return _collection(value)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__name__")):
        return str(value.__name__)
    text = " ".join((f"{value:.6g}" if isinstance(value, float) else repr(value)).split())
    return text if len(text) <= LONGEST_VALUE else f"{type(value).__name__}(...)"


def _collection(values: Any) -> str:
    """All of a few short values, else how many there are."""
    if isinstance(values, Mapping):
        words = [f"{_cut(str(key), 24)}: {_value(value)}" for key, value in _first(values.items())]
        text = f"{{{', '.join(words)}}}"
    else:
        words = [_value(value) for value in _first(values)]
        text = ", ".join(words)
        comma = "," * (len(words) == 1)
        text = f"({text}{comma})" if isinstance(values, tuple) else f"[{text}]"
    if len(values) == len(words) and len(text) <= LONGEST_VALUE:
        return text
    return f"{len(values)} {'entries' if isinstance(values, Mapping) else 'items'}"


def _first(values: Any) -> list[Any]:
    return [value for _, value in zip(range(4), values, strict=False)]


def _cut(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 3]}..."
