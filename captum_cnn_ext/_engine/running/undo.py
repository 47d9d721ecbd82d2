"""Take back what was done to a model, also when Ctrl-C comes in the middle of taking it back."""

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import nn

from captum_cnn_ext._engine.running.graph_nodes import NodeLayer, observing_forward


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
        if isinstance(module, NodeLayer):
            self._have_called(module)
        self.later(partial(_unhook, module, hook))
        if before:
            module.register_forward_pre_hook(hook, with_kwargs=True)
        else:
            module.register_forward_hook(hook)

    def replace_forward(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        """Put ``forward`` in the place of the module's own."""
        self.replace_forwards([module], lambda *_: forward)

    def replace_forwards(
        self,
        modules: Iterable[nn.Module],
        stand_in: Callable[[nn.Module, Callable[..., Any]], Callable[..., Any]],
    ) -> None:
        """Put ``stand_in(module, its own forward)`` in the place of each one's own."""
        before: list[tuple[dict[str, Any], Callable[..., Any] | None]] = []
        self.later(partial(_put_all_back, before))
        for module in modules:
            attributes, forward = vars(module), module.forward
            before.append((attributes, attributes.get("forward")))
            attributes["forward"] = stand_in(module, forward)

    def _have_called(self, layer: NodeLayer) -> None:
        """Let a graph module call the layer that stands for its nodes; one thread at a time."""
        self.later(_Lock(_OBSERVING).release)
        layers = getattr(vars(layer.graph_module).get("forward"), "node_layers", ())
        if layer not in layers:
            forward = observing_forward(layer.graph_module, (*layers, layer))
            self.replace_forward(layer.graph_module, forward)

    def __enter__(self) -> "Undo":
        return self

    def __exit__(self, *_: object) -> None:
        while self._steps:
            self._steps[-1]()
            self._steps.pop()


_OBSERVING = threading.RLock()


class _Lock:
    """Holds a lock from its construction; may be released more than once."""

    def __init__(self, lock: Any) -> None:
        self._lock = [lock]
        lock.acquire()

    def release(self) -> None:
        if self._lock:
            self._lock.pop().release()


def _put_all_back(before: list[tuple[dict[str, Any], Callable[..., Any] | None]]) -> None:
    for attributes, forward in before:
        if forward is None:
            attributes.pop("forward", None)
        else:
            attributes["forward"] = forward


def _unhook(module: nn.Module, hook: Callable[..., Any]) -> None:
    """Remove a hook by itself: its handle is lost where an interrupt comes with it."""
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        for key in [key for key, own in hooks.items() if own is hook]:
            module._forward_pre_hooks_with_kwargs.pop(key, None)
            hooks.pop(key, None)
