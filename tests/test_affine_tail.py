"""Affine tails in closed form: the literal values, no passes, nothing else taken for one."""

import models
import numpy as np
import pytest
import torch
from oracles import score_cams
from torch import nn

from captum_cnn_ext._engine.replay import affine_head as affine_tail
from captum_cnn_ext._engine.replay.affine_head import affine_gradients
from captum_cnn_ext._engine.replay.replay import Replay
from captum_cnn_ext._engine.running.layer_sites import layer_sites
from captum_cnn_ext.attr import LayerAblationCam, LayerReciproCam

TARGETS = [0, 4, 2]


class Ratio(nn.Module):
    """Every position's share of its channel: means and divisions, and not affine."""

    def forward(self, x):
        return x / (1 + x.sum((2, 3), keepdim=True))


class Product(nn.Module):
    """Second moments: a matrix product of the maps with themselves."""

    def forward(self, x):
        x = x.flatten(2)
        return torch.stack([a @ a.T for a in x]).flatten(1)


AFFINE = {
    "global average": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
    "pooled, dropout": nn.Sequential(nn.AvgPool2d(5), nn.Flatten(), nn.Dropout(), nn.Linear(4, 5)),
    "every position its own weight": nn.Sequential(nn.Flatten(), nn.Linear(120, 5)),
    "two linear layers": nn.Sequential(
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 7), nn.Linear(7, 5)
    ),
}
OTHER = {
    "rectified": nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
    "maxima": nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
    "shares": nn.Sequential(Ratio(), nn.Flatten(), nn.Linear(120, 5)),
    "second moments": nn.Sequential(Product(), nn.Linear(16, 5)),
    "probabilities": nn.Sequential(nn.Flatten(), nn.Linear(120, 5), nn.Softmax(1)),
}
METHODS = [o for o in score_cams.ORACLES if o.cls in (LayerAblationCam, LayerReciproCam)]


def network(head):
    return models._seeded(models.Net(head))


def gradients(model, x):
    (site,) = layer_sites(model, model.relu, False, None)
    replay = Replay(model, site, (x,))
    return affine_gradients(replay, lambda output: output[:, 2])


@pytest.mark.parametrize("tail", [*AFFINE, *OTHER])
@pytest.mark.parametrize("oracle", METHODS, ids=lambda o: o.name)
def test_equals_the_literal_reference(tail, oracle):
    model = network({**AFFINE, **OTHER}[tail])
    oracle.compare(model, "relu", models.image_batch(), TARGETS, tolerance=1e-9)


@pytest.mark.parametrize("tail", AFFINE)
def test_no_pass_for_each_channel_or_position(tail):
    model, x = network(AFFINE[tail]), models.image_batch()
    rows = []
    model.head[-1].register_forward_hook(lambda m, i, o: rows.append(len(o)))
    for cls in (LayerAblationCam, LayerReciproCam):
        rows.clear()
        cls(model, "relu").attribute(x, TARGETS)
        assert sum(rows) == 3 + 3 + 3, "recorded, one row three times, all examples once more"


@pytest.mark.parametrize("tail", OTHER)
def test_only_what_is_affine_is_taken_for_it(tail):
    assert gradients(network(OTHER[tail]), models.image_batch()) is None


def test_a_product_of_two_signals_needs_the_second_look(monkeypatch):
    model, x = network(OTHER["second moments"]), models.image_batch()
    monkeypatch.setattr(affine_tail, "_is_straight", lambda *_: True)
    assert gradients(model, x) is not None, "its operations alone look affine"


def test_the_gradients_are_the_networks_own():
    model, x = network(AFFINE["every position its own weight"]), models.image_batch()
    (found,) = gradients(model, x)
    weight = model.head[1].weight[2].detach().reshape(1, 4, 5, 6)
    torch.testing.assert_close(found, weight.expand(3, -1, -1, -1))


def test_inside_inference_mode_and_with_a_frozen_network():
    model, x = network(AFFINE["global average"]).requires_grad_(False), models.image_batch()
    outside = LayerAblationCam(model, "relu").attribute(x, 1)
    with torch.inference_mode():
        inside = LayerAblationCam(model, "relu").attribute(x, 1)
    assert torch.equal(inside, outside)


def test_a_function_around_the_model_runs_whole_forwards():
    model, x = network(AFFINE["global average"]), models.image_batch()
    found = LayerAblationCam(lambda x: model(x), model.relu).attribute(x, TARGETS)
    torch.testing.assert_close(found, LayerAblationCam(model, "relu").attribute(x, TARGETS))


@pytest.mark.parametrize("wrong", [lambda g: -g, lambda g: 2 * g, lambda g: g.flip(1)])
def test_a_break_is_seen(wrong, monkeypatch):
    from captum_cnn_ext.attr.cams import ablation_cam

    def broken(replay, score, **given):
        found = affine_gradients(replay, score, **given)
        return found and tuple(wrong(g) for g in found)

    monkeypatch.setattr(ablation_cam, "affine_gradients", broken)
    with pytest.raises(AssertionError, match="Tensor-likes"):
        test_equals_the_literal_reference("every position its own weight", METHODS[2])


def _bent(output):
    rows = np.square(output.detach().numpy()).sum(1, keepdims=True)  # constants to autograd
    return output + torch.from_numpy(rows)


def _own_forward(linear):
    own = linear.forward
    linear.forward = lambda x: _bent(own(x))


OWN_CODE = {
    "nothing": lambda model: None,
    "hook": lambda model: model[2][2].register_forward_hook(lambda _, __, out: _bent(out)),
    "hook of the whole": lambda model: model.register_forward_hook(lambda _, __, out: _bent(out)),
    "forward": lambda model: _own_forward(model[2][2]),
    "class": lambda model: model[2].append(Bent()),
    "hook of all": lambda model: nn.modules.module.register_module_forward_hook(
        lambda module, _, out: _bent(out) if isinstance(module, nn.Linear) else out
    ),
    "target": lambda model: None,
}


class Bent(nn.Identity):
    def forward(self, x):
        return _bent(x)


@pytest.mark.parametrize("what", OWN_CODE)
def test_only_pytorchs_own_code_is_trusted_to_leave_nothing_out(what, monkeypatch):
    """A value that left torch hides a bend; every channel's score is that of a pass of its own."""
    torch.manual_seed(0)
    tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), tail).double().eval()
    x, taken = torch.rand(2, 3, 7, 7).double(), []
    by_target = what == "target"
    target = (lambda output: _bent(output)[:, 2]) if by_target else 2
    watched = affine_tail.Dependents.following
    monkeypatch.setattr(
        affine_tail.Dependents, "following", lambda self: taken.append(1) or watched(self)
    )
    handle = OWN_CODE[what](model)
    try:
        found = LayerAblationCam(model, "1").attribute(x, target)
        expected = []
        for n in range(2):
            maps = model[1](model[0](x[n : n + 1]))
            y = literal(model, maps, by_target)
            falls = [
                (y - literal(model, maps * (torch.arange(4) != k)[:, None, None], by_target))
                / abs(y)
                for k in range(4)
            ]
            expected.append(sum(f * maps[0, k] for k, f in enumerate(falls)))
    finally:
        if hasattr(handle, "remove"):
            handle.remove()
    torch.testing.assert_close(found[:, 0], torch.stack(expected).relu().detach())
    assert bool(taken) == (what != "nothing")


def literal(model, maps, by_target):
    """The score from the layer's maps on, by calling what follows it."""
    output = model[2](maps)
    for hook in model._forward_hooks.values():
        output = hook(model, (), output)
    return (_bent(output) if by_target else output)[0, 2]
