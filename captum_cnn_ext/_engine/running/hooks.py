"""Hooks on a network's sites for the length of one forward pass, and the early end of it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from captum_cnn_ext._engine.judging.arguments import ArgumentError, root_module, runnable
from captum_cnn_ext._engine.running.call_counts import static_call_counts
from captum_cnn_ext._engine.running.layer_sites import Site, warn_last_call
from captum_cnn_ext._engine.running.put_back import Undo


@dataclass
class Probe:
    """What was seen at one site: one part for each thread, as DataParallel has for replicas."""

    site: Site
    expected_calls: int | None
    parts: dict[threading.Thread, list[Tensor]] = field(default_factory=dict)
    calls: dict[threading.Thread, int] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """No later call can matter."""
        last = self.expected_calls if self.site.call is None else self.site.call + 1
        return last is not None and self.calls.get(threading.current_thread(), 0) >= last


class Stop(BaseException):
    """Ends a forward pass early; passes a model's own ``except Exception``."""


class StopInWorker(Exception):
    """The same for DataParallel, whose threads re-raise only ``Exception``s."""


def probes_for(
    forward_func: Callable[..., Any],
    sites: Sequence[Site],
    args: tuple[Any, ...],
    *,
    count: bool,
) -> list[Probe]:
    """Probes that know after how many calls nothing more can come, where that can be known."""
    counts: list[int] | None = None
    root = root_module(forward_func)
    # another method of the module may call its layers more often than its forward does
    own = root is not None and runnable(forward_func) in (root, root.forward)
    if count and root is not None and own and any(site.call is None for site in sites):
        counts = static_call_counts(root, [site.module for site in sites], args)
    # A count of 0 was not understood: the layer is called in a way the proxies did not see.
    return [Probe(s, (counts[i] or None) if counts else None) for i, s in enumerate(sites)]


@contextmanager
def observed(
    probes: Sequence[Probe], gradients: bool, stop_early: bool, parallel: bool
) -> Iterator[None]:
    """Hooks on every site's module for the length of the block."""
    owner, lock = threading.current_thread(), threading.Lock()

    def see(probe: Probe, value: Any) -> Any:
        thread = threading.current_thread()
        if thread != owner and not parallel:
            return value  # another thread's forward through the same model
        with lock:
            call = probe.calls.get(thread, 0)
            probe.calls[thread] = call + 1
        if probe.site.call not in (None, call):
            return value
        leaves, tree = tree_flatten(value)
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        if not places:
            raise ArgumentError(
                f"layer {probe.site.name!r}: expected a tensor or a collection of tensors as its "
                f"{'input' if probe.site.at_input else 'output'}, got {type(value).__name__}"
            )
        if gradients:
            torch.set_grad_enabled(True)  # from here on; the surrounding mode puts it back
        kept = [_kept(leaves[i], gradients) for i in places]
        with lock:
            earlier = probe.parts.get(thread, []) if probe.site.every else []
            probe.parts[thread] = earlier + kept
            finished = stop_early and all(p.done for p in probes)
        if finished:
            raise StopInWorker() if parallel else Stop()
        for place, tensor in zip(places, kept, strict=True):
            leaves[place] = tensor.clone()
        return tree_unflatten(leaves, tree)

    def before(probe: Probe) -> Callable[..., Any]:
        return lambda _, args, kwargs: see(probe, (args, kwargs))

    def after(probe: Probe) -> Callable[..., Any]:
        return lambda _, __, output: see(probe, output)

    undo = Undo()
    with undo, undo:
        for probe in probes:
            at_input = probe.site.at_input
            see_it = before(probe) if at_input else after(probe)
            undo.hook(probe.site.module, see_it, before=at_input)
        yield


def _kept(tensor: Tensor, gradients: bool) -> Tensor:
    """What is recorded of a tensor: itself in the graph, or a leaf where the graph begins."""
    if not gradients:
        return tensor.detach()
    if tensor.requires_grad:
        return tensor
    return leaf_of(tensor.detach())


def leaf_of(tensor: Tensor) -> Tensor:
    """The beginning of a graph, where the tensor can have a gradient."""
    return tensor.requires_grad_() if tensor.is_floating_point() or tensor.is_complex() else tensor


def check_reached(probes: Sequence[Probe]) -> None:
    for probe in probes:
        site, calls = probe.site, max(probe.calls.values(), default=0)
        if site.every:
            continue
        if not probe.parts and calls:
            raise ArgumentError(
                f"call={site.call}: layer {site.name!r} was called {calls} time(s) in one forward "
                f"pass; expected a call from 0 to {calls - 1}"
            )
        if not probe.parts:
            raise ArgumentError(
                f"layer {site.name!r}: not reached in the forward pass of this model with these "
                "inputs; choose a layer that is called (traced and scripted models call none, nor "
                "do parts that torch.compile wraps)"
            )
        warn_last_call(site, calls)
