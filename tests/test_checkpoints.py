"""Models with `torch.utils.checkpoint`, or a part under no_grad: right, or refused in words."""

import pytest
import torch
from captum.attr import Saliency
from torch import nn
from torch.utils.checkpoint import checkpoint

from captum_cnn_ext import attr, evidence
from captum_cnn_ext.insights import explain
from captum_cnn_ext.synthesis import Channel, maximize

pytestmark = [
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad"),
    pytest.mark.filterwarnings("ignore:Input Tensor .* did not already require gradients"),
]
X = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
OFF = "switch checkpoints off for explanations: they save memory in training and change no value"


class Net(nn.Module):
    def __init__(self, middle):
        super().__init__()
        self.middle = middle
        self.a = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.SiLU(), nn.Conv2d(4, 4, 1))
        self.c, self.fc = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.c(self.middle(self.b, self.a(x))).mean((2, 3)))


def plain(part, x):
    return part(x)


def again(part, x):
    return checkpoint(part, x, use_reentrant=False)


def reentrant(part, x):
    return checkpoint(part, x, use_reentrant=True)


def frozen(part, x):
    with torch.no_grad():
        return part(x)


def in_inference(part, x):
    with torch.inference_mode():
        return part(x)


class WhollyInInference(Net):
    @torch.inference_mode()
    def forward(self, x):
        return super().forward(x)


def net(middle):
    torch.manual_seed(0)
    return Net(middle).eval()


CAMS = (attr.LayerHiResCam, attr.LayerShapleyCam, attr.LayerConductance, attr.LayerAblationCam)
WITHOUT = "LayerAblationCam, LayerScoreCam and LayerReciproCam need no gradient"
INSIDE = ("b.0", "b.1", "b")


def through_the_tail(model, layer):
    tail = attr.TailForward(model, layer, X)
    return Saliency(tail).attribute(3 * tail.activation - 0.2, target=1)


@pytest.mark.parametrize("cam", CAMS)
@pytest.mark.parametrize("layer", ["a", *INSIDE, "c"])
@pytest.mark.parametrize("middle", [again, frozen])
def test_cams_are_those_of_the_plain_model(middle, layer, cam):
    if middle is frozen and layer == "a" and cam is not attr.LayerAblationCam:
        with pytest.raises(ValueError, match=r"in 'b.0' \(Conv2d\) runs under torch.no_grad\. "):
            cam(net(middle), layer).attribute(X, target=1)
        return
    found, expected = (cam(net(m), layer).attribute(X, target=1) for m in (middle, plain))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("layer", INSIDE)
def test_the_tail_of_a_layer_under_no_grad(layer):
    for method in (
        through_the_tail,
        lambda m, name: attr.LayerIntegratedGradients(m, name).attribute(X, target=1),
    ):
        torch.testing.assert_close(method(net(frozen), layer), method(net(plain), layer))


@pytest.mark.parametrize("layer", INSIDE)
def test_no_picture_of_zeros_where_the_image_is_cut_off(layer):
    for middle, why in (
        (frozen, r"runs under torch.no_grad\."),
        (reentrant, "under torch.no_grad, as torch.utils.checkpoint with use_reentrant=True does"),
    ):
        with pytest.raises(ValueError, match=f"{layer}': has no gradient at the inputs, .*{why}"):
            attr.DeconvNet(net(middle), layer).attribute(X, channels=0, rule="guided")
        with pytest.raises(ValueError, match="does not depend on the images"):
            evidence.effective_receptive_field(net(middle), layer, X)


@pytest.mark.parametrize("layer", INSIDE)
@pytest.mark.parametrize("middle", [again, reentrant])
def test_other_values_are_not_put_in_a_layer_that_runs_again(middle, layer):
    with pytest.raises(ValueError, match=f"layer '{layer}': runs in torch.utils.check.*{OFF}"):
        through_the_tail(net(middle), layer)
    with pytest.raises(ValueError, match=f"layer '{layer}': runs in torch.utils.check.*{OFF}"):
        attr.LayerIntegratedGradients(net(middle), layer).attribute(X, target=1)
    for outside in ("a", "c") if middle is again else ("c",):
        found, expected = (through_the_tail(net(m), outside) for m in (middle, plain))
        torch.testing.assert_close(found, expected)


def test_a_reentrant_checkpoint_is_named():
    model = net(reentrant)
    because = f"with use_reentrant=True, .* pass use_reentrant=False, or {OFF}"
    for call in (
        lambda: attr.LayerHiResCam(model, "a").attribute(X, 1),
        lambda: attr.LayerHiResCam(model, "b.0").attribute(X, 1),
        lambda: attr.LayerIntegratedGradients(model, "a").attribute(X, target=1),
        lambda: attr.LayerOptiCam(model, "b").attribute(X, 1),
        lambda: attr.GuidedBackprop(model).attribute(X, 1),
        lambda: attr.FullGrad(model).attribute(X, 1),
        lambda: attr.DeconvNet(model, "c").attribute(X, channels=0, rule="guided"),
        lambda: maximize(model, Channel("c", 1), 9, steps=1),
    ):
        with pytest.raises(ValueError, match=because):
            call()
    found, expected = (attr.LayerAblationCam(m, "b").attribute(X, 1) for m in (model, net(plain)))
    torch.testing.assert_close(found, expected)


def test_guided_backpropagation_reads_what_a_checkpoint_keeps_once():
    with pytest.raises(ValueError, match=f"refuses this backward pass; {OFF}"):
        attr.GuidedBackprop(net(again)).attribute(X, 1)
    found, expected = (attr.Deconvolution(net(m)).attribute(X, 1) for m in (again, plain))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("layer", ["a", *INSIDE, "c"])
def test_inference_mode_in_a_model_is_named_and_what_needs_no_gradient_works(layer):
    torch.manual_seed(0)
    for model in (net(in_inference), WhollyInInference(plain).eval()):
        model.load_state_dict(net(plain).state_dict())
        for cam in (attr.LayerAblationCam, attr.LayerReciproCam, attr.LayerScoreCam):
            found, expected = (cam(m, layer).attribute(X, 1) for m in (model, net(plain)))
            torch.testing.assert_close(found, expected)
        calls = [
            lambda m: attr.LayerOptiCam(m, layer).attribute(X, 1),
            lambda m: attr.GuidedBackprop(m).attribute(X, 1),
        ]
        if layer != "c" or isinstance(model, WhollyInInference):
            calls.append(lambda m: attr.LayerHiResCam(m, layer).attribute(X, 1))
            calls.append(lambda m: attr.LayerIntegratedGradients(m, layer).attribute(X, target=1))
        for call in calls:
            with pytest.raises(ValueError, match=f"under torch.inference_mode.*{WITHOUT}"):
                call(model)


def test_explain_finds_the_layer_behind_a_part_in_inference_mode():
    model = net(in_inference)
    found = explain(model, X[:1], 1, check=False)
    assert found.layer == "c"
    expected = attr.LayerHiResCam(net(plain), "c").attribute(X[:1], 1)
    torch.testing.assert_close(found.attributions, expected)
