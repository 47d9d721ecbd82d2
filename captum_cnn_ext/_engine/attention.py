"""Attention that can be differentiated twice."""

from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


class TwiceDifferentiable(TorchFunctionMode):
    """Attention by its formula, not by a fused kernel: those have no second derivative.

    For the current thread only, unlike ``torch.nn.attention.sdpa_kernel``, whose switches are the
    whole process's.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_attention_math(*args, **(kwargs or {}))[0]
        return func(*args, **(kwargs or {}))
