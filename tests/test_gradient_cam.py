"""Gradient CAMs: literal references, closed forms, and what they promise."""

import models
import pytest
import references
import torch
from captum.attr import LayerGradCam, NoiseTunnel
from captum.metrics import infidelity, sensitivity_max
from oracles import assert_equal
from torch import nn

from captum_cnn_ext.attr import (
    LayerCam,
    LayerGradCamPlusPlus,
    LayerHiResCam,
    LayerLayerCam,
    LayerXGradCam,
)

FORMULAS = {
    LayerGradCamPlusPlus: references.grad_cam_plus_plus,
    LayerXGradCam: references.x_grad_cam,
    LayerHiResCam: references.hires_cam,
    LayerLayerCam: references.layer_cam,
}
EACH = pytest.mark.parametrize("cls", FORMULAS, ids=lambda c: c.__name__)


@EACH
@pytest.mark.filterwarnings("ignore:LayerGradCamPlusPlus. the layer has channels")
def test_equals_reference_at_the_layers_input(cls):
    model, x = models.build(models.Net), models.image_batch()
    found = cls(model, "relu").attribute(x, 2, attribute_to_layer_input=True)
    a, g = references.activation_and_gradient(model, model.relu, x, 2, at_input=True)
    assert_equal(found, FORMULAS[cls](a, g), 1e-10)


@EACH
def test_last_call_is_the_default_and_is_said(cls):
    model, x = models.build(models.CalledTwice), models.image_batch()
    with pytest.warns(UserWarning, match=r"'relu' is called 2 times .* call=0 to call=1"):
        found = cls(model, "relu").attribute(x, 1)
    assert torch.equal(found, cls(model, "relu").attribute(x, 1, call=1))


# --- closed forms on conv -> ReLU -> global average -> linear, worked out by hand -------------
# x = [[1, -1], [2, 0]]: A_0 = [[1, 0], [2, 0]], A_1 = [[0, 2], [0, 0]]; class 0: W = (2, 4), P = 4
# so g_0 = 1/2, g_1 = 1, S_0 = 3, S_1 = 2.
X = torch.tensor([[[[1.0, -1.0], [2.0, 0.0]]]], dtype=torch.float64)
BY_HAND = {
    LayerCam: [[2, 8], [4, 0]],  # 2 A_0 + 4 A_1
    LayerHiResCam: [[0.5, 2], [1, 0]],  # A_0 / 2 + A_1
    LayerXGradCam: [[0.5, 2], [1, 0]],
    LayerLayerCam: [[0.5, 2], [1, 0]],
    # w = 4 g / (2 + S g): w_0 = 2 / 3.5, w_1 = 4 / 4
    LayerGradCamPlusPlus: [[4 / 7, 2], [8 / 7, 0]],
}


@pytest.mark.parametrize("cls", BY_HAND, ids=lambda c: c.__name__)
def test_worked_out_by_hand(cls):
    found = cls(models.GapLinear(), "relu").attribute(X, 0)
    expected = torch.tensor(BY_HAND[cls], dtype=torch.float64).reshape(1, 1, 2, 2)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_negative_gradients_by_hand():
    # class 1: W = (-8, 0), so g_0 = -2: only HiRes and XGrad keep it
    model = models.GapLinear()
    signed = torch.tensor([[[[-2.0, 0.0], [-4.0, 0.0]]]], dtype=torch.float64)
    for cls in (LayerHiResCam, LayerXGradCam):
        torch.testing.assert_close(cls(model, "relu").attribute(X, 1), signed)
    for cls in (LayerLayerCam, LayerGradCamPlusPlus):
        assert not cls(model, "relu").attribute(X, 1).any()
    relu = LayerHiResCam(model, "relu").attribute(X, 1, relu_attributions=True)
    assert torch.equal(relu, torch.zeros_like(signed))
    mixed = LayerHiResCam(model, "relu").attribute(X, 2, relu_attributions=True)
    torch.testing.assert_close(mixed, X.new_tensor([[[[0.25, 0.0], [0.5, 0.0]]]]))


def test_completeness_where_it_holds():
    model, x = models.GapLinear(), torch.randn(4, 1, 3, 5, dtype=torch.float64)
    target = torch.tensor([0, 2, 1, 0])
    logits = model(x).gather(1, target[:, None])[:, 0]
    bias = model.fc.bias[target]
    hires = LayerHiResCam(model, "relu").attribute(x, target).sum((1, 2, 3))
    cam = LayerCam(model, "relu").attribute(x, target).mean((1, 2, 3))
    torch.testing.assert_close(hires + bias, logits)
    torch.testing.assert_close(cam + bias, logits)


def test_x_grad_cam_gives_weight_0_to_channels_without_a_sum():
    class Balanced(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x):
            return (self.layer(x) * torch.tensor([3.0, 1.0])).sum((1, 2))[:, None]

    x = torch.tensor([[[0.1 + 0.2, -0.3], [5.0, 5.0]]])  # 0.1 + 0.2 - 0.3 is rounding error
    found = LayerXGradCam(Balanced(), "layer").attribute(x, 0, attr_dim_summation=False)
    assert not found[0, 0].any()
    torch.testing.assert_close(found[0, 1], torch.tensor([10.0, 10.0]))


