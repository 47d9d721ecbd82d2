"""Faults put into a call at its k-th module, operation or line, and what must hold afterwards."""

import dis
import gc
import sys
import warnings
from contextlib import contextmanager
from functools import cache

import every_class
import models
import test_contract
import torch
from snapshots import nothing_left_behind
from torch.utils._python_dispatch import TorchDispatchMode

PACKAGE = "captum_cnn_ext"


class Counted:
    """Raises ``error`` at the k-th event; counts them where k is None."""

    def __init__(self, k=None, error=KeyboardInterrupt):
        self.k, self.error, self.count = k, error, 0

    def event(self):
        self.count += 1
        if self.k is not None and self.count - 1 == self.k:
            raise self.error(f"injected at event {self.k}")


@contextmanager
def at_modules(counted):
    """An event before every call of every module, also of a copied one."""
    hook = torch.nn.modules.module.register_module_forward_pre_hook(lambda *_: counted.event())
    try:
        yield
    finally:
        hook.remove()


class _Operations(TorchDispatchMode):
    def __init__(self, counted):
        super().__init__()
        self.counted = counted

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counted.event()
        return func(*args, **(kwargs or {}))


@contextmanager
def at_operations(counted):
    """An event before every tensor operation, those of backward passes included."""
    with _Operations(counted):
        yield


@cache
def without_signals(code):
    """Where no interrupt comes, as Python looks for signals after calls and at jumps back only.

    Where a ``with`` block calls its exit, and the ``try:`` of a block, which is no instruction: the
    exception table leaves it out, so that the blocks around it would not hear of an error there.
    """
    found = list(dis.get_instructions(code))
    exits = {
        first.offset
        for first, *rest in zip(found, found[1:], found[2:], strict=False)
        if all(i.opname == "LOAD_CONST" and i.argval is None for i in (first, *rest))
    }
    return exits | {i.offset for i in found if i.opname == "NOP"}


@contextmanager
def at_lines(counted):
    """An event at every line of the package, as Ctrl-C can come at any."""

    def trace(frame, event, _):
        if PACKAGE not in frame.f_code.co_filename:
            return None
        if event == "line" and frame.f_lasti not in without_signals(frame.f_code):
            counted.event()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


PLACES = {"module": at_modules, "operation": at_operations, "line": at_lines}


def calls():
    """A model, an input, and every public attribution class as a function of nothing."""
    model, layer = test_contract.build(every_class.KIND)
    x = models.image_batch(2)
    return model, x, every_class.calls(model, layer, x)


def events(name, place):
    """How many events a whole call has."""
    _, _, found = calls()
    counted = Counted()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with PLACES[place](counted):
            found[name]()
    return counted.count


@contextmanager
def _young_garbage_only():
    """Everything that is there by now is not looked at by each collection of the block."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def inject(name, place, positions, error):
    """Faults at these events of one class's call, one after another; how many were raised.

    Afterwards model, tensors and random state must be as before, and the next call right. An
    interrupt is never swallowed; another error may be survived (a chunk is halved, an estimate
    done without), if the result is right.
    """
    model, x, found = calls()
    raised = 0
    with warnings.catch_warnings(), _young_garbage_only():
        warnings.simplefilter("ignore")
        expected = found[name]()
        for k in positions:
            result = None
            with nothing_left_behind(model, x):
                try:
                    with PLACES[place](Counted(k, error)):
                        result = found[name]()
                except error:
                    raised += 1
                gc.collect()  # the traceback's frames: what they hold is given back
            assert result is None or error is not KeyboardInterrupt, f"{name}: swallowed at {k}"
            if result is not None:
                torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-12)
        assert torch.equal(found[name](), expected), f"{name}: the next call differs"
    return raised
