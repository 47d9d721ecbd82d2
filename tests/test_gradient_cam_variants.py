"""Smooth Grad-CAM++, Finer-CAM, ShapleyCAM, Eigen-Grad-CAM: references and promises."""

import models
import networks
import pytest
import references
import references_more
import torch
from captum.attr import LayerGradCam
from torch import nn

from captum_cnn_ext.attr import (
    LayerEigenGradCam,
    LayerFinerCam,
    LayerGradCamPlusPlus,
    LayerHiResCam,
    LayerShapleyCam,
    LayerSmoothGradCamPlusPlus,
)
from captum_cnn_ext.attr.cams import gradient_cam_variants
from captum_cnn_ext.attr.cams import principal_components as components

SMOOTH = {"samples": 3, "noise": 0.2, "seed": 4}
CLASSES = [LayerSmoothGradCamPlusPlus, LayerFinerCam, LayerShapleyCam, LayerEigenGradCam]
OPTIONS = {
    LayerSmoothGradCamPlusPlus: SMOOTH,
    LayerFinerCam: {"gamma": 0.8, "references": 2},
}
EACH = pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
pytestmark = pytest.mark.filterwarnings("ignore:.*the layer has channels that sum to less than 0")


def reference(cls, model, layer, x, target, call=-1):
    module = model.get_submodule(layer)
    if cls is LayerSmoothGradCamPlusPlus:
        return references_more.smooth_grad_cam_plus_plus(
            model, module, x, target, call=call, **SMOOTH
        )
    if cls is LayerFinerCam:
        return references_more.finer_cam(model, module, x, target, call=call, **OPTIONS[cls])
    if cls is LayerShapleyCam:
        return references_more.shapley_cam(model, module, x, target, call=call)
    a, g = references.activation_and_gradient(model, module, x, target, call=call)
    return references_more.eigen_cam(a, g)


def assert_equals_reference(cls, model, layer, x, target, rtol, call=None, expected=None):
    found = cls(model, layer, **OPTIONS.get(cls, {})).attribute(x, target, call=call)
    if expected is None:
        expected = reference(cls, model, layer, x, target, -1 if call is None else call)
    scale = float(expected.abs().max())
    assert scale > 0, "an empty map proves nothing"
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=rtol * scale)


@EACH
@pytest.mark.parametrize("kind", [models.Net, models.Functional, models.Residual])
@pytest.mark.parametrize("target", [3, [0, 4, 2]], ids=["int", "list"])
def test_equals_reference_in_float64(cls, kind, target):
    assert_equals_reference(cls, models.build(kind), "block", models.image_batch(), target, 1e-10)


@EACH
@pytest.mark.parametrize("call", [0, 1])
def test_equals_reference_at_each_call_of_a_layer(cls, call):
    model = models.build(models.CalledTwice)
    assert_equals_reference(cls, model, "relu", models.image_batch(), [1, 1, 0], 1e-10, call)


@EACH
def test_frozen_parameters_and_no_grad(cls):
    model, x = models.build(models.Net), models.image_batch()
    expected = reference(cls, model, "block", x, 2)
    with torch.no_grad():
        assert_equals_reference(
            cls, model.requires_grad_(False), "block", x, 2, 1e-10, None, expected
        )


@EACH
@pytest.mark.parametrize("layer", ["layer3", "layer4"])
def test_equals_reference_on_resnet18_in_float32(cls, layer):
    model, x, target = networks.calibrated_resnet18(), networks.pictures(), [3, 11]
    expected = None
    if cls is LayerShapleyCam:  # its Hessian is 0 there
        module = model.get_submodule(layer)
        expected = LayerGradCam(model, module).attribute(x, target).detach()
    assert_equals_reference(cls, model, layer, x, target, 1e-5, None, expected)


@EACH
def test_bfloat16(cls):
    model, x = models.build(models.CalledTwice), models.image_batch()
    wide = cls(model, "relu").attribute(x, 1, call=1)
    narrow = cls(model.bfloat16(), "relu").attribute(x.bfloat16(), 1, call=1)
    assert narrow.dtype == torch.bfloat16
    assert narrow.isfinite().all()
    if cls is LayerSmoothGradCamPlusPlus:
        return  # where gradients are negative its denominator has zeros: no two precisions agree
    pair = torch.stack([wide.flatten().float(), narrow.flatten().float()])
    assert torch.corrcoef(pair)[0, 1] > 0.98


# --- what each promises ------------------------------------------------------------------------


def test_smooth_without_noise_is_grad_cam_plus_plus():
    model, x = models.build(models.CalledTwice), models.image_batch()
    smooth = LayerSmoothGradCamPlusPlus(model, "relu", samples=2, noise=0.0)
    plain = LayerGradCamPlusPlus(model, "relu").attribute(x, 1, call=1)
    torch.testing.assert_close(smooth.attribute(x, 1, call=1), plain, rtol=1e-10, atol=1e-14)


