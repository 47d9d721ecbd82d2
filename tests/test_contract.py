"""One test for every public attribution class, found from ``__all__``, over models and failures.

A class that is added to ``captum_cnn_ext.attr`` is tested by existing.
"""

import inspect
import warnings

import captum.attr
import models
import oracles
import oracles.masks
import oracles.pixels
import pytest
import torch
from captum.attr import (
    InputXGradient,
    LayerActivation,
    LayerGradCam,
    LayerGradientXActivation,
)
from torch import nn

import captum_cnn_ext.attr as attr
from captum_cnn_ext.testing import check_attribution, networks
from captum_cnn_ext.testing.networks import NETWORKS

# attributions in pixels, one by one as their rows say; FullGrad goes with the maps of layers
IN_PIXELS = [o.cls for o in (*oracles.pixels.ORACLES, *oracles.masks.ORACLES)]
PIXELS = [
    cls.__name__
    for cls in oracles.public_classes()
    if cls in IN_PIXELS and cls is not attr.FullGrad
]
CLASSES = [cls for cls in oracles.public_classes() if cls.__name__ not in PIXELS]
EVERY_PIXEL_CLASS = pytest.mark.parametrize("name", PIXELS)
TARGETED = [c for c in CLASSES if "target" in inspect.signature(c.attribute).parameters]
ONE_LAYER = [attr.InternalInfluence, attr.LayerConductance]  # as in Captum
ONE_MAP = [attr.LayerPolyCam, attr.LayerRefineCam]
LAYER_CLASSES = [c for c in CLASSES if c is not attr.FullGrad]
EVERY_LAYER_CLASS = pytest.mark.parametrize("cls", LAYER_CLASSES, ids=lambda c: c.__name__)
EVERY_CLASS = pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)


def build(kind):
    """The network of that kind, ending as CAM needs it, and the layer that is looked at."""
    network = NETWORKS[kind]
    model = networks.build(network.kind)
    return model, model.get_submodule(network.layer)


def place(cls, model, layer):
    """CAM looks at what the pooling receives; every other class at any layer."""
    return model.head[0] if cls is attr.LayerCam else layer


def construct(cls, model, layer):
    return oracles.oracle_of(cls).method(model, layer)


def attribute(cls, model, layer, x, target=1, everywhere=False):
    layer = layer if everywhere else place(cls, model, layer)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(ill-posed|is called 2 times)")
        return oracles.oracle_of(cls).attribute(model, layer, x, target)


OF_NO_CLASS = {
    "target_is_explained": "the maps are of no class",
    "target_outside_is_refused": "the target is ignored",
}
OF_PROBABILITIES = {"tuple_targets": "reads probabilities of classes, so dense scores are refused"}
AS_CAPTUM = {"dtype_is_the_models": "Captum's class gives float32 for bfloat16, too"}
EXPECTED = {
    attr.FullGrad: {"training_mode_moves_nothing": "batch norms in training mode are refused"},
    attr.LayerCam: {"tuple_targets": "dense scores have no pooling and linear layer"},
    attr.LayerDeepFeatureFactorization: {
        "batch_equals_singles": "one factorization for the whole batch",
        "noise_tunnel_around_it": "NoiseTunnel's batch is larger",
    },
    attr.LayerFinerCam: {"tuple_targets": "compares classes, so dense scores are refused"},
    **dict.fromkeys(
        (attr.LayerISCam, attr.LayerPolyCam, attr.LayerScoreCam, attr.LayerSSCam, attr.Rise),
        OF_PROBABILITIES,
    ),
    **dict.fromkeys((attr.LayerIntegratedGradients, attr.Occlusion), AS_CAPTUM),
}


@pytest.mark.parametrize("cls", oracles.public_classes(), ids=lambda c: c.__name__)
def test_the_public_contract(cls):
    """`captum_cnn_ext.testing` says what it is; what a class need not keep is written above."""
    oracle = oracles.oracle_of(cls)
    expected = EXPECTED.get(cls, {}) | (OF_NO_CLASS if cls in oracles.WITHOUT_CLASS else {})
    report = check_attribution(
        cls if oracle.make is None and not oracle.options else oracle.method,
        arguments=oracle.arguments,
        layer="head.0" if cls is attr.LayerCam else None,
        expected_failed_checks=expected,
    )
    assert {result.check for result in report.of("expected")} == set(expected)


@EVERY_CLASS
def test_is_used_as_captum_is(cls):
    constructor = list(inspect.signature(cls.__init__).parameters)
    expected = ["self", "forward_func", "layer", "device_ids"]
    assert constructor[:4] == (expected[:2] if cls is attr.FullGrad else expected)
    same_name = getattr(captum.attr, cls.__name__, LayerGradCam)
    stands_for = {attr.LayerFeatureMaps: LayerActivation, attr.FullGrad: InputXGradient}
    model = stands_for.get(cls, same_name)
    theirs = list(inspect.signature(model.attribute).parameters.values())
    ours = list(inspect.signature(cls.attribute).parameters.values())
    assert [p.name for p in ours[: len(theirs)]] == [p.name for p in theirs]
    assert [p.default for p in ours[: len(theirs)]] == [p.default for p in theirs]
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])
    assert hasattr(cls.attribute, "__wrapped__"), "NoiseTunnel calls attribute.__wrapped__"
    assert cls.__doc__.count("Example") == 1
    assert "Reference" in cls.__doc__ or cls is attr.LayerFeatureMaps


