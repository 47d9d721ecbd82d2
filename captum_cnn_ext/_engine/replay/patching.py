"""Stand in for the forward of every module of a model, or for a layer's tensors, for a while."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.backward.activation_checkpoints import refuse_in_checkpoint
from captum_cnn_ext._engine.module_walk import modules_in
from captum_cnn_ext._engine.nested_tensors import with_tensors
from captum_cnn_ext._engine.running.hooks import hook_site
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext._engine.running.undo import Undo

Around = Callable[[nn.Module, Callable[..., Any], Any, Any], Any]
_PATCHING = threading.RLock()  # a module's forward is patched by one thread at a time


def unfollowable(root: nn.Module | None) -> str:
    """Why the module calls of a model cannot be followed, or an empty string."""
    if root is None:
        return "forward_func is not a module"
    if isinstance(root, (torch.jit.ScriptModule, nn.DataParallel)):
        return f"{type(root).__name__} does not call its modules from Python, in this thread"
    if any(["_orig_mod" in module._modules for module in modules_in(root)]):
        return "a part of it is compiled"
    return ""


@contextmanager
def patched(root: nn.Module, around: Around) -> Iterator[None]:
    """``around(module, forward, args, kwargs)`` in place of every module's forward.

    Another thread that runs the model meanwhile gets the forward itself.
    """
    owner = threading.current_thread()

    def stand_in(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not owner:
                return forward(*args, **kwargs)
            return around(module, forward, args, kwargs)

        return call

    undo = Undo()
    with _PATCHING, undo, undo:
        modules = [m for m in modules_in(root) if not isinstance(m, torch.jit.ScriptModule)]
        undo.replace_forwards(modules, stand_in)
        yield


@contextmanager
def layer_hook(site: Site, replace: Callable[[list[Tensor]], list[Tensor]]) -> Iterator[None]:
    """``replace`` in place of the tensors that the site's layer gives, or receives.

    Where gradients are on around the block they are on from there, also in a model's own no_grad.
    """
    owner, gradients = threading.current_thread(), torch.is_grad_enabled()

    def see(value: Any) -> Any:
        if threading.current_thread() is not owner:
            return value
        if gradients:
            refuse_in_checkpoint(site.name)
        if gradients and not torch.is_grad_enabled():
            torch.set_grad_enabled(True)  # until the end of the model's own block
        return with_tensors(value, replace)

    undo = Undo()
    with undo, undo:
        hook_site(undo, site, see)
        yield
