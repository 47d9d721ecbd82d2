"""A layer is named although ``forward_func`` is a function around the model; lazy models."""

from functools import partial, wraps

import models
import pytest
import torch
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext import attr
from captum_cnn_ext._engine.judging.wrapped_module import wrapped_modules
from captum_cnn_ext.evidence import layer_table
from captum_cnn_ext.synthesis import Target, maximize

MODEL = models.build(models.Net)
OTHER = models.build(models.Net)


def run(x):
    return MODEL(x)


def run_run(x):
    return run(x)


def decorated(function):
    @wraps(function)
    def call(*args):
        return function(*args)

    return call


class Wrapper:
    def __init__(self, model):
        self.parts = {"net": model}

    def __call__(self, x):
        return self.parts["net"](x)

    def method(self, x):
        return self(x)


class UsesGlobal:
    def __call__(self, x):
        return run(x)


def closure(model):
    return lambda x: model(x)


WRAPPERS = {
    "lambda": lambda x: MODEL(x),
    "global": run,
    "function of a function": run_run,
    "decorated": decorated(run),
    "closure": closure(MODEL),
    "default": lambda x, model=MODEL: model(x),
    "keyword": partial(lambda x, model: model(x), model=MODEL),
    "partial": partial(lambda model, x: model(x), MODEL),
    "partial of a function": partial(run),
    "object": Wrapper(MODEL),
    "bound method": Wrapper(MODEL).method,
    "object around a global": UsesGlobal(),
    "inner function": lambda x: (lambda: MODEL(x))(),
    "list": (lambda parts: lambda x: parts[0](x))([MODEL]),
    "layer beside its model": (lambda block: lambda x: MODEL(x) + 0 * block.weight.sum())(
        MODEL.block
    ),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_only_module_that_a_function_uses_is_meant(name):
    forward, x = WRAPPERS[name], models.image_batch()
    assert list(wrapped_modules(forward).values()) == [MODEL]
    with nothing_left_behind(MODEL, x):
        found = attr.LayerHiResCam(forward, "block").attribute(x, 1)
    expected = attr.LayerHiResCam(MODEL, "block").attribute(x, 1)
    torch.testing.assert_close(found, expected)


def test_what_cannot_be_known_is_said():
    with pytest.raises(ValueError, match=r"uses 2 modules: .*MODEL \(Net\).*Pass the layer's mod"):
        attr.LayerHiResCam(lambda x: MODEL(x) + OTHER(x), "block")
    with pytest.raises(ValueError, match="no module was found in this function"):
        attr.LayerHiResCam(lambda x: x.mean((1, 2, 3)), "block")
    with pytest.raises(ValueError, match="Net has no such layer; nearest: 'block'"):
        attr.LayerHiResCam(lambda x: MODEL(x), "blok")


def test_the_state_of_a_wrapped_model_is_put_back():
    model, x = models.build(models.Noisy).train(), models.image_batch()
    with nothing_left_behind(model, x):
        attr.LayerHiResCam(lambda x: model(x), "block").attribute(x, 1)
    with nothing_left_behind(model, x):
        attr.LayerAblationCam(lambda x: model(x), model.block).attribute(x, 1)


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.LazyConv2d(4, 3)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))

    def forward(self, x):
        return self.head(self.conv(x))


LAZY = {
    "LayerHiResCam": lambda m, x: attr.LayerHiResCam(m, "conv").attribute(x, 1),
    "in a function": lambda m, x: attr.LayerHiResCam(lambda x: m(x), "conv").attribute(x, 1),
    "LayerAblationCam": lambda m, x: attr.LayerAblationCam(m, "conv").attribute(x, 1),
    "LayerFeatureMaps": lambda m, x: attr.LayerFeatureMaps(m, "conv").attribute(x),
    "TailForward": lambda m, x: attr.TailForward(m, "conv", x),
    "GuidedBackprop": lambda m, x: attr.GuidedBackprop(m).attribute(x, 1),
    "Occlusion": lambda m, x: attr.Occlusion(m).attribute(x, (3, 4, 4), target=1),
    "FullGrad": lambda m, x: attr.FullGrad(m).attribute(x, 1),
    "suggest_layers": lambda m, x: attr.suggest_layers(m, (3, 16, 16)),
    "layer_table": lambda m, x: layer_table(m, (3, 16, 16)),
    "maximize": lambda m, x: maximize(m, Target(1), image=16, steps=1),
}


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize("name", LAZY)
def test_a_model_without_shapes_is_refused_before_anything_runs(name):
    model, x = Lazy().eval(), torch.randn(2, 3, 16, 16)
    with pytest.raises(ValueError, match=r"not initialised, .*conv.* \(LazyConv2d\).*run it once"):
        LAZY[name](model, x)
    assert isinstance(model.conv, nn.LazyConv2d)
    model(x)
    LAZY[name](model, x)
