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
    NoiseTunnel,
)
from snapshots import nothing_left_behind
from torch import nn

import captum_cnn_ext.attr as attr

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
KINDS = {
    "batch norm, in-place": (models.Net, "block"),
    "functional": (models.Functional, "block"),
    "residual, in-place add": (models.Residual, "block"),
    "layer called twice": (models.CalledTwice, "relu"),
    "catches exceptions": (models.GoesOnAnyway, "block"),
    "writes into its input": (models.WritesIntoInput, "block"),
    "the model itself": (models.Net, ""),
}
LAYER_CLASSES = [c for c in CLASSES if c is not attr.FullGrad]
EVERY_LAYER_CLASS = pytest.mark.parametrize("cls", LAYER_CLASSES, ids=lambda c: c.__name__)
EVERY_CLASS = pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def build(kind):
    """The network of that kind, ending as CAM needs it, and the layer that is looked at."""
    cls, name = KINDS[kind]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    model = models._seeded(cls(head))
    layer = model.get_submodule(name)
    return model, layer if name else model


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


def pixels(name, model, layer):
    """The method and what it is called with; the first call of a layer that has two."""
    oracle = oracles.oracle_of(getattr(attr, name))
    return oracle.method(model, layer), oracle.keywords(call=0)


def skip_where_undefined(cls, kind):
    if cls is attr.LayerCam and kind == "the model itself":
        pytest.skip("CAM is not defined on the classifier's own output")
    if cls in ONE_MAP and kind == "the model itself":
        pytest.skip("only maps can be joined")
    if cls is attr.LayerDeepFeatureFactorization and kind == "the model itself":
        pytest.skip("three numbers have no four parts")
    if cls is attr.LayerFem and kind == "the model itself":
        pytest.skip("one position is never unusual")


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
@EVERY_KIND
def test_nothing_is_left_behind(cls, kind):
    skip_where_undefined(cls, kind)
    model, layer = build(kind)
    x = models.image_batch().requires_grad_()
    x.grad = torch.ones_like(x)
    next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
    model.norm.weight.requires_grad_(False)
    with nothing_left_behind(model, x):
        first = attribute(cls, model, layer, x)
    with nothing_left_behind(model, x):
        assert torch.equal(attribute(cls, model, layer, x), first)
    assert not first.requires_grad


@EVERY_CLASS
@EVERY_KIND
def test_batch_is_the_stack_of_singles(cls, kind):
    skip_where_undefined(cls, kind)
    if cls is attr.LayerDeepFeatureFactorization:
        pytest.skip("one factorization for the whole batch")
    model, layer = build(kind)
    x = models.image_batch()
    for target in ([0, 4, 2], torch.tensor([0, 4, 2]), 3):
        batch = attribute(cls, model, layer, x, target)
        singles = [
            attribute(
                cls, model, layer, x[n : n + 1], t if isinstance(t := target, int) else t[n : n + 1]
            )
            for n in range(3)
        ]
        torch.testing.assert_close(batch, torch.cat(singles), rtol=1e-9, atol=1e-12)
        assert batch.shape[2:] == torch.Size([5, 6]) or layer is model


@EVERY_CLASS
@EVERY_KIND
@pytest.mark.parametrize("mode", ["bad target", "not reached", "forward raises", "interrupted"])
def test_failures_leave_nothing_behind(cls, kind, mode):
    skip_where_undefined(cls, kind)
    model, layer = build(kind)
    x, target, error = models.image_batch(), 1, None
    if mode == "bad target":
        target, error = 99, AssertionError
        if cls not in TARGETED or cls in oracles.WITHOUT_CLASS:
            pytest.skip("takes no target")
    elif mode == "not reached":
        if cls is attr.FullGrad:
            pytest.skip("takes no layer")
        layer, error = nn.ReLU(), AssertionError
    else:
        error = ArithmeticError if mode == "forward raises" else KeyboardInterrupt

        def fail(*_):
            raise error("from the middle of the forward pass")

        model.stem.register_forward_hook(fail)
    catches = mode == "forward raises" and kind == "catches exceptions"
    with (
        nothing_left_behind(model, x),
        pytest.raises(AssertionError if catches else error),
    ):
        attribute(cls, model, layer, x, target, everywhere=mode == "not reached")
    model.stem._forward_hooks.clear()
    fresh, fresh_layer = build(kind)
    if mode != "not reached":
        again = attribute(cls, model, layer, x)
        assert torch.equal(again, attribute(cls, fresh, fresh_layer, x))