@EVERY_CLASS
def test_maps_without_a_class_ignore_the_target(cls):
    if cls not in oracles.WITHOUT_CLASS:
        pytest.skip("the class counts")
    model, layer = build("functional")
    x = models.image_batch()
    plain = construct(cls, model, layer).attribute(x)
    assert all(torch.equal(attribute(cls, model, layer, x, t), plain) for t in (0, [4, 2, 99]))


@EVERY_LAYER_CLASS
def test_a_layer_by_name_and_a_list_of_layers(cls):
    model, layer = build("functional")
    x = models.image_batch()
    by_module = attribute(cls, model, layer, x)
    name = "head.0" if cls is attr.LayerCam else "block"
    kwargs = oracles.oracle_of(cls).keywords()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ill-posed")
        by_name = construct(cls, model, name).attribute(x, **kwargs)
        assert torch.equal(by_name, by_module)
        if cls in ONE_LAYER:
            with pytest.raises(TypeError, match=r"Module or its dotted name, got list"):
                cls(model, ["block"])
            return
        listed = construct(cls, model, [name]).attribute(x, **kwargs)
    if cls in ONE_MAP:  # one map, however many layers
        listed = [listed]
    assert isinstance(listed, list)
    assert torch.equal(listed[0], by_name)


@EVERY_LAYER_CLASS
@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        ("blokc", ValueError, "layer='blokc': Net has no such layer; nearest: 'block'"),
        ("", ValueError, "layer='': Net has no such layer"),
        ([], ValueError, "expected at least one layer"),
        (3, TypeError, "expected a torch.nn.Module or its dotted name, got int 3"),
    ],
)
def test_a_wrong_layer_is_named_at_construction(cls, layer, error, message):
    if cls in ONE_LAYER and layer == []:
        error, message = TypeError, r"or its dotted name, got list \[\]"
    with pytest.raises(error, match=message):
        cls(models.build(models.Net), layer)


@EVERY_CLASS
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            [torch.zeros(1)],
            "inputs: expected a tensor or a tuple of tensors, batch first, got list",
        ),
        (None, "got NoneType"),
        ((), "got a tuple of nothing"),
    ],
)
def test_wrong_inputs_are_named(cls, inputs, message):
    model = models.build(models.Net)
    with pytest.raises(TypeError, match=message):
        construct(cls, model, "relu").attribute(inputs)


def test_the_plain_gradient_times_activation_is_captums():
    model, layer = build("batch norm, in-place")
    x = models.image_batch()
    captum = LayerGradientXActivation(model, layer).attribute(x, target=[0, 4, 2])
    ours = attr.LayerHiResCam(model, layer).attribute(x, [0, 4, 2], attr_dim_summation=False)
    torch.testing.assert_close(ours, captum.detach())


@pytest.mark.parametrize("cls", [c for c in LAYER_CLASSES if c is not attr.FullGrad])
def test_training_mode_is_warned_of_where_it_changes_the_values(cls):
    model, layer = build("batch norm, in-place")
    with pytest.warns(match="in training mode .BatchNorm2d."):
        attribute(cls, model.train(), layer, models.image_batch())
    for module in model.modules():  # nothing else in it behaves otherwise
        module.train(not isinstance(module, nn.BatchNorm2d))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*training mode")
        attribute(cls, model, layer, models.image_batch())


def test_a_training_step_interleaved_with_attribution():
    def step(interleaved):
        model, layer = build("batch norm, in-place")
        model.train()
        x = models.image_batch()
        loss = model(x).square().sum()
        if interleaved:
            for cls in LAYER_CLASSES:  # FullGrad refuses batch norms in training mode
                attribute(cls, model, layer, x)
        loss.backward()
        return [p.grad for p in model.parameters()] + list(model.buffers())

    for serial, interleaved in zip(step(False), step(True), strict=True):
        assert torch.equal(serial, interleaved)


@pytest.mark.parametrize(
    "name",
    ["Deconvolution", "GuidedBackprop", "NeuronDeconvolution", "NeuronGuidedBackprop", "Occlusion"],
)
def test_drop_ins_have_captums_signatures(name):
    theirs, ours = getattr(captum.attr, name), getattr(attr, name)
    for method in ("__init__", "attribute"):
        expected = list(inspect.signature(getattr(theirs, method)).parameters.values())
        found = list(inspect.signature(getattr(ours, method)).parameters.values())
        first = found[: len(expected)]
        assert [(p.name, p.default) for p in first] == [(p.name, p.default) for p in expected]
        assert all(p.kind is p.KEYWORD_ONLY for p in found[len(expected) :])


@EVERY_PIXEL_CLASS
def test_a_pixel_class_is_documented(name):
    cls = getattr(attr, name)
    assert cls.__doc__.count("Example") == 1
    assert "Reference" in cls.__doc__
