"""How much memory a forward pass needs: the largest output of its modules."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from captum_cnn_ext._engine.nested_tensors import tensors_of_output
from captum_cnn_ext._engine.replay.patching import Around


class Widest:
    """Bytes of the largest tensor that a module gave: in the whole pass, and since a mark."""

    def __init__(self) -> None:
        self.whole = self.since = 0

    def mark(self) -> None:
        """What ``since`` counts begins here."""
        self.since = 0

    def watching(self, around: Around) -> Around:
        """``around``, with every output looked at."""

        def look(module: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            output = around(module, forward, args, kwargs)
            with torch._C.DisableTorchFunction():  # modes that follow the pass need not look
                for tensor in tensors_of_output(output):
                    if tensor.layout == torch.strided:
                        size = tensor.nbytes
                        self.whole, self.since = max(self.whole, size), max(self.since, size)
            return output

        return look
