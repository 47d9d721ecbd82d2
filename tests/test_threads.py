"""Two threads on one model, and a training step between: the values of serial runs.

``THREAD_REPEATS=100`` repeats as often as the results in benchmarks/README.md.
"""

import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import every_class
import models
import pytest
import test_contract
import torch
from snapshots import nothing_left_behind

from captum_cnn_ext._engine.trace.other_threads import handed_over

REPEATS = int(os.environ.get("THREAD_REPEATS", "3"))
NAMES = ["LayerHiResCam", "LayerAblationCam", "LayerScoreCam", "LayerShapleyCam", "FullGrad",
         "LayerFeatureMaps", "GuidedBackprop", "DeconvNet", "Occlusion",
         "LayerIntegratedGradients"]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_threads_on_one_model_give_the_serial_values():
    """Every thread runs every class, each beginning with another; two classes always overlap."""
    model, layer = test_contract.build(every_class.KIND)
    inputs = [models.image_batch(2), models.image_batch(3) * 0.7]
    calls = [every_class.calls(model, layer, x) for x in inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [{name: own[name]() for name in NAMES} for own in calls]
    different, failed = [], []

    def work(number, turn):
        try:
            for i in range(len(NAMES)):
                name = NAMES[(i + turn + 3 * number) % len(NAMES)]
                found = calls[number][name]()
                if not torch.equal(found, expected[number][name]):
                    different.append((number, name, turn))
        except BaseException as error:
            failed.append((number, repr(error)))

    with nothing_left_behind(model, *inputs):
        for turn in range(REPEATS):
            threads = [threading.Thread(target=work, args=(n, turn)) for n in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert not failed
    assert not different, f"{len(different)} differ in {REPEATS} repeats: {different[:5]}"


def test_training_in_one_thread_and_attribution_in_another():
    """The weights that are trained are not those that are explained, the layers' code is."""

    def train(steps, model):
        x = models.image_batch(3)
        for _ in range(steps):
            loss = model(x).square().sum()
            loss.backward()
        return [p.grad.clone() for p in model.parameters()]

    serial, _ = test_contract.build("batch norm, in-place")
    alone = train(3 * REPEATS, serial)
    model, layer = test_contract.build("batch norm, in-place")
    call = every_class.calls(model, layer, models.image_batch(2))
    expected, found, stop = call["LayerAblationCam"](), [], threading.Event()

    def explain():
        while not stop.is_set() or not found:
            found.append(call["LayerAblationCam"]())

    thread = threading.Thread(target=explain)
    thread.start()
    together = train(3 * REPEATS, model)
    stop.set()
    thread.join()
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert all(torch.equal(each, expected) for each in found)


def test_only_work_of_the_own_thread_is_noticed_and_everything_is_put_back():
    """Two overlapping watches in two threads, left in the order in which they began."""
    own = threading.Thread.start, ThreadPoolExecutor.submit
    mine, theirs, begun, left = [], [], threading.Event(), threading.Event()

    def other():
        with handed_over(lambda: theirs.append(1)):
            begun.set()
            threading.Thread(target=int).start()
            left.wait()
            threading.Thread(target=int).start()

    thread = threading.Thread(target=other)
    pool = ThreadPoolExecutor(1)
    with handed_over(lambda: mine.append(1)):
        thread.start()
        begun.wait()
        pool.submit(int).result()
    count = len(mine)
    threading.Thread(target=int).start()
    left.set()
    thread.join()
    assert count == len(mine) == 3  # the thread, the task, and the pool's own worker
    assert len(theirs) == 2
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == own