# --- the contract's finer points ---------------------------------------------------------------


def test_channels_kept_and_summed():
    model, x = models.build(models.Net), models.image_batch()
    parts = LayerHiResCam(model, "block").attribute(x, 1, attr_dim_summation=False)
    assert parts.shape == (3, 4, 5, 6)
    torch.testing.assert_close(
        parts.sum(1, keepdim=True), LayerHiResCam(model, "block").attribute(x, 1)
    )


def test_several_layers_in_one_pass_equal_single_layers():
    model, x = models.build(models.Residual), models.image_batch()
    both = LayerHiResCam(model, ["stem", model.block]).attribute(x, 1)
    assert isinstance(both, list)
    for name, found in zip(["stem", "block"], both, strict=True):
        torch.testing.assert_close(found, LayerHiResCam(model, name).attribute(x, 1))


def test_tuple_in_tuple_out():
    model, x = models.build(models.TwoInputs), models.image_batch()
    cam = LayerHiResCam(model, "block")
    (found,) = cam.attribute((x, 0.5 * x), 1, additional_forward_args=(2.0,))
    a, g = references.activation_and_gradient(model, model.block, (x, 0.5 * x), 1, extra=(2.0,))
    torch.testing.assert_close(found, references.hires_cam(a, g), rtol=1e-10, atol=1e-14)


def test_layer_with_several_tensors():
    model, x = models.build(models.TupleOutput), models.image_batch()
    first, second = LayerHiResCam(model, "split").attribute(x, 1)
    assert first.shape == second.shape == (3, 1, 5, 6)
    parts = LayerHiResCam(model, "split").attribute(x, 1, attr_dim_summation=False)
    assert [part.shape[1] for part in parts] == [4, 3]


def test_layer_whose_input_is_a_list():
    model, x = models.build(models.ListInput), models.image_batch()
    parts = LayerHiResCam(model, "join").attribute(x, 1, attribute_to_layer_input=True)
    assert len(parts) == 2
    expected = LayerHiResCam(model, "block").attribute(x, 1)  # block's output is the second part
    torch.testing.assert_close(parts[1], expected)


def test_captums_grad_cam_agrees_where_all_positions_count_equally():
    model, x = models.GapLinear(), torch.randn(3, 1, 4, 4, dtype=torch.float64)
    captum = LayerGradCam(model, model.relu).attribute(x, [0, 1, 2]).detach()
    torch.testing.assert_close(LayerHiResCam(model, "relu").attribute(x, [0, 1, 2]), captum)


def test_noise_tunnel_and_captums_metrics():
    model, x = models.build(models.CalledTwice), models.image_batch()
    cam = LayerGradCamPlusPlus(model, "block")
    cam._weights = lambda a, g: g.mean(2, keepdim=True)  # Grad-CAM, defined on signed layers
    tunnel = NoiseTunnel(cam)
    smooth = tunnel.attribute(x, target=1, nt_samples=3, stdevs=1e-9)
    torch.testing.assert_close(smooth, cam.attribute(x, 1), rtol=1e-5, atol=1e-7)

    cam = LayerHiResCam(model, "block")
    perturb = {"perturb_radius": 0.1, "n_perturb_samples": 4}
    ours = sensitivity_max(cam.attribute, x, target=1, **perturb)
    torch.manual_seed(0)
    ours = sensitivity_max(cam.attribute, x, target=1, **perturb)
    torch.manual_seed(0)
    wrapped = sensitivity_max(lambda i, **k: (cam.attribute(i[0], **k),), x, target=1, **perturb)
    assert torch.equal(ours, wrapped)

    upsampled = LayerHiResCam.interpolate(cam.attribute(x, 1), x.shape[2:]).expand_as(x)
    score = infidelity(model, lambda i: (0.1 * i, 0.9 * i), x, upsampled, target=1)
    assert score.shape == (3,)


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode", "frozen"])
def test_gradients_where_autograd_is_off(mode):
    model, x = models.build(models.Residual), models.image_batch()
    expected = LayerHiResCam(model, "block").attribute(x, 1)
    if mode == "frozen":
        model.requires_grad_(False)
        found = LayerHiResCam(model, "block").attribute(x, 1)
    else:
        with getattr(torch, mode)():
            found = LayerHiResCam(model, "block").attribute(x.clone(), 1)
    assert torch.equal(found, expected)


def test_results_are_detached_and_of_the_layers_kind():
    model, x = models.build(models.Net), models.image_batch()
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        found = LayerHiResCam(model.to(dtype), "block").attribute(x.to(dtype), 1)
        assert found.dtype == dtype
        assert not found.requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        found = LayerHiResCam(model.float(), "block").attribute(x.float(), 1)
    assert found.dtype == torch.bfloat16


