"""What a result says of itself: one line, short, with shapes instead of numbers."""

import dataclasses
import importlib
import inspect

import numpy as np
import pytest
import torch
from test_surface_and_wheel import MODULES
from torch import nn

from captum_cnn_ext import attr, bench, evidence, insights, metrics, synthesis
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.methods import call_of, known_methods
from captum_cnn_ext.models import LoadedModel

CLASSES = {
    value
    for module in MODULES
    for value in vars(importlib.import_module(f"captum_cnn_ext.{module}")).values()
    if inspect.isclass(value)
    and dataclasses.is_dataclass(value)
    and value.__module__.startswith("captum_cnn_ext")
    # which imports nothing of the package, and whose report is a list of what failed
    and not value.__module__.startswith("captum_cnn_ext.testing.")
    and not issubclass(value, nn.Module)
}


def judged(text, *words):
    assert len(text) < 200, text
    assert len(text.splitlines()) == 1
    assert all(word in text for word in words), text


@pytest.mark.parametrize("cls", sorted(CLASSES, key=lambda cls: cls.__qualname__))
@pytest.mark.parametrize(
    "value",
    [
        torch.rand(7, 300, 5),
        np.zeros((7, 300, 5)),
        "a\nlong line " * 500,
        {f"key {n}\n": torch.rand(3, 400) for n in range(99)},
        tuple(range(5000)),
        [["deep", ["er"] * 400]],
        nn.Sequential(*(nn.ReLU() for _ in range(99))),
        ValueError("two\nlines " * 99),
        None,
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_result_that_lists_its_fields_is_one_line(cls, value):
    assert cls.__repr__ is brief
    result = object.__new__(cls)
    for field in dataclasses.fields(cls):
        object.__setattr__(result, field.name, value)
    if cls.__str__ is object.__str__:
        judged(repr(result), f"{cls.__name__}(")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3),
    ).eval()  # fmt: skip


X = torch.rand(2, 3, 16, 18, generator=torch.Generator().manual_seed(1))
RESULTS = {
    "Reconstructions": (
        lambda m: attr.DeconvNet(m, "4").reconstruct(X, top=2),
        "attributions=float32 (2, 2, 3, 16, 18), channels=int64 (2, 2), ",
    ),
    "LayerSuggestion": (
        lambda m: attr.suggest_layers(m, X)[0],
        "(4: ends the last convolution stage: 5 channels on 5 x 6 positions, the last before these",
        " are pooled or flattened away)",
    ),
    "Coverage": (
        lambda m: attr.DeconvNet(m, "4").reconstruct(X, top=2).coverage,
        "rectifiers={Relu: 2}, switches=1",
    ),
    "ReceptiveField": (
        lambda m: evidence.receptive_field(m, "3", (3, 16, 18)), "(3: 8 pixels, stride 2, padding 0"
    ),
    "EffectiveField": (
        lambda m: evidence.effective_receptive_field(m, "3", X), "map=float32 (16, 18), posi"
    ),
    "FilterSimilarity": (lambda m: evidence.filter_similarity(m[3]), "(5 filters, "),
    "LayerTable": (
        lambda m: evidence.layer_table(m, (3, 16, 18)),
        "model='Sequential', input_shapes=((1, 3, 16, 18),), rows=8 items, parameters=",
    ),
    "LayerRow": (lambda m: evidence.layer_table(m, (3, 16, 18)).rows[0], "name='0', type='Conv2d'"),
    "ModelGraph": (lambda m: evidence.model_graph(m, (3, 16, 18)), "(Sequential: ", " nodes, "),
    "TopPatches": (
        lambda m: evidence.top_patches(m, "4", list(X), 2), "(top 2 of 5 channels of 4 over 2 im"
    ),
    "Audit": (
        lambda m: insights.audit(m, X, layers="4", sections=["attributions"], show_progress=False),
        "1 sections, ", " arrays",
    ),
    "Comparison": (
        lambda m: insights.compare(m, X, ["Saliency", "fem"], layers="4"),
        "2 photos of shape (2, 3, 16, 18): Saliency (2, 3, 16, 18), LayerFem (2, 1, 5, 6)",
    ),
    "Call": (
        lambda m: call_of(known_methods()["Occlusion"], m, X),
        "model=Sequential", "parameters='sliding_window_shapes=(3, 4, 5), str",
    ),
    "Curve": (
        lambda m: metrics.deletion(m, X, X, 1, steps=4), "fractions=float", "scores=float32 (2, 5)"
    ),
    "Confidence": (lambda m: metrics.confidence(m, X, X, 1), "whole=float32 (2,)"),
    "Road": (
        lambda m: metrics.road(m, X, X, 1, shares=(0.5,)), "shares=float", "first=float32 (2, 1)"
    ),
    "Interval": (lambda m: metrics.Interval(0.25, -1, 2), "(0.250 [-1.000, 2.000])"),
    "Synthesis": (
        lambda m: synthesis.maximize(m, synthesis.Channel("3", 1), image=16, steps=2),
        "images=float32 (1, 3, 16, 16)",
    ),
    "Objective": (lambda m: synthesis.Channel("3", 1) - 2 * synthesis.Channel("3", 0), "(3[1] - 2"),
    "Results": (
        lambda m: bench.Results({"model": "net", "layer": "4"}, {}, {"a": {"x": {}, "y": {}}}),
        "(net, layer 4: 2 maps by 1 methods)",
    ),
    "LoadedModel": (
        lambda m: LoadedModel(m, abs, [f"class {n}" for n in range(1000)], name="net"),
        "model=Sequential, preprocess=abs, class_names=1000 items",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_results_name_their_kind_and_shapes(name, model):
    make, *words = RESULTS[name]
    judged(repr(make(model)), f"{name}(", *words)


def test_few_short_values_are_shown_and_devices_named():
    @dataclasses.dataclass
    class Result:
        few: object
        where: torch.Tensor
        _private: int = 3

        __repr__ = brief

    found = Result({"a": 1.0, "b": [2, None]}, torch.rand(2, 3, device="meta"))
    assert repr(found).endswith("Result(few={a: 1, b: [2, None]}, where=float32 (2, 3) on meta)")
