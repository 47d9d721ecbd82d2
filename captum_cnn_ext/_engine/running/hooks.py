"""Hooks on a network's sites for the length of one forward pass, and the early end of it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.backward.lost_gradient import values_stay
from captum_cnn_ext._engine.judging.arguments import root_module, runnable
from captum_cnn_ext._engine.judging.input_errors import input_errors_explained
from captum_cnn_ext._engine.module_walk import modules_in
from captum_cnn_ext._engine.nested_tensors import with_tensors
from captum_cnn_ext._engine.running.call_counts import static_call_counts
from captum_cnn_ext._engine.running.graph_nodes import NodeLayer
from captum_cnn_ext._engine.running.layer_sites import Site, warn_last_call
from captum_cnn_ext._engine.running.undo import Undo
from captum_cnn_ext.errors import ArgumentError


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
        return with_tensors(value, partial(keep, probe, thread, type(value).__name__))

    def keep(
        probe: Probe, thread: threading.Thread, kind: str, tensors: list[Tensor]
    ) -> list[Tensor]:
        if not tensors:
            raise ArgumentError(
                f"layer {probe.site.name!r}: expected a tensor or a collection of tensors as its "
                f"{'input' if probe.site.at_input else 'output'}, got {kind}"
            )
        if gradients:
            torch.set_grad_enabled(True)  # from here on; the surrounding mode puts it back
        kept = [_kept(tensor, gradients) for tensor in tensors]
        with lock:
            earlier = probe.parts.get(thread, []) if probe.site.every else []
            probe.parts[thread] = earlier + kept
            finished = stop_early and all(p.done for p in probes)
        if finished:
            raise StopInWorker() if parallel else Stop()
        return [tensor.clone() for tensor in kept]

    undo = Undo()
    with undo, undo:
        for probe in probes:
            hook_site(undo, probe.site, partial(see, probe))
        yield


def run_observed(
    forward_func: Callable[..., Any],
    probes: Sequence[Probe],
    args: tuple[Any, ...],
    gradients: bool,
    stop_early: bool,
    parallel: bool,
) -> Any:
    """``forward_func(*args)`` under these probes; None where it was stopped after the last one."""
    with (
        observed(probes, gradients, stop_early, parallel),
        values_stay(),
        input_errors_explained(root_module(forward_func), args),
    ):
        try:
            return runnable(forward_func)(*args)
        except (Stop, StopInWorker):
            return None


def hook_site(undo: Undo, site: Site, see: Callable[[Any], Any]) -> None:
    """``see`` looks at what the site's layer gives, or at the (args, kwargs) that it receives."""
    if site.at_input:
        undo.hook(site.module, lambda _, args, kwargs: see((args, kwargs)), before=True)
    else:
        undo.hook(site.module, lambda _, __, output: see(output))


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


def check_reached(probes: Sequence[Probe], root: nn.Module | None = None) -> None:
    """Refuse sites that the pass of ``root`` did not reach; warn where a layer ran several times.

    Raises:
        ArgumentError: a layer, or that call of it, was not reached.
    """
    for probe in probes:
        site, calls = probe.site, max(probe.calls.values(), default=0)
        if site.every:
            continue
        if not probe.parts and calls:
            raise ArgumentError(
                f"call={site.call}: layer {site.name!r} was called {calls} time(s) in one forward "
                f"pass; expected a call from 0 to {calls - 1}"
            )
        foreign = root is not None and not isinstance(site.module, NodeLayer)
        if not probe.parts and foreign and site.module not in modules_in(root):
            raise ArgumentError(
                f"layer: this {type(site.module).__name__} is not reached, as it is no module of "
                "the model (of a copy of it, of what was traced, or replaced since); pass the "
                "layer's name"
            )
        if not probe.parts:
            raise ArgumentError(
                f"layer {site.name!r}: not reached in the forward pass of this model with these "
                "inputs; choose a layer that is called (traced and scripted models call none, nor "
                "do parts that torch.compile wraps)"
            )
        warn_last_call(site, calls)