def test_smooth_is_repeatable_and_leaves_the_random_state():
    model, x = models.build(models.Net), models.image_batch()
    before = torch.get_rng_state()
    first = LayerSmoothGradCamPlusPlus(model, "block", seed=1).attribute(x, 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(LayerSmoothGradCamPlusPlus(model, "block", seed=1).attribute(x, 1), first)
    assert not torch.equal(LayerSmoothGradCamPlusPlus(model, "block").attribute(x, 1), first)


def test_finer_with_gamma_0_is_its_base():
    model, x = models.build(models.Net), models.image_batch()
    finer = LayerFinerCam(model, "block", gamma=0.0, base="hires-cam").attribute(x, [0, 4, 2])
    torch.testing.assert_close(finer, LayerHiResCam(model, "block").attribute(x, [0, 4, 2]))


def test_finer_takes_the_classes_there_are():
    model, x = models.build(models.Net), models.image_batch()
    every = LayerFinerCam(model, "block", references=4).attribute(x, 1)
    assert torch.equal(LayerFinerCam(model, "block", references=40).attribute(x, 1), every)


def test_finer_needs_classes_to_compare():
    model, x = models.build(models.Net), models.image_batch()
    with pytest.raises(ValueError, match="2 classes or more, got shape"):
        LayerFinerCam(lambda x: model(x)[:, 2], model.block).attribute(x)
    with pytest.raises(ValueError, match=r"base='hirescam': expected one of .*; nearest: 'hires"):
        LayerFinerCam(model, "block", base="hirescam")
    with pytest.raises(ValueError, match="references=0: expected an integer of at least 1"):
        LayerFinerCam(model, "block", references=0)


def test_shapley_is_grad_cam_where_the_tail_is_piecewise_linear():
    head = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(120, 7), nn.ReLU(), nn.Linear(7, 5))
    model, x = models._seeded(models.Net(head)), models.image_batch()
    captum = LayerGradCam(model, model.block).attribute(x, 1).detach()
    torch.testing.assert_close(LayerShapleyCam(model, "block").attribute(x, 1), captum)
    curved = models.build(models.Net)
    captum = LayerGradCam(curved, curved.block).attribute(x, 1).detach()
    assert not torch.allclose(LayerShapleyCam(curved, "block").attribute(x, 1), captum, rtol=0.01)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class Unfinished(Once):
    @staticmethod
    def backward(ctx, gradient):
        return Backward.apply(gradient, ctx.saved_tensors[0])


class Backward(torch.autograd.Function):
    """A gradient whose own gradient nobody wrote."""

    @staticmethod
    def forward(ctx, gradient, x):
        return 2 * x * gradient

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError


@pytest.mark.parametrize("operation", [Once, Unfinished])
@pytest.mark.parametrize("end", [torch.exp, torch.clone], ids=["curved", "linear"])
def test_shapley_refuses_what_has_no_second_derivative(operation, end):
    class Head(nn.Module):
        def forward(self, x):
            return end(operation.apply(x).mean((2, 3)))

    model, x = models._seeded(models.Net(Head())), models.image_batch()
    with pytest.raises(ValueError, match=r"no second derivative.*\(.+\).*LayerHiResCam"):
        LayerShapleyCam(model, "block").attribute(x, 1)
    LayerHiResCam(model, "block").attribute(x, 1)


def test_shapley_takes_a_derivative_that_is_called_vjp():
    class Twice(torch.autograd.Function):
        forward = Once.forward

        @staticmethod
        def vjp(ctx, gradient):
            return 2 * ctx.saved_tensors[0] * gradient

    def shapley(square):
        class Head(nn.Module):
            def forward(self, x):
                return square(x).mean((2, 3))

        model = models._seeded(models.Net(Head()))
        return LayerShapleyCam(model, "block").attribute(models.image_batch(), 1)

    torch.testing.assert_close(shapley(Twice.apply), shapley(torch.square))


def test_shapley_passes_on_other_errors():
    class Fails(Unfinished):
        @staticmethod
        def backward(ctx, gradient):
            return Fail.apply(gradient, ctx.saved_tensors[0])

    class Fail(Backward):
        @staticmethod
        def backward(ctx, gradient):
            raise RuntimeError

    class Head(nn.Module):
        def forward(self, x):
            return Fails.apply(x).mean((2, 3))

    model = models._seeded(models.Net(Head()))
    with pytest.raises(RuntimeError) as caught:
        LayerShapleyCam(model, "block").attribute(models.image_batch(), 1)
    assert not isinstance(caught.value, ValueError)


