"""Rules on rectifiers of every spelling against custom autograd Functions; coverage; drop-ins."""

import warnings

import captum.attr
import models
import pytest
import rectifier_models as nets
import references_deconvnet as reference
import torch
import torch.nn.functional as F
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext import attr
from captum_cnn_ext._engine.backward.rules import ruled_backward

DROP_INS = {"deconvnet": attr.Deconvolution, "guided": attr.GuidedBackprop}
BOTH = pytest.mark.parametrize("rule", DROP_INS)


def torchvision(name, **options):
    torch.manual_seed(0)
    zoo = pytest.importorskip("torchvision.models")
    if name in ("googlenet", "inception_v3"):
        options = {"init_weights": False, "transform_input": False}
    return getattr(zoo, name)(**options).eval()


def assert_follows(kind, rule):
    model, x = nets.build(nets.KINDS[kind]), models.image_batch()
    found = DROP_INS[rule](model).attribute(x, [0, 4, 2])
    expected = reference.attribution(model, x, rule, lambda y: y[range(3), [0, 4, 2]])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert float(expected.abs().max()) > 0, "an empty picture proves nothing"


@BOTH
@pytest.mark.parametrize("kind", nets.KINDS)
def test_every_spelling_follows_the_rule(kind, rule):
    assert_follows(kind, rule)


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize(
    ("name", "size", "count"),
    [("googlenet", 64, 57), ("inception_v3", 96, 94), ("densenet121", 64, 121)],
)
def test_networks_of_functional_relus(name, size, count, rule):
    model = torchvision(name)
    x = torch.randn(1, 3, size, size)
    found = DROP_INS[rule](model).attribute(x, 3)
    expected = reference.attribution(model, x, rule, lambda y: y[:, 3])
    atol = 1e-5 * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
    if rule == "guided":
        assert DROP_INS[rule](model).coverage(x, 3).rectifiers == {"Relu": count}


@pytest.mark.parametrize(
    ("name", "layer", "unit"),
    [
        ("vgg11", "features.5", (3, 1, 1)),
        ("alexnet", "features.6", (7, 1, 2)),
        ("resnet18", "layer2", (5, 3, 3)),
        ("squeezenet1_1", "features.6", (slice(0, 16), 2, 2)),
        ("regnet_y_400mf", "trunk_output.block2", (6, slice(1, 3), 2)),
    ],
)
def test_captums_values_bit_for_bit_without_a_warning(name, layer, unit):
    model, x = torchvision(name), torch.randn(2, 3, 64, 64)
    target = model(x).argmax(1)
    for cls in ("Deconvolution", "GuidedBackprop", "NeuronDeconvolution", "NeuronGuidedBackprop"):
        neuron = cls.startswith("Neuron")
        last = (unit,) if neuron else (target,)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            place = (model, model.get_submodule(layer)) if neuron else (model,)
            theirs = getattr(captum.attr, cls)(*place).attribute(x, *last)
        ours = getattr(attr, cls)(model, *([layer] if neuron else [])).attribute(x, *last)
        assert torch.equal(ours, theirs), cls
        assert float(ours.abs().max()) > 0


WEIGHT = torch.tensor([0.3]).double()
SMOOTH = {
    "leaky": lambda x: F.leaky_relu(x, 0.2),
    "leaky in place": lambda x: F.leaky_relu_(x.clone(), 0.2),
    "prelu": lambda x: F.prelu(x, WEIGHT),
    "elu": F.elu,
    "elu in place": lambda x: F.elu_(x.clone()),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 1.5),
    "silu": F.silu,
    "silu written out": lambda x: x * torch.sigmoid(x),
    "silu, factors swapped": lambda x: torch.sigmoid(x) * x,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardswish": F.hardswish,
    "mish": F.mish,
    "softplus": F.softplus,
    "silu in place, on a view": lambda x: F.silu((x * 1).view(-1), inplace=True).view(x.shape),
    "elu in place, on a view": lambda x: F.elu_((x * 1).view(-1)).view(x.shape),
}
HARD = {
    "relu": F.relu,
    "threshold": lambda x: F.threshold(x, 0.0, 0.0),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: x.clamp_min(0),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "maximum, swapped": lambda x: torch.maximum(torch.zeros_like(x), x),
}


