"""DeconvNet against the paper's own steps, its cuts against the whole image, its warnings."""

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
from captum_cnn_ext._engine.receptive_fields import crops
from captum_cnn_ext._engine.trace import trace_recorder as recorder
from captum_cnn_ext.attr.pixels import deconvnet as module

RULES = "deconvnet", "guided", "gradient"
STACKS = pytest.mark.parametrize("name", ["alexnet", "vgg"])


def net(model, layer=None):
    return attr.DeconvNet(model, model[-1] if layer is None else layer)


@STACKS
@pytest.mark.parametrize("rule", RULES)
def test_cuts_give_the_whole_images_values(name, rule, monkeypatch):
    model, x = nets.stack(name), nets.photos(2, 131)
    monkeypatch.setattr(module, "_WORTH_CUTTING", 1.0)
    whole = net(model).reconstruct(x, rule=rule, crop=False)
    monkeypatch.setattr(module, "through_the_graph", None)  # the cuts have to do it
    cut = net(model).reconstruct(x, rule=rule, internal_batch_size=5)
    atol = 1e-12 * float(whole.attributions.abs().max())
    torch.testing.assert_close(cut.attributions, whole.attributions, rtol=0, atol=atol)
    assert torch.equal(cut.positions, whole.positions)


@STACKS
def test_cuts_at_every_position(name, monkeypatch):
    """Corners and borders too: the cut ends where the image does."""
    model, x = nets.stack(name), nets.photos(1, 131 if name == "alexnet" else 45)
    monkeypatch.setattr(module, "_WORTH_CUTTING", 1.0)
    rows, columns = model(x).shape[2:]
    for position in {(r, c) for r in range(rows) for c in range(columns) if r == c or r * c == 0}:
        cut, whole = (
            net(model).attribute(x, [0, 3], position, rule="guided", crop=crop)
            for crop in (True, False)
        )
        torch.testing.assert_close(cut, whole, rtol=0, atol=1e-12)


@STACKS
def test_a_shifted_cut_is_seen(name, monkeypatch):
    right = crops.Crops.starts
    monkeypatch.setattr(
        crops.Crops, "starts", lambda self, p: tuple(max(0, s - 1) for s in right(self, p))
    )
    monkeypatch.setattr(module, "_WORTH_CUTTING", 1.0)
    model, x = nets.stack(name), nets.photos(1, 131)
    calls = []
    through = module.through_the_graph
    monkeypatch.setattr(module, "through_the_graph", lambda *a: calls.append(1) or through(*a))
    cut = net(model).attribute(x)
    assert calls, "the unit's activation is not found again: the whole image is used"
    torch.testing.assert_close(cut, net(model).attribute(x, crop=False), rtol=0, atol=1e-12)


@STACKS
def test_all_energy_lies_in_the_units_field(name):
    model, x = nets.stack(name), nets.photos(2, 131)
    found = net(model).reconstruct(x, crop=False, rule="gradient")
    for n in range(2):
        for k in range(8):
            (top, bottom), (left, right) = found.boxes[n, k].tolist()
            picture = found.attributions[n, k]
            outside = picture.clone()
            outside[:, top:bottom, left:right] = 0
            assert not outside.any()
            assert bottom - top <= 131 * 0.8
    assert found.attributions.flatten(2).any(2).sum() > 8, "empty pictures prove nothing"


def global_step(x):
    return x / (1 + x.mean((2, 3), keepdim=True))


def scaled_in_place(x):
    x[:, :4].mul_(x.mean().detach())
    return x


class Gated(nn.Module):
    def __init__(self, stack, step):
        super().__init__()
        self.stack, self.step, self.last = stack, step, nn.Conv2d(8, 8, 1).double()

    def forward(self, x):
        return self.last(self.step(self.stack(x)))


GLOBAL = {
    "global average": global_step,
    "norm": lambda x: x / x.norm(),
    "view": lambda x: x.view(len(x), 8, -1).softmax(2).view(x.shape),
    "position map": lambda x: x * torch.arange(x.shape[3], dtype=x.dtype),
    "in place through a view": lambda x: scaled_in_place(x * 2),
    "roll": lambda x: x.roll(1, 3),
}


@pytest.mark.parametrize("kind", GLOBAL)
def test_operations_that_see_the_whole_image_have_no_field(kind, monkeypatch):
    model = Gated(nets.stack("vgg"), GLOBAL[kind])
    monkeypatch.setattr(module, "_WORTH_CUTTING", 1.0)
    found = net(model, "last").reconstruct(nets.photos(), top=2)
    assert found.boxes is None
    whole = net(model, "last").attribute(nets.photos(), top=2, crop=False)
    assert torch.equal(found.attributions, whole)


