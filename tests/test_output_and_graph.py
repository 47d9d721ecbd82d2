"""The model's output beside the map, and maps in the graph for losses on them."""

import inspect
import warnings

import every_class
import models
import pytest
import test_contract
import torch
from snapshots import nothing_left_behind
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from captum_cnn_ext import attr

OTHERS = ("LayerFeatureMaps", "LayerFeatureAblation", "LayerIntegratedGradients")
LAYERS = [
    name
    for name in attr.__all__
    if name not in OTHERS
    and hasattr(value := getattr(attr, name), "attribute")
    and "return_output" in inspect.signature(value.attribute).parameters
]
IN_GRAPH = [
    "LayerGradCam", "LayerGradCamPlusPlus", "LayerHiResCam", "LayerLayerCam", "LayerXGradCam",
    "LayerCam", "LayerRefineCam", "LayerEigenGradCam",
]  # fmt: skip
X = models.image_batch(3)
pytestmark = pytest.mark.filterwarnings("ignore:.*(ill-posed|sum to less than 0)")


def cam_of(name, model):
    if name == "LayerCam":
        return attr.LayerCam(model, "head.0"), {"attribute_to_layer_input": True}
    options = {"steps": 2} if name == "LayerOptiCam" else {}
    return getattr(attr, name)(model, "block", **options), {}


# --- the output --------------------------------------------------------------------------------


def test_every_map_of_a_layer_takes_it():
    cams = [n for n in attr.__all__ if n.endswith("Cam") and n.startswith("Layer")]
    assert set(cams) <= set(LAYERS)
    assert len(LAYERS) > 15


@pytest.mark.parametrize("name", LAYERS)
def test_map_and_output_of_one_pass(name):
    model, _ = test_contract.build(every_class.KIND)
    cam, options = cam_of(name, model)
    calls = []
    model.head.register_forward_hook(lambda *_: calls.append(1))
    plain = cam.attribute(X, [0, 4, 2], **options)
    alone = len(calls)
    calls.clear()
    with nothing_left_behind(model, X):
        maps, output = cam.attribute(X, [0, 4, 2], return_output=True, **options)
    stops = name in (
        "LayerOptiCam",
        "LayerSmoothGradCamPlusPlus",
    )  # a first pass, which goes on now
    assert len(calls) == max(alone, 1) + stops, "another pass was run"
    assert torch.equal(maps, plain)
    torch.testing.assert_close(output, model(X).detach())
    assert not output.requires_grad
    chunked, whole = cam.attribute(
        X, [0, 4, 2], return_output=True, internal_batch_size=2, **options
    )
    torch.testing.assert_close(whole, output)
    if name != "LayerDeepFeatureFactorization":
        torch.testing.assert_close(chunked, plain)


def test_outputs_of_other_forms_are_joined():
    model, _ = test_contract.build(every_class.KIND)
    expected = model(X).detach()
    forms = {
        "dict": lambda y: {"logits": y, "names": "abc"},
        "tuple": lambda y: (y, [y.argmax(1)]),
    }
    for kind, form in forms.items():
        cam = attr.LayerHiResCam(lambda x, form=form: form(model(x)), model.block)
        maps, output = cam.attribute(X, 1, return_output=True, internal_batch_size=2)
        torch.testing.assert_close(output["logits"] if kind == "dict" else output[0], expected)
        assert maps.shape == (3, 1, 5, 6)
    from captum_cnn_ext._engine.nested_tensors import joined_rows

    rows = [{"boxes": torch.zeros(n, 4)} for n in range(3)]
    assert joined_rows([rows[:2], rows[2:]]) == rows


def test_many_targets_and_several_layers():
    model, _ = test_contract.build("functional")
    cam = attr.LayerHiResCam(model, ["stem", "block"])
    maps, output = cam.attribute_targets(X, [0, 1], return_output=True)
    assert [tuple(m.shape) for m in maps] == [(3, 2, 1, 5, 6)] * 2
    torch.testing.assert_close(output, model(X).detach())
    (one,), _ = attr.LayerHiResCam(model, "block").attribute((X,), 0, return_output=True)
    assert torch.equal(one, maps[1][:, 0])


def test_feature_maps_with_the_output():
    model, _ = test_contract.build("functional")
    maps = attr.LayerFeatureMaps(model, ["stem", "block"])
    plain = maps.attribute(X)
    found, output = maps.attribute(X, return_output=True, internal_batch_size=2)
    torch.testing.assert_close(output, model(X).detach())
    assert not output.requires_grad
    for ours, right in zip(found, plain, strict=True):
        torch.testing.assert_close(ours, right)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("LayerFeatureAblation", {"perturbations_per_eval": 7}),
        ("LayerIntegratedGradients", {"n_steps": 3}),
        ("LayerIntegratedGradients", {"n_steps": 3, "return_convergence_delta": True}),
    ],
)
@pytest.mark.parametrize("layer", ["block", ["block"]])
def test_captums_classes_with_the_output(name, options, layer):
    model, _ = test_contract.build(every_class.KIND)
    method, forwards = getattr(attr, name)(model, layer), []
    model.stem.register_forward_hook(lambda *_: forwards.append(1))
    plain = method.attribute(X, target=[0, 4, 2], **options)
    alone = len(forwards)
    forwards.clear()
    with nothing_left_behind(model, X):
        *found, output = method.attribute(X, target=[0, 4, 2], return_output=True, **options)
    assert len(forwards) == alone, "another pass was run"
    torch.testing.assert_close(output, model(X).detach())
    assert not output.requires_grad
    plain = plain if "return_convergence_delta" in options else (plain,)
    torch.testing.assert_close(tuple(found), tuple(plain))
    form = lambda x: {"logits": model(x), "names": "abc"}  # noqa: E731
    module = model.block if layer == "block" else [model.block]
    *_, output = getattr(attr, name)(form, module).attribute(
        X, target=1, return_output=True, **options
    )
    torch.testing.assert_close(output["logits"], model(X).detach())
    assert output["names"] == "abc"