@pytest.mark.parametrize("size", [1, 2])
def test_chunks_do_not_change_values(size):
    model, x = models.build(models.Residual), models.image_batch()
    for target in (1, [0, 4, 2], torch.tensor([0, 4, 2])):
        whole = LayerXGradCam(model, ["stem", "block"]).attribute(x, target)
        parts = LayerXGradCam(model, ["stem", "block"]).attribute(
            x, target, internal_batch_size=size
        )
        for a, b in zip(whole, parts, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_tokens_are_never_read_as_maps():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(2, 4, 1)
            self.block = nn.Linear(4, 4)
            self.head = nn.Linear(4, 5)

        def forward(self, x):
            return self.head(self.block(self.patch(x).flatten(2).transpose(1, 2)).mean(1))

    model, x = Tokens(), torch.randn(2, 2, 6, 8)
    with pytest.raises(ValueError, match="reshape_transform"):
        LayerHiResCam(model, "block").attribute(x, 1)
    found = LayerHiResCam(model, "block").attribute(
        x, 1, reshape_transform=lambda t: t.transpose(1, 2).unflatten(2, (6, 8))
    )
    assert found.shape == (2, 1, 6, 8)
    bias = model.head.bias[1]
    total = found.sum((1, 2, 3)) + bias
    torch.testing.assert_close(total, model(x)[:, 1], rtol=1e-4, atol=1e-5)


def test_channels_last_layers_are_never_read_as_channels_first():
    """Recognised where the map is the image divided by a whole step, or the channels are more than
    the image is wide; refused elsewhere."""

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(2, 32, 1)
            self.block = nn.Linear(32, 32)

        def forward(self, x):
            return self.block(self.stem(x).permute(0, 2, 3, 1)).mean((1, 2))

    model, x = Last(), torch.randn(2, 2, 6, 8)
    found = LayerHiResCam(model, "block").attribute(
        x, 1, reshape_transform=lambda t: t.permute(0, 3, 1, 2)
    )
    assert torch.equal(LayerHiResCam(model, "block").attribute(x, 1), found)
    model.stem.stride = (2, 2)
    small = torch.randn(2, 2, 7, 9)
    found_there = LayerHiResCam(model, "block").attribute(
        small, 1, reshape_transform=lambda t: t.permute(0, 3, 1, 2)
    )
    assert torch.equal(LayerHiResCam(model, "block").attribute(small, 1), found_there)
    odd = torch.randn(2, 2, 33, 41)
    with pytest.raises(ValueError, match=r"channels last.*reshape_transform=channels_last_to_map"):
        LayerHiResCam(model, "block").attribute(odd, 1)
    model.stem.stride = (1, 1)
    torch.testing.assert_close(found.sum((1, 2, 3)), model(x)[:, 1], rtol=1e-4, atol=1e-5)
    assert LayerHiResCam(model, "stem").attribute(x, 1).shape == (2, 1, 6, 8)


def test_grad_cam_plus_plus_warns_where_it_is_not_defined():
    model, x = models.build(models.Net), models.image_batch()
    with pytest.warns(UserWarning, match="ill-posed"):
        LayerGradCamPlusPlus(model, "block").attribute(x, 1)


# --- CAM finds its classifier, or says what it found -------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 5)],
        [nn.AvgPool2d((5, 6)), nn.Flatten(), nn.Linear(4, 5)],
        [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5, bias=False)],
    ],
    ids=["adaptive", "kernel", "no bias"],
)
def test_cam_equals_reference(head):
    model = models._seeded(models.Net(nn.Sequential(*head)))
    x, target = models.image_batch(), [4, 0, 2]
    activation = model.features(x).detach()
    expected = references.cam(activation, model.head[-1].weight, target)
    torch.testing.assert_close(LayerCam(model, "relu").attribute(x, target), expected)
    named = LayerCam(model, "relu", classifier=f"head.{len(head) - 1}").attribute(x, target)
    torch.testing.assert_close(named, expected)


def test_cam_on_a_convolutional_classifier():
    head = nn.Sequential(nn.Conv2d(4, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model, x = models._seeded(models.Net(head)), models.image_batch()
    expected = references.cam(model.features(x).detach(), head[0].weight.flatten(1), 2)
    found = LayerCam(model, "relu", classifier=head[0]).attribute(x, 2)
    torch.testing.assert_close(found, expected)


def test_cam_refuses_other_heads():
    x = models.image_batch()
    model = models.build(models.Net)
    with pytest.raises(ValueError, match=r"found Tanh.*classifier="):
        LayerCam(model, "relu").attribute(x, 1)
    with pytest.raises(ValueError, match=r"its weights are for 120 channels.*gives 4"):
        LayerCam(model, "relu", classifier="head.1").attribute(x, 1)
    flat = models._seeded(models.Net(nn.Sequential(nn.Flatten(), nn.Linear(120, 5))))
    with pytest.raises(ValueError, match="do not count equally"):
        LayerCam(flat, "relu").attribute(x, 1)
    with pytest.raises(TypeError, match="expected a Linear layer"):
        LayerCam(model, "relu", classifier="relu")