def test_fields_are_the_published_ones_and_the_gradients_support():
    model, x = nets.stack("vgg"), nets.photos(1, 65)
    trace = recorder.trace_of(model, [x])
    rows, _ = crops.cut_field(trace, trace.outputs[0])
    assert (rows.inputs(0, 0), rows.stride) == ((-7, 10), 4)  # 18 pixels, as counted by hand
    ones = nn.Sequential(*[m for m in model if not isinstance(m, (nn.ReLU, nn.BatchNorm2d))])
    for m in ones:
        if isinstance(m, nn.Conv2d):
            nn.init.ones_(m.weight)
    ones = nn.Sequential(*[nn.AvgPool2d(2) if isinstance(m, nn.MaxPool2d) else m for m in ones])
    x = x.requires_grad_()
    ones(x)[0, 0, 6, 9].backward()
    seen = x.grad[0, 0].nonzero()
    (top, left), (bottom, right) = seen.amin(0).tolist(), (seen.amax(0) + 1).tolist()
    assert crops.box((rows, rows), (6, 9), (65, 65)) == [[top, bottom], [left, right]]


def test_one_position_spread_over_a_map_has_no_field():
    """The filter of the whole image's size sees all of it, wherever its value is added."""

    class Spread(nn.Module):
        def __init__(self):
            super().__init__()
            self.near, self.far = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, 8)

        def forward(self, x):
            return self.near(x) + self.far(x)

    trace = recorder.trace_of(Spread(), [torch.zeros(1, 3, 8, 8)])
    assert crops.cut_field(trace, trace.outputs[0]) is None


def test_the_strongest_channels_and_the_seeds():
    model, x = nets.stack("vgg"), nets.photos(3)
    a = model(x)
    found = net(model).reconstruct(x, top=3)
    expected = a.amax((2, 3)).topk(3, 1)
    assert torch.equal(found.channels, expected.indices)
    assert torch.equal(found.values, expected.values.detach())
    for n in range(3):
        for k in range(3):
            row, column = found.positions[n, k]
            assert a[n, found.channels[n, k], row, column] == found.values[n, k]
    one = captum.attr.NeuronDeconvolution(model, model[-1])
    row, column = found.positions[1, 0].tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = one.attribute(x[1:2], (int(found.channels[1, 0]), row, column))
    torch.testing.assert_close(found.attributions[1, 0], theirs[0] * found.values[1, 0])
    # a map is the sum of its positions where no rectifier interferes
    whole = net(model).attribute(x, 2, "map", rule="gradient")
    by_tensor = net(model).attribute(x, [2], a[:, 2:3], rule="gradient")
    torch.testing.assert_close(whole, by_tensor)
    rows = net(model).reconstruct(x, torch.tensor([[1, 2], [3, 4], [5, 6]]), internal_batch_size=2)
    assert rows.channels.tolist() == [[1, 2], [3, 4], [5, 6]]
    alone = net(model).attribute(x[2:], [5, 6])
    torch.testing.assert_close(rows.attributions[2:], alone)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": [8]}, "8 is not a channel of the layer, which has 8; expected an index from"),
        ({"channels": 1.5}, "expected channel indices"),
        (
            {"channels": torch.zeros(5, 2, dtype=torch.long)},
            r"expected a tensor \(K,\) or \(2, K\)",
        ),
        ({"top": 9}, "top=9: expected an integer from 1 to 8"),
        ({"seed": "mean"}, "seed='mean': expected one of 'max', 'map'"),
        ({"seed": (99, 0)}, r"seed=\(99, 0\): expected a position in the layer's maps"),
        ({"seed": torch.zeros(7)}, r"seed: a tensor of shape \(7,\) does not broadcast"),
        ({"seed": 3}, "seed=3: expected"),
        ({"rule": "guidde"}, "rule='guidde'.*nearest: 'guided'"),
        ({"smooth": "hard"}, "smooth='hard': expected one of 'gate', 'slope'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        net(nets.stack("vgg")).attribute(nets.photos(), **arguments)


def strided(smooth=nn.ReLU):
    layers = [nn.Conv2d(3, 6, 3, 2), smooth(), nn.Conv2d(6, 6, 3, 2), smooth()]
    return models._seeded(nn.Sequential(*layers))


def test_without_max_pooling_the_picture_is_the_weights_and_a_warning_says_so():
    model, x = strided(), nets.photos(2, 33)
    with pytest.warns(UserWarning, match="no max-pooling between the input and layer '3'.*guided"):
        found = net(model).reconstruct(x, seed=(3, 3))
    one = found.attributions / found.values[:, :, None, None, None]
    both = (found.values > 0).all(0)
    assert both.any()
    torch.testing.assert_close(one[0, both], one[1, both])
    guided = net(model).reconstruct(x, seed=(3, 3), rule="guided")
    one = guided.attributions[:, both] / guided.values[:, both, None, None, None]
    assert float((one[0] - one[1]).norm() / one.norm()) > 0.1
    assert found.coverage.switches == 0
    assert net(nets.stack("vgg")).reconstruct(nets.photos()).coverage.switches == 2


def residual():
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, padding=1)]
    return models._seeded(nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)))