@EVERY_CLASS
def test_training_mode_moves_nothing(cls):
    model, layer = build("batch norm, in-place")
    model.train()
    x = models.image_batch()
    if cls is attr.FullGrad:
        with nothing_left_behind(model, x), pytest.raises(ValueError, match="in training mode"):
            attribute(cls, model, layer, x)
        return
    with nothing_left_behind(model, x):
        assert torch.equal(attribute(cls, model, layer, x), attribute(cls, model, layer, x))


@EVERY_CLASS
def test_noise_tunnel_around_it(cls):
    if cls not in TARGETED:
        pytest.skip("NoiseTunnel is for explanations of a target")
    if cls is attr.LayerDeepFeatureFactorization:
        pytest.skip("one factorization for the whole batch, and NoiseTunnel's is larger")
    model, layer = build("residual, in-place add")
    x = models.image_batch()
    kwargs = oracles.oracle_of(cls).keywords([0, 4, 2])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ill-posed")
        tunnel = NoiseTunnel(construct(cls, model, place(cls, model, layer)))
        found = tunnel.attribute(x, nt_samples=4, stdevs=0.0, **kwargs)
    torch.testing.assert_close(found, attribute(cls, model, layer, x, [0, 4, 2]))


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
def test_a_pixel_class_is_documented_and_fits_into_captums_tunnel(name):
    cls = getattr(attr, name)
    assert cls.__doc__.count("Example") == 1
    assert "Reference" in cls.__doc__
    assert hasattr(cls.attribute, "__wrapped__"), "NoiseTunnel calls attribute.__wrapped__"
    model, layer = build("residual, in-place add")
    x = models.image_batch()
    method, kwargs = pixels(name, model, layer)
    found = NoiseTunnel(method).attribute(x, nt_samples=2, stdevs=0.0, **kwargs)
    torch.testing.assert_close(found, method.attribute(x, **kwargs))


@EVERY_PIXEL_CLASS
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "the model itself"])
def test_pixels_leave_nothing_behind_and_do_not_mix_examples(name, kind):
    model, layer = build(kind)
    x = models.image_batch().requires_grad_()
    x.grad = torch.ones_like(x)
    next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
    model.norm.weight.requires_grad_(False)
    method, kwargs = pixels(name, model, layer)
    with nothing_left_behind(model, x):
        found = method.attribute(x, **kwargs)
    assert not found.requires_grad
    shapes = {"DeconvNet": (3, 2, 2, 5, 6), "Rise": (3, 1, 5, 6), "DRise": (3, 1, 5, 6)}
    assert found.shape == shapes.get(name, x.shape)
    assert found.dtype == x.dtype
    with nothing_left_behind(model, x):
        assert torch.equal(method.attribute(x, **kwargs), found)
    singles = torch.cat([method.attribute(x[n : n + 1], **kwargs) for n in range(3)])
    torch.testing.assert_close(found, singles, rtol=1e-9, atol=1e-12)


@EVERY_PIXEL_CLASS
@pytest.mark.parametrize("mode", ["no such unit", "forward raises", "interrupted", "training"])
def test_failing_pixels_leave_nothing_behind(name, mode):
    model, layer = build("batch norm, in-place")
    x = models.image_batch()
    method, kwargs = pixels(name, model, layer)
    if mode == "training":
        model.train()
        with nothing_left_behind(model, x):
            assert torch.equal(method.attribute(x, **kwargs), method.attribute(x, **kwargs))
        return
    error = {"forward raises": ArithmeticError, "interrupted": KeyboardInterrupt}.get(
        mode, AssertionError
    )
    if mode == "no such unit":
        wrong = {"target": 99, "neuron_selector": (1, 2, 99), "channels": [99]}
        kwargs = {key: wrong.get(key, value) for key, value in kwargs.items()}
    else:

        def fail(*_):
            raise error("from the middle of the forward pass")

        model.stem.register_forward_hook(fail)
    with nothing_left_behind(model, x), pytest.raises(error):
        method.attribute(x, **kwargs)
