"""How much memory a forward pass needs: its largest tensor, which bounds how many rows to run."""

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class Widest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the largest tensor that an operation gives: of the whole pass, and since a mark."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.whole = self.since = 0

    def mark(self) -> None:
        """What ``since`` counts begins here."""
        self.since = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_flatten(result)[0]:
            if isinstance(leaf, Tensor):
                # an expanded tensor has more elements than memory
                held = min(leaf.nbytes, leaf.untyped_storage().nbytes())
                self.whole, self.since = max(self.whole, held), max(self.since, held)
        return result
