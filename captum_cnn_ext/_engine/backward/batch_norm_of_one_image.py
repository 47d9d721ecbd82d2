"""Right gradients of batch norm for a single image on the CPU."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from captum_cnn_ext._engine.backward.autograd_graph import nodes_before
from captum_cnn_ext._engine.module_walk import modules_in

_NORMS = (F.batch_norm, torch.batch_norm, F.instance_norm, torch.instance_norm)


class OneImageNorms(TorchFunctionMode):
    """Gives batch norm's backward pass a gradient whose layout it reads as meant.

    For one image the strides of a gradient that was made from tokens (``flatten(2)`` and
    ``transpose(1, 2)`` after the norm, as in networks that mix convolutions and attention) fit two
    layouts. PyTorch 2.6 to 2.15 judge the input by one, the gradient by the other, and give wrong
    numbers without a word (two images are right). A copy in an unmistakable layout is not misread.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func in _NORMS and isinstance(found, Tensor) and found.requires_grad:
            if found.ndim > 3 and len(found) == 1:
                last = "batch" in func.__name__ and not _first(args, kwargs).is_contiguous()
                hook = _laid_out_last if last else _laid_out
                found.register_hook(hook)  # type: ignore[no-untyped-call]
        return found


def one_image_norms(
    tensors: Iterable[Any], gradients: bool | None = None
) -> AbstractContextManager[Any]:
    """`OneImageNorms`, if one of the tensors is a single example on the CPU.

    ``gradients`` says whether they are wanted; None asks whether they are on.
    """
    wanted = torch.is_grad_enabled() if gradients is None else gradients
    return OneImageNorms() if wanted and _one_image(tensors) else nullcontext()


def perhaps_without_norms(model: nn.Module | None, tensors: Iterable[Any]) -> bool:
    """Whether `OneImageNorms`, which looks at every operation, may be done without.

    No layer of the model is such a norm; its code may call one, which `passed_norms` tells later.
    """
    own = model is None or any([isinstance(module, _NormBase) for module in modules_in(model)])
    return not own and _one_image(tensors)


def passed_norms(ends: Iterable[Tensor]) -> bool:
    """Whether there is such a norm in the graph of ``ends``."""
    return any(["BatchNorm" in node.name() for node in nodes_before(ends)])


def _one_image(tensors: Iterable[Any]) -> bool:
    given = [t for t in tensors if isinstance(t, Tensor) and t.ndim > 2]
    return any(len(t) == 1 and t.device.type == "cpu" for t in given)


def _first(args: tuple[Any, ...], kwargs: Any) -> Tensor:
    found: Tensor = args[0] if args else kwargs["input"]
    return found


def _laid_out(gradient: Tensor) -> Tensor:
    return gradient.reshape(-1).reshape(gradient.shape)  # not clone: knows no batched seeds


def _laid_out_last(gradient: Tensor) -> Tensor:
    return _laid_out(gradient.movedim(1, -1)).movedim(-1, 1)
