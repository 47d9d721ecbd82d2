"""What holds for every class on any input: drawn by hypothesis, the same draws every time.

``EXAMPLES=100`` draws more of them.
"""

import os
import warnings

import every_class
import models
import oracles
import pytest
import references
import test_contract
import torch
from torch import nn

from captum_cnn_ext import attr

hypothesis = pytest.importorskip("hypothesis")  # of the extra test
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

GRADIENT = [attr.LayerGradCamPlusPlus, attr.LayerHiResCam, attr.LayerLayerCam, attr.LayerXGradCam,
            attr.LayerShapleyCam]  # fmt: skip
CHUNKED = [c for c in test_contract.LAYER_CLASSES
           if c is not attr.LayerDeepFeatureFactorization
           and c not in (attr.LayerFeatureAblation, attr.LayerFinerCam)]  # fmt: skip
QUICK = settings(
    max_examples=int(os.environ.get("EXAMPLES", "4")),
    derandomize=True,
    deadline=None,
    database=None,
)
pytestmark = pytest.mark.filterwarnings("ignore")


def image(seed, scale, rows):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, 2, 5, 6, generator=generator).double()


inputs = st.builds(
    image, st.integers(0, 2**31), st.sampled_from([1e-3, 1.0, 50.0]), st.integers(1, 4)
)
MODEL, LAYER = test_contract.build(every_class.KIND)


def run(cls, x, model=MODEL, layer=LAYER, **kwargs):
    kwargs |= {"target": kwargs.get("target", 1)} if cls in test_contract.TARGETED else {}
    place, at = test_contract.place(cls, model, layer), oracles.oracle_of(cls).arguments
    options = {"steps": 2} if cls is attr.LayerOptiCam else {}
    options |= {"top_channels": 2} if issubclass(cls, attr.LayerScoreCam) else {}
    return cls(model, place, **options).attribute(x, **(at | kwargs))


def close(found, expected):
    atol = 1e-9 * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("cls", CHUNKED, ids=lambda c: c.__name__)
def test_a_batch_is_its_examples_whatever_the_chunks(cls):
    sized = "internal_batch_size" in test_contract.inspect.signature(cls.attribute).parameters

    @QUICK
    @given(inputs, st.integers(1, 5))
    def check(x, size):
        whole = run(cls, x)
        close(torch.cat([run(cls, x[n : n + 1]) for n in range(len(x))]), whole)
        path = cls in (attr.InternalInfluence, attr.LayerConductance, attr.LayerIntegratedGradients)
        if sized and not path:
            close(run(cls, x, internal_batch_size=size), whole)

    check()


class Scaled(nn.Module):
    def __init__(self, model, factor):
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, x):
        return self.factor * self.model(x)


@pytest.mark.parametrize("cls", GRADIENT, ids=lambda c: c.__name__)
def test_scaling_the_logit_scales_the_map(cls):
    @QUICK
    @given(inputs, st.floats(0.01, 100))
    def check(x, factor):
        found = run(cls, x, Scaled(MODEL, factor))
        if cls is attr.LayerGradCamPlusPlus:  # its weights are no linear function of the gradient
            a, g = references.activation_and_gradient(MODEL, LAYER, x, 1)
            close(found, references.grad_cam_plus_plus(a, factor * g))
            return
        close(found, factor * run(cls, x))

    check()


class Permuted(nn.Module):
    """The same network with the layer's channels in another order."""

    def __init__(self, order):
        super().__init__()
        self.stem, self.back = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.order = order
        for new, old in ((self.stem, SMALL[0]), (self.back, SMALL[2])):
            new.load_state_dict(old.state_dict())
        with torch.no_grad():
            self.stem.weight.copy_(SMALL[0].weight[order])
            self.stem.bias.copy_(SMALL[0].bias[order])
            self.back.weight.copy_(SMALL[2].weight[:, order])
        self.double()

    def forward(self, x):
        return self.back(self.stem(x).tanh()).sigmoid().mean((2, 3))


SMALL = models._seeded(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 4, 1)))


@pytest.mark.parametrize(
    "cls", [*GRADIENT, attr.LayerAblationCam, attr.LayerEigenCam, attr.LayerKPCACam, attr.LayerFem,
            attr.LayerReciproCam, attr.LayerScoreCam, attr.LayerEigenGradCam],
    ids=lambda c: c.__name__,
)  # fmt: skip
def test_the_order_of_channels_does_not_matter(cls):
    straight = Permuted([0, 1, 2, 3]).eval()

    @QUICK
    @given(inputs, st.permutations(range(4)))
    def check(x, order):
        turned = Permuted(list(order)).eval()
        arguments = {"target": 1} if cls in test_contract.TARGETED else {}
        maps = [cls(m, "stem").attribute(x, **arguments) for m in (straight, turned)]
        atol = 1e-7 * float(maps[0].abs().max())
        torch.testing.assert_close(maps[0], maps[1], rtol=0, atol=atol)

    check()


@pytest.mark.parametrize("name", every_class.NAMES)
@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_zero_nan_and_inf_inputs_do_not_reach_other_examples(name, value):
    """A zero image has a finite answer; a broken one its own trouble, or a named error."""
    model, layer = test_contract.build(every_class.KIND)
    good = models.image_batch(2)
    broken = torch.cat([torch.full_like(good[:1], value), good[1:]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = every_class.calls(model, layer, good)[name]()
        try:
            found = every_class.calls(model, layer, broken)[name]()
        except (ValueError, ArithmeticError) as error:
            assert value != 0
            assert "not" in str(error) or "NaN" in str(error)  # noqa: PT017
            return
    if value == 0:
        assert found.isfinite().all()
    if name != "LayerDeepFeatureFactorization":
        close(found[1:], expected[1:])
