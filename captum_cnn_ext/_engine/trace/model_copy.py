"""A copy of a model to run in its place: no hooks, evaluation mode, weights shared or left out."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from captum_cnn_ext._engine.judging.inputs import check_initialised


class _CopyTensors(TorchFunctionMode):
    """While a model is copied: buffers and other tensors become meta tensors or clones."""

    def __init__(self, meta: bool) -> None:
        super().__init__()
        self.meta = meta

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            fresh = torch.empty_like(tensor, device="meta") if self.meta else tensor.clone()
            memo[id(tensor)] = fresh
        return memo[id(tensor)]


def copy_structure(model: nn.Module, meta: bool) -> nn.Module:
    """A copy in evaluation mode: own modules, no hooks, parameters on meta or the model's own."""
    check_initialised(model)
    memo: dict[int, Any] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            memo[id(parameter)] = (
                nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
                if meta
                else parameter
            )
        for name, value in vars(module).items():
            if name.endswith("_hooks"):
                memo[id(value)] = type(value)()
    with _CopyTensors(meta):
        try:
            twin = copy.deepcopy(model, dict(memo))
        except Exception:  # a lock, an open file, a library module: shared instead of copied
            for module in model.modules():
                for name, value in vars(module).items():
                    try:
                        if name != "_modules":
                            copy.deepcopy(value, dict(memo))
                    except Exception:
                        memo[id(value)] = value
            twin = copy.deepcopy(model, memo)
    for module in twin.modules():
        module.training = False
    return twin
