"""Heads that write in place into what autograd saved: as the same head written without writing."""

import pytest
import torch
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext import attr
from captum_cnn_ext._engine.backward.saved_tensors import CopiesBeforeWrites, written_into
from captum_cnn_ext._engine.running.layer_recording import record
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext.synthesis import Target, maximize


class Decodes(nn.Module):
    """A detector's decoding, in place as YOLO's, or as one concatenation."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.stem, self.body = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 1, 1)
        self.out = nn.Conv2d(6, 7, 1)

    def forward(self, x):
        features = self.body(self.stem(x).relu()).relu()
        y = self.out(features).permute(0, 2, 3, 1).sigmoid()
        if self.in_place:
            y[..., :2] = (y[..., :2] * 2 - 0.5) * 8
            y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * 3
        else:
            centres, sizes = (y[..., :2] * 2 - 0.5) * 8, (y[..., 2:4] * 2) ** 2 * 3
            y = torch.cat([centres, sizes, y[..., 4:]], -1)
        return y.flatten(1, 2).mean(1)


class WritesTwice(nn.Module):
    """What was saved is written into by several operations, some on views."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place, self.stem = in_place, nn.Conv2d(3, 4, 3)

    def forward(self, x):
        y = self.stem(x).exp()
        if self.in_place:
            squares = y.square()
            y[:, 1].mul_(3)
            y.add_(1)
            gate = y.tanh()
            gate[:, 2:].zero_()
            y = (y.square() + squares) * gate.sigmoid()
        else:
            thrice = torch.cat([y[:, :1], y[:, 1:2] * 3, y[:, 2:]], 1) + 1
            gate = torch.cat([thrice.tanh()[:, :2], torch.zeros_like(y[:, 2:])], 1)
            y = (thrice.square() + y.square()) * gate.sigmoid()
        return y.mean((2, 3))


class WritesIntoViews(nn.Module):
    """An in-place activation on an instance norm's output, which is a view."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place, self.stem = in_place, nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.InstanceNorm2d(4)

    def forward(self, x):
        features = self.stem(x)
        y = self.norm(features)
        if self.in_place:
            y.sigmoid_()
            y += features
        else:
            y = y.sigmoid() + features
        return y.square().mean((2, 3))


class WritesIntoParts(nn.Module):
    """Into the parts of a split, and into a view from before the layer."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.first, self.stem = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        before = self.first(x).sigmoid()
        half = before[:, :2]
        y = self.stem(before).sigmoid()
        if self.in_place:
            half += y[:, 2:]
            centres, sizes = y.split(2, 1)
            centres *= 3
            sizes.mul_(y[:, :2].detach())
            one, *_ = sizes.unbind(1)
            one.mul_(5)
        else:
            before = torch.cat([half + y[:, 2:], before[:, 2:]], 1)
            centres = y[:, :2] * 3
            sizes = y[:, 2:] * centres.detach()
            y = torch.cat([centres, sizes[:, :1] * 5, sizes[:, 1:]], 1)
        return (before * y).mean((2, 3))


def pair(kind):
    torch.manual_seed(1)
    written, clean = kind(True).double().eval(), kind(False).double().eval()
    clean.load_state_dict(written.state_dict())
    return written, clean


def cam(method, **options):
    return lambda m, x, t: method(m, "stem", **options).attribute(x, target=t)


METHODS = {
    "LayerHiResCam": cam(attr.LayerHiResCam),
    "LayerGradCamPlusPlus": cam(attr.LayerGradCamPlusPlus),
    "LayerFinerCam": cam(attr.LayerFinerCam),
    "LayerSmoothGradCamPlusPlus": cam(attr.LayerSmoothGradCamPlusPlus, samples=2),
    "LayerOptiCam": cam(attr.LayerOptiCam, steps=3),
    "LayerConductance": cam(attr.LayerConductance),
    "InternalInfluence": cam(attr.InternalInfluence),
    "LayerIntegratedGradients": cam(attr.LayerIntegratedGradients),
    "attribute_targets": lambda m, x, t: attr.LayerHiResCam(m, "stem").attribute_targets(x, [t, 0]),
    "GuidedBackprop": lambda m, x, t: attr.GuidedBackprop(m).attribute(x, t),
    "Deconvolution": lambda m, x, t: attr.Deconvolution(m).attribute(x, t),
    "FullGrad": lambda m, x, t: attr.FullGrad(m).attribute(x, t),
    "class_blindness": lambda m, x, _: attr.class_blindness(m, x),
    # without the skip gradient, which does not find sums that are written into views
    "maximize": lambda m, _, t: (
        maximize(m, Target(t), image=12, steps=3, seed=0, regularizers=[]).images
    ),
}


