"""Derivatives of derivatives, and attention that has them."""

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from captum_cnn_ext.errors import ArgumentError

# what PyTorch says of an operation that can be differentiated once only
_ONCE_ONLY = re.compile(r"double backward|differentiate twice|derivative for .* is not implemented")
NOT_TWICE = (
    "layer: an operation between it and the target's score has no second derivative, which this "
    "method needs ({why}); choose a later layer, or a method of first derivatives such as "
    "LayerHiResCam"
)


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


def derivative_along(gradient: Tensor, tensor: Tensor) -> Tensor:
    """The derivative of ``gradient`` with respect to ``tensor`` along ``tensor``: H A."""
    if not gradient.requires_grad:
        return torch.zeros_like(gradient)
    try:
        (product,) = torch.autograd.grad(
            gradient, tensor, tensor.detach(), retain_graph=True, allow_unused=True
        )
    except RuntimeError as error:
        if not isinstance(error, NotImplementedError) and not _ONCE_ONLY.search(str(error)):
            raise
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArgumentError(NOT_TWICE.format(why=why)) from error
    return torch.zeros_like(gradient) if product is None else product
