"""Where a score has no gradient at a layer, the cause is named; layers without a part in it."""

import pytest
import torch
import torch.nn.functional as F
from references_cam_variants import eigen_cam
from snapshots import nothing_left_behind
from torch import nn
from torch.ao.quantization import quantize_fx

from captum_cnn_ext import attr
from captum_cnn_ext.synthesis import Channel, Custom, Target, maximize


class Head(nn.Module):
    """A linear layer behind what ends the gradient."""

    def __init__(self, end):
        super().__init__()
        self.end, self.fc = end, nn.Linear(4, 5)

    def forward(self, x):
        return self.end(self, x.mean((2, 3)))


def without_grad(head, x):
    with torch.no_grad():
        return head.fc(x)


def in_inference_mode(head, x):
    with torch.inference_mode():
        return head.fc(x)


def with_other_branches(head, x):
    x.detach().sum(), x.mean().item()  # looked at and thrown away
    return head.fc(x.round().long().float())


ENDS = {
    "detach in 'head' (Head) cuts the graph": lambda head, x: head.fc(x.detach()),
    "data in 'head' (Head) cuts the graph": lambda head, x: head.fc(x.data),
    "linear in 'head.fc' (Linear) runs under torch.no_grad": without_grad,
    "linear in 'head.fc' (Linear) runs under torch.inference_mode": in_inference_mode,
    "argmax in 'head' (Head) gives torch.int64, which has no gradient": lambda head, x: F.one_hot(
        head.fc(x).argmax(1), 5
    ).float(),
    "long in 'head' (Head) gives torch.int64": with_other_branches,
    "detach in 'head' (Head) cuts": lambda head, x: head.fc(torch.from_numpy(x.detach().numpy())),
    "tolist in 'head' (Head) takes the values out of PyTorch": lambda head, x: head.fc(
        torch.tensor(x.tolist())
    ),
    "takes values out of PyTorch (Can't call numpy()": lambda head, x: head.fc(
        torch.from_numpy(x.numpy())
    ),
}


def network(end):
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("conv", nn.Conv2d(3, 4, 3))
    model.add_module("head", end if isinstance(end, nn.Module) else Head(end))
    return model.eval()


@pytest.fixture
def x():
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("frozen", [False, True], ids=["", "frozen"])
@pytest.mark.parametrize("reason", ENDS)
def test_the_operation_is_named_and_what_needs_no_gradient(reason, frozen, x):
    model = network(ENDS[reason]).requires_grad_(not frozen)
    calls = (
        lambda: attr.LayerHiResCam(model, "conv").attribute(x, 1),
        lambda: attr.LayerConductance(model, "conv").attribute(x, target=1),
        lambda: attr.GuidedBackprop(model).attribute(x, 1),
    )
    for call in calls:
        with nothing_left_behind(model, x), pytest.raises(ValueError) as error:  # noqa: PT011
            call()
        assert reason in str(error.value)
        assert "LayerAblationCam, LayerScoreCam and LayerReciproCam need no" in str(error.value)
    attr.LayerAblationCam(model, "conv").attribute(x, 1)


def test_an_image_that_is_optimised_is_told_too(x):
    model = network(lambda head, x: head.fc(x.detach()))
    with pytest.raises(ValueError, match=r"no gradient at the image, because detach in 'head'"):
        maximize(model, Target(1), image=6, steps=2)
    with pytest.raises(ValueError, match="no gradient at the image, because detach cuts"):
        maximize(model, Custom("conv", lambda a: a.detach().sum((1, 2, 3))), image=6, steps=2)
    maximize(model, Channel("conv", 1), image=6, steps=2)


@pytest.fixture
def quantised():
    torch.manual_seed(0)
    floating = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)).eval()
    return torch.ao.quantization.quantize_dynamic(floating, {nn.Linear}), floating


@pytest.mark.skipif(not torch.backends.quantized.supported_engines, reason="no quantised kernels")
@pytest.mark.filterwarnings("ignore")
def test_a_quantised_operation_is_named(quantised, x):
    model, floating = quantised
    reason = "quantized.linear_dynamic in '3' .* has no derivative.*LayerAblationCam"
    for call in (
        lambda: attr.LayerHiResCam(model, "0").attribute(x, 1),
        lambda: attr.GuidedBackprop(model).attribute(x, 1),
        lambda: attr.LayerIntegratedGradients(model, "0").attribute(x, target=1),
        lambda: maximize(model, Target(1), image=6, steps=2),
    ):
        with pytest.raises(ValueError, match=reason.partition(".*LayerA")[0]):
            call()
    with pytest.raises(ValueError, match=reason):
        attr.LayerHiResCam(model, "0").attribute(x, 1)
    found = attr.LayerAblationCam(model, "0").attribute(x, 1)
    expected = attr.LayerAblationCam(floating, "0").attribute(x, 1)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))