@pytest.mark.filterwarnings("ignore:.*ill-posed", "ignore:.*the rule was not applied to 1 x sigm")
@pytest.mark.parametrize("kind", [Decodes, WritesTwice, WritesIntoParts, WritesIntoViews])
@pytest.mark.parametrize("name", METHODS)
def test_a_head_that_writes_is_the_head_that_does_not(kind, name):
    written, clean = pair(kind)
    x = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(2)).double()
    if name == "maximize":
        written, clean = written.float(), clean.float()
    for target in (0, 3):
        with nothing_left_behind(written, x):
            found = METHODS[name](written, x, target)
        expected = METHODS[name](clean, x, target)
        assert expected.abs().max() > 0
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)


def test_one_operation_after_another_is_equal_to_the_last_bit():
    written, clean = pair(Decodes)
    x = torch.randn(2, 3, 12, 12).double()
    for method in (METHODS["LayerHiResCam"], METHODS["GuidedBackprop"]):
        assert torch.equal(method(written, x, 2), method(clean, x, 2))


def test_a_tail_is_differentiated_by_captum_outside_of_any_block():
    written, clean = pair(Decodes)
    x = torch.randn(2, 3, 12, 12).double()
    found = []
    for model in (written, clean):
        tail = attr.TailForward(model, "body", x)
        start = tail.activation.clone().requires_grad_()
        scores = tail(start, tail.rows)[:, 1].square()
        found.append(torch.autograd.grad(scores.sum(), start)[0])
    assert found[1].abs().max() > 0
    assert torch.equal(*found)


def test_units_come_back_from_a_layer_that_writes():
    class Scales(nn.Module):
        def forward(self, x):
            y = x.sigmoid()
            y[:, 0] *= 2
            return y

    class Same(nn.Module):
        def forward(self, x):
            y = x.sigmoid()
            return torch.cat([y[:, :1] * 2, y[:, 1:]], 1)

    torch.manual_seed(0)
    conv, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 12, 12)
    found, expected = (
        attr.DeconvNet(nn.Sequential(conv, head()), "1").attribute(x, [0, 3])
        for head in (Scales, Same)
    )
    torch.testing.assert_close(found, expected)


def test_the_plain_road_runs_the_model_once():
    calls = []
    for model, expected in zip(pair(Decodes), (2, 1), strict=True):
        handle = model.stem.register_forward_hook(lambda *_: calls.append(1))
        calls.clear()
        with record(model, [Site(model.body, "body")], (torch.randn(1, 3, 12, 12).double(),),
                    gradients=True) as recording:  # fmt: skip
            assert not written_into([recording.output])
        handle.remove()
        assert len(calls) == expected


@pytest.mark.filterwarnings("ignore:the model is in training mode")
def test_training_mode_draws_the_same_mask_in_the_second_pass():
    written, _ = pair(Decodes)
    written.out = nn.Sequential(nn.BatchNorm2d(6), nn.Dropout(), written.out).double().train()
    x = torch.randn(2, 3, 12, 12).double()
    torch.manual_seed(5)
    with nothing_left_behind(written, x):
        with record(written, [Site(written.body, "body")], (x,), gradients=True) as recording:
            found = recording.output.detach()
    torch.manual_seed(5)
    assert torch.equal(found, written(x).detach())


def test_copies_are_made_of_what_is_written_only():
    x = torch.ones(4, requires_grad=True)
    with CopiesBeforeWrites():
        first, second = x.sigmoid(), x.tanh()
        first.mul_(5)
        out = torch.empty(4)
        with torch.no_grad():
            torch.add(second, 1, out=out)
    total = (first + second).sum()
    assert not written_into([total])
    (gradient,) = torch.autograd.grad(total, x)
    s, t = torch.ones(4).sigmoid(), torch.ones(4).tanh()
    torch.testing.assert_close(gradient, 5 * s * (1 - s) + 1 - t**2)
