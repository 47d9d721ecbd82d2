"""End a computation of this thread at its next tensor operation, whatever it computes."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode


class Stopped(BaseException):
    """Somebody asked for the computation to end; passes a model's own ``except Exception``."""


class Stoppable(TorchFunctionMode):
    """While the block runs, ``stop()`` is asked before each tensor operation of this thread.

    Works for our methods, Captum's and the user's model alike, without a hook on the model; other
    threads that use the same model go on. A backward pass is one operation. It ends the computation
    once: what takes back the changes to the model afterwards uses tensors too.

    Raises:
        Stopped: in the block, when ``stop()`` is true.
    """

    def __init__(self, stop: Callable[[], bool]) -> None:
        super().__init__()
        self._stop = stop
        self._ended = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if not self._ended and self._stop():
            self._ended = True
            raise Stopped("stopped")
        return func(*args, **(kwargs or {}))
