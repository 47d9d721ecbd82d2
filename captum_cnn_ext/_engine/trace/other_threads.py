"""Work that a forward pass hands to another thread, where no mode of this thread follows it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

from captum_cnn_ext._engine.running.undo import Undo

Watcher = tuple[int, Callable[[], None]]  # a thread, and what is called when it hands work over

_PLACES: tuple[tuple[Any, str], ...] = (
    (threading.Thread, "start"),
    (ThreadPoolExecutor, "submit"),
)
_LOCK = threading.RLock()
_WATCHERS: list[Watcher] = []
_OWN: dict[tuple[Any, str], Any] = {}  # what was there before, while somebody watches


@contextmanager
def handed_over(note: Callable[[], None]) -> Iterator[None]:
    """In the block, ``note()`` when this thread starts another, or gives a pool something to do."""
    watcher = threading.get_ident(), note
    undo = Undo()
    with undo, undo:
        undo.later(partial(_leave, watcher))
        with _LOCK:
            _WATCHERS.append(watcher)
            for owner, name in _PLACES:
                if (owner, name) not in _OWN:
                    _OWN[owner, name] = getattr(owner, name)
                    setattr(owner, name, _noting(getattr(owner, name)))
        yield


def _noting(own: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(own)
    def call(*args: Any, **kwargs: Any) -> Any:
        for thread, note in tuple(_WATCHERS):
            if thread == threading.get_ident():
                note()
        return own(*args, **kwargs)

    return call


def _leave(watcher: Watcher) -> None:
    with _LOCK:
        if watcher in _WATCHERS:
            _WATCHERS.remove(watcher)
        while not _WATCHERS and _OWN:
            (owner, name), own = next(iter(_OWN.items()))
            setattr(owner, name, own)
            del _OWN[owner, name]
