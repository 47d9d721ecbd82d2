"""Faults at any module, operation and line: nothing is left behind, and the next call is right.

A sample of the positions; ``benchmarks/faults.py`` takes every one and counts.
"""

import random

import faults
import pytest
import torch

from captum_cnn_ext._engine.running import undo

_, _, CALLS = faults.calls()
EVERY_CALL = pytest.mark.parametrize("name", CALLS)
SAMPLE = {"module": 2, "operation": 2, "line": 5}


def positions(name, place):
    count = faults.events(name, place)
    assert count, "nothing to interrupt"
    return sorted(random.Random(name).sample(range(count), min(SAMPLE[place], count)))


@EVERY_CALL
@pytest.mark.parametrize("place", faults.PLACES)
def test_an_interrupt(name, place):
    wanted = positions(name, place)
    assert faults.inject(name, place, wanted, KeyboardInterrupt) == len(wanted)


@EVERY_CALL
@pytest.mark.parametrize("error", [ArithmeticError, torch.OutOfMemoryError])
def test_a_failing_module_and_memory_that_runs_out(name, error):
    faults.inject(name, "module", positions(name, "module"), error)


@pytest.mark.parametrize("name", ["LayerHiResCam", "LayerAblationCam"])
def test_every_line_of_two_engines(name):
    """Every third line: hooks, forwards that are put back, the early stop, the replay."""
    count = faults.events(name, "line")
    wanted = range(0, min(count, 800), 5)
    assert faults.inject(name, "line", wanted, KeyboardInterrupt) == len(wanted)


def test_the_injection_sees_what_is_left(monkeypatch):
    """Without the second exit some line leaves hooks behind."""

    class Once(undo.Undo):
        def __enter__(self):
            self.entered = getattr(self, "entered", 0) + 1
            return self

        def __exit__(self, *_):
            self.entered -= 1
            if self.entered:  # only the outer one
                super().__exit__()

    from captum_cnn_ext._engine.running import hooks

    monkeypatch.setattr(hooks, "Undo", Once)
    count = faults.events("LayerHiResCam", "line")
    with pytest.raises(AssertionError, match="changed by the call"):
        faults.inject("LayerHiResCam", "line", range(count), KeyboardInterrupt)


def test_out_of_memory_halves_the_chunk_and_gives_the_same():
    raised = faults.inject("LayerHiResCam", "module", range(3), torch.OutOfMemoryError)
    assert raised == 0, "two examples fit one by one"
