"""What a module's call leaves behind beside its output: its state, and random numbers drawn."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from captum_cnn_ext._engine.following import random_state


class Footprint:
    """Taken before a call; ``changed`` after it says whether the output was not all.

    The state is what the modules' attributes hold: other objects, other items in lists and
    dictionaries, or tensors that were written into.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._state = list(_state(module))
        self._numbers = random_state()

    @property
    def changed(self) -> bool:
        now = list(_state(self._module))
        return (
            len(now) != len(self._state)
            or any(
                one is not other or version != later
                for (one, version), (other, later) in zip(self._state, now, strict=True)
            )
            or random_state() != self._numbers
        )


def _state(module: nn.Module) -> Iterator[tuple[Any, int]]:
    for part in module.modules():
        for value in vars(part).values():
            yield value, _version(value)
            items = value.values() if isinstance(value, dict) else value
            if isinstance(items, (list, tuple, set)) or items is not value:
                yield from ((item, _version(item)) for item in items)


def _version(value: Any) -> int:
    return value._version if isinstance(value, Tensor) and not value.is_inference() else -1
