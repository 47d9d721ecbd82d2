"""Everything that a call must leave as it found it."""

import random
from contextlib import contextmanager

import numpy as np
import torch

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_state_dict_hooks",
)


def _tensor_state(tensor):
    return (
        id(tensor),
        tensor._version,
        tensor.requires_grad,
        None if tensor.grad is None else tensor.grad.clone().tolist(),
        tensor._backward_hooks,
        tensor.detach().cpu().clone().double().nan_to_num(nan=12345.0).tolist()
        if tensor.numel() < 10_000
        else float(tensor.detach().double().sum()),
    )


def _state(model, tensors):
    random_state = np.random.get_state()  # noqa: NPY002
    return {
        "hooks": {
            name: {h: list(getattr(module, h)) for h in _HOOKS if getattr(module, h, None)}
            for name, module in model.named_modules()
        },
        "modes": {name: module.training for name, module in model.named_modules()},
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "parameters": {name: _tensor_state(p) for name, p in model.named_parameters()},
        "buffers": {
            name: (id(b), b.clone().double().tolist()) for name, b in model.named_buffers()
        },
        "tensors": [_tensor_state(t) for t in tensors],
        "torch rng": torch.get_rng_state().tolist(),
        "cuda rng": [s.tolist() for s in torch.cuda.get_rng_state_all()]
        if torch.cuda.is_available()
        else None,
        "python rng": random.getstate(),
        "numpy rng": (random_state[1].tolist(), random_state[2]),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
    }


@contextmanager
def nothing_left_behind(model, *tensors):
    """Fail when anything about the model, the tensors or the process has changed."""
    before = _state(model, tensors)
    try:
        yield
    finally:
        after = _state(model, tensors)
        changed = [key for key in before if before[key] != after[key]]
        assert not changed, f"changed by the call: {changed}"
