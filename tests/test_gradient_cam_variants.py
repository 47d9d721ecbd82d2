"""Smooth Grad-CAM++, Finer-CAM, ShapleyCAM, Eigen-Grad-CAM: references and promises."""

import models
import networks
import pytest
import references_cam_variants as cam_variants
import torch
from captum.attr import LayerGradCam
from oracles import assert_equal, oracle_of
from torch import nn

from captum_cnn_ext.attr import (
    LayerEigenGradCam,
    LayerFinerCam,
    LayerGradCamPlusPlus,
    LayerHiResCam,
    LayerShapleyCam,
    LayerSmoothGradCamPlusPlus,
)

CLASSES = [LayerSmoothGradCamPlusPlus, LayerFinerCam, LayerShapleyCam, LayerEigenGradCam]
EACH = pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
pytestmark = pytest.mark.filterwarnings("ignore:.*the layer has channels that sum to less than 0")


@EACH
def test_frozen_parameters_and_no_grad(cls):
    model, x = models.build(models.Net), models.image_batch()
    oracle = oracle_of(cls)
    expected = oracle.expected(model, "block", x, 2)
    with torch.no_grad():
        found = oracle.attribute(model.requires_grad_(False), "block", x, 2)
    assert_equal(found, expected, 1e-10)


@EACH
@pytest.mark.parametrize("layer", ["layer3", "layer4"])
def test_equals_reference_on_resnet18_in_float32(cls, layer):
    model, x, target = networks.calibrated_resnet18(), networks.pictures(), [3, 11]
    oracle = oracle_of(cls)
    if cls is LayerShapleyCam:  # its Hessian is 0 there
        expected = LayerGradCam(model, model.get_submodule(layer)).attribute(x, target)
    else:
        expected = oracle.expected(model, layer, x, target)
    assert_equal(oracle.attribute(model, layer, x, target), expected, 1e-5)


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
        expected = cam_variants.shapley_cam(model, model.conv, x, [1, 3])
    flags = (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled())
    assert_equal(LayerShapleyCam(model, "conv").attribute(x, [1, 3]), expected, 1e-9)
    assert flags == (
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
    )