def two_sided(seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(2, 3, 4, 5, generator=generator, device="cpu").double()
    g = torch.randn(2, 3, 4, 5, generator=generator, device="cpu").double()
    home = torch.get_default_device()
    return x.to(home).requires_grad_(), g.to(home)


def passed(f, rule, smooth="gate", seed=1):
    x, g = two_sided(seed)
    y = f(x * 1)
    with ruled_backward([x], y, rule, smooth) as backward:
        (found,) = backward.gradients(g)
        assert sum(backward.coverage.rectifiers.values()) == 1
        assert not backward.coverage.unknown
    slope = torch.autograd.grad(f(x * 1).sum(), x)[0]
    return found, x.detach(), g, slope


@pytest.mark.parametrize("name", [*HARD, *SMOOTH])
def test_the_formulas(name):
    f = {**HARD, **SMOOTH}[name]
    found, x, g, _ = passed(f, "deconvnet")
    torch.testing.assert_close(found, g.relu(), rtol=0, atol=1e-12)
    found, x, g, _ = passed(f, "guided")
    torch.testing.assert_close(found, g.relu() * (x > 0), rtol=0, atol=1e-12)
    found, _, g, slope = passed(f, "gradient")
    torch.testing.assert_close(found, slope * g, rtol=0, atol=1e-12)
    if name in SMOOTH:
        for rule in ("deconvnet", "guided"):
            found, _, g, slope = passed(f, rule, "slope")
            torch.testing.assert_close(found, (slope * g).relu(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("f", [F.relu6, lambda x: x.clamp(0, 6)], ids=["relu6", "clamp"])
def test_relu6_rises_between_its_ends(f):
    found, x, g, _ = passed(lambda x: f(3 * x), "guided")
    torch.testing.assert_close(found, 3 * g.relu() * (x > 0) * (3 * x < 6))
    found, _, g, _ = passed(lambda x: f(3 * x), "deconvnet")
    torch.testing.assert_close(found, 3 * g.relu())


class Swish(torch.autograd.Function):
    """A memory-saving activation: only its name is seen."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, g):
        gate = ctx.saved_tensors[0].sigmoid()
        return g * gate


IN_DISGUISE = {
    "Swish": Swish.apply,
    "Mul": lambda x: x * (x > 0),
    "Where": lambda x: torch.where(x > 0, x, 0),
    "MaskedFill": lambda x: x.masked_fill(x < 0, 0),
    "Abs": lambda x: (x + x.abs()) / 2,
    "ClampMin": lambda x: x.clamp(min=-1),
    "clamp": lambda x: (x * 1).view(-1).clamp_(min=0).view(x.shape),
}


@pytest.mark.parametrize("name", IN_DISGUISE)
def test_what_may_be_a_rectifier_is_named_in_a_warning(name):
    with pytest.warns(UserWarning, match=r"GuidedBackprop: the rule was not applied to .*\b1 x"):
        attr.GuidedBackprop(lambda x: IN_DISGUISE[name](x * 2).sum((1, 2, 3))).attribute(
            torch.randn(2, 3, 4, 5)
        )


def test_handwritten_gelu_is_named_and_gates_are_listed():
    gelu = lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5))  # noqa: E731
    with pytest.warns(UserWarning, match="1 x Mul"):
        attr.Deconvolution(lambda x: gelu(x * 2).sum((1, 2, 3))).attribute(torch.randn(2, 3, 4, 5))
    coverage = attr.GuidedBackprop(torchvision("mobilenet_v3_small")).coverage(
        torch.randn(1, 3, 64, 64), 3
    )
    assert coverage.rectifiers == {"Hardswish": 19, "Relu": 14}
    assert (coverage.gates, coverage.plain) == ({"Mul": 9}, {"Hardsigmoid": 9})
    assert (coverage.unknown, coverage.switches) == ({}, 0)


def test_compiled_models_run_as_their_original_module_and_compiled_parts_are_refused():
    model, x = nets.build(nets.FunctionalRelu), models.image_batch()
    expected = attr.GuidedBackprop(model).attribute(x, 1)
    compiled = torch.compile(model, backend="aot_eager")
    assert torch.equal(attr.GuidedBackprop(compiled).attribute(x, 1), expected)

    class CompiledFunction(torch.autograd.Function):  # what an AOT-compiled part leaves in a graph
        forward = staticmethod(lambda ctx, x: x.relu())
        backward = staticmethod(lambda ctx, g: g)

    with pytest.raises(ValueError, match="CompiledFunctionBackward hides the rectifiers"):
        attr.GuidedBackprop(lambda x: CompiledFunction.apply(x).sum((1, 2, 3))).attribute(x)


def test_a_rectifier_that_does_not_run_is_an_error():
    x, g = two_sided()
    with ruled_backward([x], F.relu(x * 1), "guided") as backward:
        backward._fired = type("Deaf", (list,), {"__len__": lambda self: 0})()
        with pytest.raises(RuntimeError, match="met 0 rectifiers of 1"):
            backward.gradients(g)


def test_users_tensors_and_later_backwards_are_untouched():
    model = nets.build(nets.ReluFirst)
    x = models.image_batch().requires_grad_()
    (expected,) = torch.autograd.grad(model(x).sum(), x)
    with nothing_left_behind(model, x):
        found = attr.Deconvolution(model).attribute((x,), 1)
        assert isinstance(found, tuple)
        assert not found[0].requires_grad
    (after,) = torch.autograd.grad(model(x).sum(), x)
    assert torch.equal(after, expected)
    with nothing_left_behind(model, x), pytest.raises(AssertionError):
        attr.Deconvolution(model).attribute(x, 99)
    with pytest.raises(AssertionError, match="detach cuts the graph"):
        attr.GuidedBackprop(lambda x: x.detach().sum((1, 2, 3))).attribute(x)


def test_under_inference_mode_autocast_and_in_a_neighbouring_graph():
    model, x = nets.build(nets.PreActivation).float(), models.image_batch().float()
    expected = attr.GuidedBackprop(model).attribute(x, 1)
    with torch.no_grad():
        assert torch.equal(attr.GuidedBackprop(model).attribute(x, 1), expected)
    with torch.inference_mode():
        assert torch.equal(attr.GuidedBackprop(model).attribute(x, 1), expected)
    with torch.autocast("cpu", torch.bfloat16):
        half = attr.GuidedBackprop(model).attribute(x, 1)
    assert torch.nn.functional.cosine_similarity(half.flatten(), expected.flatten(), 0) > 0.98
    y = model(x.requires_grad_())  # a user's graph from before the call keeps its own gradient
    attr.Deconvolution(model).attribute(x, 1)
    assert torch.equal(
        torch.autograd.grad(y.sum(), x)[0], torch.autograd.grad(model(x).sum(), x)[0]
    )


def test_neuron_classes_stop_at_the_layer():
    model, x = models.build(models.Net), models.image_batch()
    calls = []
    model.head.register_forward_hook(lambda *_: calls.append(1))
    ours = attr.NeuronGuidedBackprop(model, "block").attribute(x, (1, 2, 3))
    by_function = attr.NeuronGuidedBackprop(model, "block").attribute(x, lambda t: t[:, 1, 2, 3])
    assert not calls
    assert torch.equal(ours, by_function)
    for selector, message in (
        ((9, 0, 0), "no such neuron; expected 3 indices"),
        ((1, 2), "leaves"),
        (lambda t: t, "expected a tensor with one value"),
    ):
        with pytest.raises(AssertionError, match=message):
            attr.NeuronGuidedBackprop(model, "block").attribute(x, selector)


def test_guided_cam_is_captums_and_takes_any_map():
    model, x = torchvision("resnet18"), torch.randn(2, 3, 64, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = captum.attr.GuidedGradCam(model, model.layer3).attribute(x, [3, 5])
    ours = attr.GuidedCam(captum.attr.LayerGradCam(model, model.layer3)).attribute(x, [3, 5])
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-9)
    guided = attr.GuidedBackprop(model).attribute(x, 3)
    for cam in (
        attr.LayerHiResCam(model, "layer3"),
        captum.attr.LayerActivation(model, model.layer3),
    ):
        found = attr.GuidedCam(cam).attribute(x, 3, interpolate_mode="bilinear")
        arguments = {"target": 3} if isinstance(cam, attr.LayerHiResCam) else {}
        heat = cam.attribute(x, **arguments).sum(1, keepdim=True).relu()
        expected = guided * F.interpolate(heat, (64, 64), mode="bilinear")
        torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-9)
        assert not found.requires_grad
    tunnel = captum.attr.NoiseTunnel(attr.GuidedCam(attr.LayerHiResCam(model, "layer3")))
    smooth = tunnel.attribute(x, target=[3, 5], nt_samples=2, stdevs=0.0)
    once = attr.GuidedCam(attr.LayerHiResCam(model, "layer3")).attribute(x, [3, 5])
    torch.testing.assert_close(smooth, once, rtol=1e-4, atol=1e-8)
    with pytest.raises(TypeError, match="cam: expected a layer attribution"):
        attr.GuidedCam(nn.ReLU())
