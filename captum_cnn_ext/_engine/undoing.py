"""Take back what was done to a model, also when Ctrl-C comes in the middle of taking it back."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn


class Undo:
    """Steps that are taken back, last first, when the block ends.

    Use it twice, ``with undo, undo:``. An interrupt can end any line, the first one of an
    ``__exit__`` too; the second exit then finishes what the first left. For the same reason a
    step is noted before the thing is done, and may be run more than once.
    """

    def __init__(self) -> None:
        self._steps: list[Callable[[], Any]] = []

    def later(self, step: Callable[[], Any]) -> None:
        """Note how to take back what comes next."""
        self._steps.append(step)

    def hook(self, module: nn.Module, hook: Callable[..., Any], *, before: bool = False) -> None:
        """Call ``hook`` at the module's calls: with its output, or before with its inputs."""
        self.later(partial(_unhook, module, hook))
        if before:
            module.register_forward_pre_hook(hook, with_kwargs=True)
        else:
            module.register_forward_hook(hook)

    def __enter__(self) -> "Undo":
        return self

    def __exit__(self, *_: object) -> None:
        while self._steps:
            self._steps[-1]()
            self._steps.pop()


def _unhook(module: nn.Module, hook: Callable[..., Any]) -> None:
    """Remove a hook by itself: its handle is lost where an interrupt comes with it."""
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        for key in [key for key, own in hooks.items() if own is hook]:
            module._forward_pre_hooks_with_kwargs.pop(key, None)
            hooks.pop(key, None)