def test_shapley_at_several_layers_is_shapley_at_each():
    model, x = models.build(models.Residual), models.image_batch()
    for name, found in zip(
        ["stem", "block"], LayerShapleyCam(model, ["stem", "block"]).attribute(x, 1), strict=True
    ):
        torch.testing.assert_close(found, LayerShapleyCam(model, name).attribute(x, 1))


def test_eigen_grad_cams_channels_add_up():
    model, x = models.build(models.Net), models.image_batch()
    parts = LayerEigenGradCam(model, "block").attribute(x, 1, attr_dim_summation=False)
    assert parts.shape == (3, 4, 5, 6)
    whole = LayerEigenGradCam(model, "block").attribute(x, 1)
    torch.testing.assert_close(parts.sum(1, keepdim=True), whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"samples": 0}, "samples=0: expected"), ({"noise": -1.0}, "noise=-1.0: expected")],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        LayerSmoothGradCamPlusPlus(models.build(models.Net), "block", **options)


# --- the references see a wrong implementation -------------------------------------------------


def _finer_with_attached_p(output, classes, gamma, references):
    own = output.gather(1, classes[:, None])
    distance = (output - own).abs().scatter(1, classes[:, None], -1)
    others = output.gather(1, distance.argsort(dim=1)[:, 1 : references + 1])
    return (others.softmax(1) * (own - gamma * others)).sum(1)


def _finer_of_best_classes(output, classes, gamma, references):
    own = output.gather(1, classes[:, None])
    others = output.topk(references).values
    return (others.detach().softmax(1) * (own - gamma * others)).sum(1)


MUTANTS = {
    "smooth: last gradient": (
        LayerSmoothGradCamPlusPlus,
        "_added",
        lambda left, right: [[SMOOTH["samples"] * t for t in site] for site in right],
    ),
    "smooth: no relu": (
        LayerSmoothGradCamPlusPlus,
        "smooth_grad_cam_plus_plus_weights",
        lambda a, d1, d2, d3: (d2 / (2 * d2 + a.sum(2, keepdim=True) * d3) * d1).sum(2, True),
    ),
    "smooth: powers of the mean": (
        LayerSmoothGradCamPlusPlus,
        "smooth_grad_cam_plus_plus_weights",
        lambda a, d1, d2, d3: (
            d1**2 / (2 * d1**2 + a.sum(2, keepdim=True) * d1**3) * d1.relu()
        ).sum(2, True),
    ),
    "finer: p not held constant": (LayerFinerCam, "finer_score", _finer_with_attached_p),
    "finer: best instead of similar": (LayerFinerCam, "finer_score", _finer_of_best_classes),
    "shapley: whole second order": (
        LayerShapleyCam,
        "shapley_cam_weights",
        lambda g, h: (g - h).mean(2, keepdim=True),
    ),
    "shapley: Grad-CAM": (
        LayerShapleyCam,
        "shapley_cam_weights",
        lambda g, h: g.mean(2, keepdim=True),
    ),
    "eigen-grad: centred": (
        LayerEigenGradCam,
        "first_direction",
        lambda m: components.first_direction(m - m.mean(2, keepdim=True)),
    ),
    "eigen-grad: sign": (
        LayerEigenGradCam,
        "first_direction",
        lambda m: -components.first_direction(m),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_formula_is_seen(mutant, monkeypatch):
    cls, name, wrong = MUTANTS[mutant]
    monkeypatch.setattr(gradient_cam_variants, name, wrong)
    with pytest.raises(AssertionError, match="not close"):
        assert_equals_reference(
            cls, models.build(models.Net), "block", models.image_batch(), [0, 4, 2], 1e-10
        )


@EACH
def test_a_wrong_class_is_seen(cls):
    model, x = models.build(models.Net), models.image_batch()
    wrong = reference(cls, model, "block", x, [0, 4, 1])
    with pytest.raises(AssertionError, match="not close"):
        assert_equals_reference(cls, model, "block", x, [0, 4, 2], 1e-10, None, wrong)


class Attends(nn.Module):
    """A convolution, attention over its positions, a smooth head."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        tokens = self.conv(x).flatten(2).mT
        own = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens, scale=0.3)
        mixed, _ = self.attention(tokens, tokens, own, need_weights=False)
        return self.head(mixed.tanh().mean(1))


def test_second_derivatives_of_attention():
    """Fused attention has none; the flags that choose kernels stay as they are."""
    model = models._seeded(Attends())
    x = models.image_batch(2)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = references_more.shapley_cam(model, model.conv, x, [1, 3])
    flags = (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled())
    assert_equals_reference(LayerShapleyCam, model, "conv", x, [1, 3], 1e-9, expected=expected)
    assert flags == (
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
    )
