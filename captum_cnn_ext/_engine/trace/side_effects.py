"""What a module's call leaves behind beside its output: its state, and random numbers drawn."""

from operator import is_
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks

from captum_cnn_ext._engine.module_walk import modules_in, tensors_held
from captum_cnn_ext._engine.nested_tensors import PLAIN
from captum_cnn_ext._engine.trace.operation_follower import torch_random_state

_HOOKS = {name for name in vars(nn.Module()) if "_hooks" in name}


def pytorchs_own(root: nn.Module) -> set[nn.Module]:
    """The layers, and sequences of layers, whose calls run PyTorch's own code and no other.

    Such code takes no value out of torch and leaves nothing of what it reads anywhere, writes into
    the layers' parameters and buffers at most, and draws from torch's random numbers only. Hooks of
    the module itself are no part of its forward; those of its parts are.
    """
    own: set[nn.Module] = set()
    if _global_forward_hooks or _global_forward_pre_hooks:
        return own
    hooked: set[nn.Module] = set()
    for module in reversed(
        modules_in(root)
    ):  # parts before what holds them; if not, it is left out
        if module._forward_hooks or module._forward_pre_hooks:
            hooked.add(module)
        kind, parts = type(module), module._modules
        if "forward" in vars(module) or not kind.__module__.startswith("torch.nn.modules."):
            continue
        if not parts or (kind is nn.Sequential and own.issuperset(parts.values())):
            if hooked.isdisjoint(parts.values()):
                own.add(module)
    return own


class Footprint:
    """Taken before a call; ``changed`` after it says whether the output was not all.

    The state is what the modules' attributes hold: other objects, other items in lists and
    dictionaries, or tensors that were written into; and where torch's random numbers are. Those
    of Python and NumPy take longer to look at than most calls, and are their caller's concern.

    Args:
        module: the one that is called.
        pytorchs: whether it is one of PyTorch's own.
    """

    def __init__(self, module: nn.Module, pytorchs: bool) -> None:
        self._find, self._module = tensors_held if pytorchs else _held, module
        self._before = self._find(module)
        self._tensors = [v for v in self._before if isinstance(v, Tensor) and not v.is_inference()]
        self._versions = [tensor._version for tensor in self._tensors]
        self._numbers = torch_random_state()

    @property
    def changed(self) -> bool:
        now = self._find(self._module)
        return (
            len(now) != len(self._before)
            or not all(map(is_, self._before, now))
            or [tensor._version for tensor in self._tensors] != self._versions
            or torch_random_state() != self._numbers
        )


def _held(module: nn.Module) -> list[Any]:
    found: list[Any] = []
    for part in modules_in(module):
        attributes = vars(part)
        found += attributes.values()
        for name, value in attributes.items():
            if type(value) in PLAIN or not isinstance(value, (dict, list, tuple, set)):
                continue
            if value and name not in _HOOKS:
                found += value.values() if isinstance(value, dict) else value
    return found
