"""What a call costs beside the network: our own Python, counted rather than timed.

The counts are of calls, and of resumed generators, in the package's own files, so that neither the
machine nor PyTorch's version has a part in them.
"""

import gc
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import captum_cnn_ext
from captum_cnn_ext import attr
from captum_cnn_ext._engine.module_walk import holders_of, modules_in, name_in, tensors_held
from captum_cnn_ext._engine.trace.forward_trace import Operation
from captum_cnn_ext._engine.trace.operation_follower import Follower

OWN = str(Path(captum_cnn_ext.__file__).parent)


def network(blocks=1):
    """A small network whose first part has so many blocks."""
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()]
    body = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(blocks)]
    return nn.Sequential(
        nn.Sequential(*stem, *body),
        nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)),
    ).eval()


METHODS = {
    "LayerHiResCam": lambda m, x: attr.LayerHiResCam(m, "1").attribute(x, 3),
    "LayerEigenCam": lambda m, x: attr.LayerEigenCam(m, "1").attribute(x),
    "LayerScoreCam": lambda m, x: attr.LayerScoreCam(m, "1").attribute(x, 3),
    "LayerAblationCam": lambda m, x: attr.LayerAblationCam(m, "1").attribute(x, 3),
    "LayerIntegratedGradients": lambda m, x: attr.LayerIntegratedGradients(m, "1").attribute(
        x, target=3, n_steps=20
    ),
    "GuidedBackprop": lambda m, x: attr.GuidedBackprop(m).attribute(x, target=3),
    "FullGrad": lambda m, x: attr.FullGrad(m).attribute(x, target=3),
    "DeconvNet": lambda m, x: attr.DeconvNet(m, "1").attribute(x, [0, 1, 2], rule="guided"),
}

# calls for the network of one block, and for each further block; a tenth above what was counted
MOST = {
    "LayerHiResCam": (300, 0),
    "LayerEigenCam": (255, 7),
    "LayerScoreCam": (380, 0),
    "LayerAblationCam": (1200, 37),
    "LayerIntegratedGradients": (970, 36),
    "GuidedBackprop": (360, 41),
    "FullGrad": (530, 71),
    "DeconvNet": (3040, 203),
}


def own_calls(run):
    count = 0

    def look(frame, event, _):
        nonlocal count
        count += event == "call" and frame.f_code.co_filename.startswith(OWN)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(before)
    return count


def counted(name, blocks=1):
    model, x = network(blocks), torch.rand(1, 3, 16, 16)
    METHODS[name](model, x)  # what is looked up once is not meant
    return own_calls(lambda: METHODS[name](model, x))


@pytest.mark.parametrize("name", METHODS)
def test_our_own_part_of_a_call_stays_small(name):
    once, more = MOST[name]
    small, deep = counted(name), counted(name, blocks=9)
    assert small <= once
    assert deep - small <= 8 * more


@pytest.mark.parametrize("name", ["LayerAblationCam", "DeconvNet"])
def test_what_followed_a_pass_goes_with_it(name):
    """No reference cycle: what a pass left waits for no collection, which stops everything."""
    model, x = network(), torch.rand(1, 3, 16, 16)
    METHODS[name](model, x)
    gc.collect()
    gc.disable()
    try:
        METHODS[name](model, x)
        kinds = [type(each) for each in gc.get_objects()]
        alive = [kind for kind in kinds if issubclass(kind, (Follower, Operation))]
        assert not alive
    finally:
        gc.enable()


def test_the_modules_are_not_walked_through_generators(monkeypatch):
    walks = []
    monkeypatch.setattr(nn.Module, "named_modules", lambda *a, **k: walks.append(a) or iter(()))
    model, x = network(), torch.rand(1, 3, 16, 16)
    attr.LayerHiResCam(model, model[1]).attribute(x, 3)
    attr.LayerAblationCam(model, model[1]).attribute(x, 3)
    attr.GuidedBackprop(model).attribute(x, target=3)
    assert not walks


def test_a_walk_finds_what_named_modules_finds():
    shared = nn.Sequential(nn.ReLU(), nn.Identity())
    model = nn.Sequential(nn.Sequential(shared, nn.Conv2d(1, 1, 1)), shared, nn.BatchNorm2d(1))
    model.register_module("none", None)
    assert modules_in(model) == list(model.modules())
    assert {module: name_in(model, module) for module in model.modules()} == {
        module: name for name, module in model.named_modules()
    }
    assert set(map(id, tensors_held(model))) == {
        *map(id, model.parameters()),
        *map(id, model.buffers()),
    }
    for module in model.modules():
        holders = {m for m in model.modules() if m is not module and module in set(m.modules())}
        assert holders_of(module, model) == holders
