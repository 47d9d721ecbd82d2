"""What a module's call leaves behind beside its output: its state, and random numbers drawn."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from captum_cnn_ext._engine.trace.operation_follower import random_state, torch_random_state

_HOOKS = {name for name in vars(nn.Module()) if "_hooks" in name}


class Footprint:
    """Taken before a call; ``changed`` after it says whether the output was not all.

    The state is what the modules' attributes hold: other objects, other items in lists and
    dictionaries, or tensors that were written into.

    Args:
        module: the one that is called.
        forward: its own ``forward``.
    """

    def __init__(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        self._module = module
        self._held = _held(module)
        self._versions = _versions(self._held)
        self._drawn = _drawn_by(module, forward)
        self._numbers = self._drawn()

    @property
    def changed(self) -> bool:
        now = _held(self._module)
        return (
            len(now) != len(self._held)
            or any(one is not other for one, other in zip(self._held, now, strict=True))
            or _versions(now) != self._versions
            or self._drawn() != self._numbers
        )


def _drawn_by(module: nn.Module, forward: Callable[..., Any]) -> Callable[[], tuple[Any, ...]]:
    """Where the random numbers are that its call may draw: PyTorch's own layers take torch's."""
    kind = type(module)
    own = kind.__module__.startswith("torch.nn.modules.") and not module._modules
    own = own and getattr(forward, "__func__", None) is kind.forward
    return torch_random_state if own else random_state


def _held(module: nn.Module) -> list[Any]:
    found: list[Any] = []
    for part in module.modules():
        for name, value in vars(part).items():
            if name not in _HOOKS:
                found.append(value)
                if isinstance(value, dict):
                    found.extend(value.values())
                elif isinstance(value, (list, tuple, set)):
                    found.extend(value)
    return found


def _versions(held: list[Any]) -> list[int]:
    return [v._version for v in held if isinstance(v, Tensor) and not v.is_inference()]
