"""Attention that can be differentiated twice."""

from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


class TwiceDifferentiable(TorchFunctionMode):
    """Attention by its formula, not by a fused kernel: those have no second derivative.

    For the current thread only, unlike ``torch.nn.attention.sdpa_kernel``, whose switches are the
    whole process's; those are used, and put back, for ``nn.MultiheadAttention`` alone.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_attention_math(*args, **(kwargs or {}))[0]
        if func is F.multi_head_attention_forward:  # calls the kernel out of this mode's sight
            with sdpa_kernel(SDPBackend.MATH):
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))
