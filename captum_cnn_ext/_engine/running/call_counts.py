"""How often a forward pass calls a layer, found without computing anything.

Stopping a forward pass early is right only if the layer is not called again later. The modules
that contain the layer are copied shallowly and run on ``torch.fx`` proxies; every other module is
replaced by a stub that returns a proxy. The user's model is not touched and nothing is computed.
"""

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn


class _Stub(nn.Module):
    """Stands in for a module: answers any call with a proxy."""

    def __init__(self, tracer: fx.Tracer) -> None:
        super().__init__()
        self.tracer = tracer

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_function", _nothing, (), {})


def _nothing() -> None: ...


_GLOBAL_HOOKS = [
    f"_global_{kind}_hooks" for kind in ("forward", "forward_pre", "backward", "backward_pre")
]


def static_call_counts(
    root: nn.Module, layers: Sequence[nn.Module], args: Sequence[Any]
) -> list[int] | None:
    """The number of calls of each layer in ``root(*args)``, or None where Python cannot tell.

    None when the control flow around the layers depends on values, or when a module around them
    is compiled, scripted or has its ``forward`` replaced. Then the whole forward has to be run.
    """
    if any(getattr(torch.nn.modules.module, name, None) for name in _GLOBAL_HOOKS):
        return None
    wanted = {id(layer) for layer in layers}
    counts = dict.fromkeys(wanted, 0)
    tracer = fx.Tracer()
    tracer.graph, tracer.root = fx.Graph(), nn.Module()
    shadows: dict[int, nn.Module] = {}

    containers: set[int] = set()

    def holds_wanted(module: nn.Module) -> bool:
        if any([holds_wanted(child) for child in module.children()]):
            containers.add(id(module))
        return id(module) in wanted or id(module) in containers

    def count(module: nn.Module, identity: int) -> None:
        def hook(*_: Any) -> None:
            counts[identity] += 1

        module.register_forward_pre_hook(hook)

    def shadow(module: nn.Module) -> nn.Module:
        identity = id(module)
        if identity not in shadows:
            if identity in containers:
                _refuse_unfollowable(module)
                shadows[identity] = twin = _shallow_copy(module)
                for name, child in module._modules.items():
                    twin._modules[name] = child if child is None else shadow(child)
            else:
                shadows[identity] = twin = _Stub(tracer)
            if identity in wanted:
                count(twin, identity)
        return shadows[identity]

    try:
        holds_wanted(root)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            shadow(root)(*(_proxy(tracer, arg) for arg in args))
    except Exception:  # the proxies met code they cannot follow: not an error, only unknown
        return None
    return [counts[id(layer)] for layer in layers]


class _UnfollowableError(Exception):
    """The module's forward cannot be followed by proxies."""


def _refuse_unfollowable(module: nn.Module) -> None:
    """A replaced or scripted forward, or submodules that ``named_modules`` does not see."""
    hidden = [
        item
        for value in vars(module).values()
        if isinstance(value, (list, tuple))
        for item in value
        if isinstance(item, nn.Module)
    ]
    if "forward" in vars(module) or hidden or isinstance(module, torch.jit.ScriptModule):
        raise _UnfollowableError


def _proxy(tracer: fx.Tracer, value: Any) -> Any:
    return tracer.create_proxy("placeholder", "x", (), {}) if isinstance(value, Tensor) else value


def _shallow_copy(module: nn.Module) -> nn.Module:
    """The same class and attributes, without hooks, its containers copied one level deep."""
    twin = module.__class__.__new__(module.__class__)
    for name, value in vars(module).items():
        if name.endswith("_hooks") or "_hooks_" in name:
            value = OrderedDict()
        elif isinstance(value, (dict, list, set)):
            value = copy.copy(value)
        twin.__dict__[name] = value
    return twin