# --- the graph ---------------------------------------------------------------------------------


class Smooth(nn.Module):
    """Every derivative exists everywhere, and no weight is symmetric to another."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 3, 2)
        self.block = nn.Conv2d(3, 3, 2)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))

    def forward(self, x):
        return self.head(nn.functional.softplus(self.block(self.stem(x).tanh())))


def smooth(name):
    model = models._seeded(Smooth())
    if name not in ("LayerCam", "LayerRefineCam"):  # these need a linear head
        model.head = models._seeded(
            nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 4))
        )
    return model


SMALL = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(5)).double()


def maps_of(name, model, x):
    cam, options = cam_of(name, model)
    return cam.attribute(x, torch.tensor([1, 2]), create_graph=True, **options)


@pytest.mark.parametrize("name", IN_GRAPH)
def test_the_derivative_by_the_input_is_that_of_finite_differences(name):
    model, x = smooth(name), SMALL.clone().requires_grad_()
    cam, options = cam_of(name, model)
    detached = cam.attribute(x, torch.tensor([1, 2]), **options)
    assert not detached.requires_grad
    found = maps_of(name, model, x)
    assert torch.allclose(found, detached)
    assert float(found.detach().std()) > 0
    assert gradcheck(lambda x: maps_of(name, model, x), x)


@pytest.mark.parametrize("name", ["LayerHiResCam", "LayerXGradCam"])
def test_and_the_second_derivative(name):
    model, x = smooth(name), SMALL[:1, :, :3, :3].clone().requires_grad_()
    model.head = models._seeded(nn.Sequential(nn.Flatten(), nn.Linear(3, 5), nn.Tanh()))
    cam = getattr(attr, name)(model, "block")
    assert gradgradcheck(lambda x: cam.attribute(x, 1, create_graph=True).square(), x)


@pytest.mark.parametrize("name", IN_GRAPH)
def test_the_derivative_by_the_parameters(name):
    model = smooth(name)

    def loss():
        return maps_of(name, model, SMALL).square().sum()

    before = [p.grad for p in model.parameters()]
    assert before == [None] * len(before)
    loss().backward()
    assert SMALL.grad is None
    for parameter in (model.stem.weight, model.block.weight, model.head[-1].weight):
        entry = (0,) * (parameter.ndim - 1) + (1,)
        entry = (2, *entry[1:]) if parameter is model.head[-1].weight else entry
        step, values = 1e-5, []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[entry] += sign * step
            values.append(float(loss().detach()))
            with torch.no_grad():
                parameter[entry] -= sign * step
        expected = (values[0] - values[1]) / (2 * step)
        assert float(parameter.grad[entry]) == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_training_on_a_map_moves_it():
    """Right for the right reasons: the evidence outside of a mask goes."""
    model = smooth("LayerHiResCam")
    mask = torch.zeros(1, 1, 2, 2).double()
    mask[..., 0] = 1
    adam = torch.optim.Adam(model.parameters(), lr=0.05)
    shares = []
    for _ in range(40):
        maps, output = attr.LayerHiResCam(model, "block").attribute(
            SMALL, 1, create_graph=True, return_output=True
        )
        outside = (maps * (1 - mask)).square().mean() / maps.square().mean()
        shares.append(float(outside.detach()))
        loss = outside + nn.functional.cross_entropy(output, torch.tensor([1, 1]))
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert shares[-1] < 0.2 < shares[0]


def test_under_no_grad_and_in_chunks():
    model, x = smooth("LayerHiResCam"), SMALL.clone().requires_grad_()
    cam = attr.LayerHiResCam(model, "block")
    whole = cam.attribute(x, 1, create_graph=True)
    with torch.no_grad():
        inside = cam.attribute(x, 1, create_graph=True, internal_batch_size=1)
    assert inside.requires_grad
    torch.testing.assert_close(
        torch.autograd.grad(inside.square().sum(), x), torch.autograd.grad(whole.square().sum(), x)
    )
    both = cam.attribute_targets(x, [1, 2], create_graph=True)
    torch.testing.assert_close(
        torch.autograd.grad(both[:, 0].square().sum(), x),
        torch.autograd.grad(cam.attribute(x, 1, create_graph=True).square().sum(), x),
    )


def test_the_wrong_graph_is_seen(monkeypatch):
    """Detached activations, as without create_graph, are not what finite differences say."""
    from captum_cnn_ext._engine.running.layer_recording import Recording

    monkeypatch.setattr(Recording, "outputs", Recording.activations)
    model, x = smooth("LayerHiResCam"), SMALL.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        gradcheck(lambda x: maps_of("LayerHiResCam", model, x), x)


@pytest.mark.parametrize("name", sorted({*LAYERS} - {*IN_GRAPH}))
def test_others_refuse_it(name):
    model, _ = test_contract.build(every_class.KIND)
    cam, options = cam_of(name, model)
    with (
        warnings.catch_warnings(),
        pytest.raises(ValueError, match="create_graph=True: the map of"),
    ):
        cam.attribute(X, 1, create_graph=True, **options)


def test_a_classifiers_weights_are_no_graph():
    cam = attr.LayerCam(smooth("LayerCam"), "block", classifier="head.2")
    with pytest.raises(ValueError, match="leave classifier out"):
        cam.attribute(SMALL, 1, create_graph=True)