@pytest.mark.parametrize("crop", [True, False])
def test_one_rectifier_below_the_layer_is_enough_for_the_warning(crop):
    photos = nets.photos(2, 33)
    with pytest.warns(UserWarning, match="no max-pooling between the input and layer '2'") as met:
        found = net(residual(), "2").reconstruct(photos, seed=(16, 16), crop=crop)
    one = found.attributions / found.values[:, :, None, None, None]
    same = torch.sign(found.values[0]) == torch.sign(found.values[1])
    assert same.any()
    torch.testing.assert_close(one[0, same], one[1, same])
    assert [warning.filename for warning in met] == [__file__]


@pytest.mark.parametrize("layer", ["0", "1"])
def test_where_only_the_layer_itself_rectifies_every_rule_shows_the_same(layer):
    pictures = [net(residual(), layer).attribute(nets.photos(), rule=rule) for rule in RULES]
    torch.testing.assert_close(pictures[0], pictures[1])
    torch.testing.assert_close(pictures[0], pictures[2])


@pytest.mark.parametrize("options", [{}, {"crop": False}, {"internal_batch_size": 1}])
def test_a_warning_comes_once_in_a_call_at_the_users_line_and_again_in_the_next(options):
    relu = nn.ReLU()
    layers = [nn.Conv2d(3, 4, 3), relu, nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), relu]
    method = net(models._seeded(nn.Sequential(*layers)), relu)
    for _ in range(2):
        with pytest.warns(UserWarning, match="is called 2 times") as met:
            method.attribute(nets.photos(2, 64), [0, 1], **options)
        assert [warning.filename for warning in met] == [__file__]


def test_from_a_class_score_a_warning_says_what_class_blindness_measures():
    stack = nets.stack("vgg")
    model = nn.Sequential(*stack, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 50)).double()
    with pytest.warns(UserWarning, match="no positions, like a class score"):
        attr.DeconvNet(model, model).attribute(nets.photos(), top=1, rule="guided")
    x = nets.photos()
    guided, gradient = (attr.class_blindness(model, x, rule) for rule in ("guided", "gradient"))
    assert (guided > gradient).all()
    scores = model(x)
    pictures = [
        reference.attribution(model, x, "guided", lambda y, c=c: y[range(2), c]).flatten(1)
        for c in (scores.argmax(1), scores.argmin(1))
    ]
    torch.testing.assert_close(guided, F.cosine_similarity(*pictures))
    with pytest.raises(ValueError, match=r"expected scores \(N, classes\)"):
        attr.class_blindness(stack, x)


@pytest.mark.parametrize("mode", ["right", "bad channel", "forward raises"])
@pytest.mark.parametrize("crop", [True, False])
def test_nothing_is_left_behind(mode, crop):
    model, x = nets.stack("vgg"), nets.photos(2, 65).requires_grad_()
    x.grad = torch.ones_like(x)
    if mode == "forward raises":
        model[4].register_forward_hook(lambda *_: 1 / 0)
    error = {"bad channel": AssertionError, "forward raises": ZeroDivisionError}.get(mode)
    with nothing_left_behind(model, x):
        if error is None:
            found = net(model).attribute(x, [1, 2], crop=crop)
            assert found.shape == (2, 2, 3, 65, 65)
            assert not found.requires_grad
            assert torch.equal(found, net(model).attribute(x, [1, 2], crop=crop))
        else:
            with pytest.raises(error):
                net(model).attribute(x, [99] if mode == "bad channel" else None, crop=crop)


def test_tokens_training_mode_and_views_take_the_whole_image():
    x = nets.photos(2, 65)
    model = nets.stack("vgg").train()
    with nothing_left_behind(model, x):
        assert net(model).reconstruct(x, top=1).boxes is None
    tokens = nn.Sequential(*nets.stack("vgg"), nn.Flatten(2))
    with pytest.raises(ValueError, match="reshape_transform"):
        net(tokens).attribute(x)
    found = net(tokens).attribute(x, 1, reshape_transform=lambda t: t.unflatten(2, (16, 16)))
    torch.testing.assert_close(found, net(nets.stack("vgg")).attribute(x, 1, crop=False))
    view = nets.build(nets.InPlaceOnView)
    small = models.image_batch()
    found = attr.DeconvNet(view, "second").reconstruct(small, [0, 1], rule="guided")
    for k in range(2):
        row = captum_free(view, small, k, found.positions[:, k])
        torch.testing.assert_close(found.attributions[:, k], row, rtol=0, atol=1e-10)


def captum_free(model, x, channel, positions):
    """The reference from ``second``'s strongest units, valued by the activation."""

    class Body(nn.Module):
        def forward(self, x):
            h = model.first(x)
            F.relu_(h.view(len(h), 4, -1))
            return model.second(h)

    def select(y):
        picked = y[(range(len(y)), channel, *positions.T)]
        return picked * picked.detach()

    return reference.attribution(Body(), x, "guided", select)
