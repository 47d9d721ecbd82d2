"""Scripted, traced and frozen models: what reads no layer works, the rest says why it cannot."""

import pytest
import torch
from torch import nn

from captum_cnn_ext import attr
from captum_cnn_ext.insights import audit, explain
from captum_cnn_ext.synthesis import Channel, Target, maximize

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning"),
]
X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
REFUSED = "is TorchScript, whose layers cannot be observed.* the original torch.nn.Module"
KINDS = {
    "scripted": torch.jit.script,
    "traced": lambda model: torch.jit.trace(model, X),
    "frozen": lambda model: torch.jit.freeze(torch.jit.script(model)),
}
WINDOWS = {"sliding_window_shapes": (3, 4, 4), "strides": (3, 4, 4)}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Conv2d(4, 4, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "call",
    [
        lambda model: attr.LayerHiResCam(model, "0"),
        lambda model: attr.LayerAblationCam(model, "0.1"),
        lambda model: attr.LayerFeatureMaps(model, "nothing"),
        lambda model: attr.DeconvNet(model, "0"),
        lambda model: attr.FullGrad(model),
        lambda model: attr.suggest_layers(model, X),
        lambda model: maximize(model, Channel("0", 1), 8, steps=1),
        lambda model: explain(model, X[:1]),
        lambda model: explain(model, X[:1], layer="0"),
        lambda model: audit(model, X[:1], show_progress=False),
    ],
)
def test_what_needs_layers_refuses_torchscript(model, kind, call):
    with pytest.raises(ValueError, match=REFUSED):
        call(KINDS[kind](model))


@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_no_layer_explains_torchscript(model, kind):
    other = KINDS[kind](model)
    for explain_one in (
        lambda m: attr.Occlusion(m).attribute(X, target=1, **WINDOWS),
        lambda m: attr.Rise(m).attribute(X, target=1, n_samples=8),
        lambda m: explain(m, X[:1], method="Occlusion").attributions,
    ):
        torch.testing.assert_close(explain_one(other), explain_one(model))
    found, expected = (maximize(m, Target(1), 8, steps=2).images for m in (other, model))
    torch.testing.assert_close(found, expected)


def test_layers_around_a_scripted_part(model):
    outer, x = model[0], X[:1]
    scripted = nn.Sequential(outer, torch.jit.script(model[1:3]), *model[3:]).eval()
    whole = nn.Sequential(outer, model[1:3], *model[3:]).eval()
    found, expected = (attr.LayerHiResCam(m, "0").attribute(x, 1) for m in (scripted, whole))
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match=f"layer: .*{REFUSED}"):
        attr.LayerHiResCam(scripted, "1")
    with pytest.raises(ValueError, match=f"layer '1': .*{REFUSED}"):
        attr.suggest_layers(scripted, x)