@pytest.mark.skipif(not torch.backends.quantized.supported_engines, reason="no quantised kernels")
@pytest.mark.filterwarnings("ignore")
def test_layers_of_quantised_numbers(x):
    torch.manual_seed(0)
    floating = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)).eval()
    settings = torch.ao.quantization.get_default_qconfig_mapping()
    prepared = quantize_fx.prepare_fx(floating, settings, (x,))
    prepared(x)
    model = quantize_fx.convert_fx(prepared)
    activation = attr.LayerFeatureMaps(model, "0").attribute(x)
    assert activation.dtype == torch.quint8
    found = attr.LayerEigenCam(model, "0").attribute(x)
    torch.testing.assert_close(found.double(), eigen_cam(activation.dequantize()).double())
    shown = attr.LayerScoreCam(model, "0").attribute(x, 1)
    expected = attr.LayerScoreCam(floating, "1").attribute(x, 1)
    torch.testing.assert_close(shown, expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))
    others = "LayerEigenCam, LayerScoreCam, Occlusion and Rise explain a quantised model"
    with pytest.raises(ValueError, match=f"gives quantised numbers .torch.quint8.*{others}"):
        attr.LayerAblationCam(model, "0").attribute(x, 1)
    with pytest.raises(ValueError, match=f"has no gradient there, as torch.quint8.*{others}"):
        attr.LayerHiResCam(model, "0").attribute(x, 1)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_a_module_that_computes_out_of_sight_is_named(x):
    head = torch.jit.trace(Head(lambda head, x: head.fc(x.detach())), torch.randn(2, 4, 4, 4))
    with pytest.raises(ValueError, match=r"'head' \(TopLevelTracedModule\) computes outside"):
        attr.LayerHiResCam(network(head), "conv").attribute(x, 1)


def test_a_selection_without_a_gradient(x):
    class Rounded(attr.LayerHiResCam):
        def _score(self, output, target):
            return output[:, target].detach()

    model = network(lambda head, x: head.fc(x))
    with pytest.raises(ValueError, match="what selects the score from the output cuts it off"):
        Rounded(model, "conv").attribute(x, 1)


# --- a layer, or one of its tensors, that has no part in the score -------------------------------


class Two(nn.Module):
    """Gives two tensors, or the first of them alone."""

    def __init__(self):
        super().__init__()
        self.alone = False
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return (self.a(x).relu(),) if self.alone else (self.a(x).relu(), self.b(x))


class OneIsUsed(nn.Module):
    def __init__(self, bend):
        super().__init__()
        self.two, self.fc, self.bend = Two(), nn.Linear(4, 5), bend

    def forward(self, x):
        return self.fc(self.bend(self.two(x)[0].mean((2, 3))))


LAYER_METHODS = [
    attr.LayerHiResCam,
    attr.LayerAblationCam,
    attr.LayerReciproCam,
    attr.LayerIntegratedGradients,
    attr.LayerConductance,
    attr.InternalInfluence,
]


@pytest.fixture(params=[lambda t: t, torch.tanh], ids=["affine", "bent"])
def one_is_used(request):
    torch.manual_seed(0)
    return OneIsUsed(request.param).eval()


@pytest.mark.parametrize("method", LAYER_METHODS)
@pytest.mark.parametrize("frozen", [False, True], ids=["", "frozen"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["", "function"])
def test_a_layer_without_a_part_in_the_score(one_is_used, method, frozen, wrapped, x):
    model = one_is_used.requires_grad_(not frozen)
    forward = (lambda x: model(x)) if wrapped else model
    with (
        nothing_left_behind(model, x),
        pytest.raises(ValueError, match="does not depend on this layer"),
    ):
        method(forward, model.two.b).attribute(x, target=1)


@pytest.mark.parametrize("method", LAYER_METHODS)
@pytest.mark.parametrize("frozen", [False, True], ids=["", "frozen"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["", "function"])
def test_a_tensor_without_a_part_gets_zeros(one_is_used, method, frozen, wrapped, x):
    model = one_is_used.requires_grad_(not frozen)
    forward = (lambda x: model(x)) if wrapped else model
    found = method(forward, model.two).attribute((x,), target=1)
    model.two.alone = True
    expected = method(model, model.two).attribute((x,), target=1)
    expected = expected[0] if isinstance(expected, tuple) else expected
    torch.testing.assert_close(found[0], expected)
    assert found[0].abs().max() > 0
    assert not found[1].any()


def test_a_layer_whose_units_are_all_off_is_no_layer_without_a_part(x):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)).eval()
    with torch.no_grad():
        model[0].bias.fill_(-1000)
    for method in (attr.LayerHiResCam, attr.LayerAblationCam):
        assert not method(model, "0").attribute(x, 1).any()


def test_grad_kwargs_reach_autograd_in_integrated_gradients(x):
    model = network(lambda head, x: head.fc(x).tanh())
    method = attr.LayerIntegratedGradients(model, "conv")
    found = method.attribute(x, target=1, n_steps=4, grad_kwargs={"create_graph": True})
    assert torch.equal(found, method.attribute(x, target=1, n_steps=4))
    with pytest.raises(TypeError, match="no_such"):
        method.attribute(x, target=1, grad_kwargs={"no_such": True})
