"""Score-based maps: literal references, deliberate breaks, closed forms, counted passes."""

from functools import partial

import models
import pytest
import references_scores as references
import torch
from oracles import score_cams
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext._engine.replay import replay
from captum_cnn_ext.attr import (
    LayerAblationCam,
    LayerISCam,
    LayerOptiCam,
    LayerPolyCam,
    LayerReciproCam,
    LayerScoreCam,
    LayerSSCam,
    TailForward,
)
from captum_cnn_ext.attr.cams import score_cam

TARGETS = [0, 4, 2]
CASES = [oracle for oracle in score_cams.ORACLES if oracle.cls is not LayerPolyCam]


# --- closed forms, options ----------------------------------------------------------------------


def test_a_gap_and_linear_tail_in_closed_form():
    model, x = models.build(models.GapLinear), models.image_batch()[:, :1]
    a = model.relu(model.conv(x)).detach()
    weight = model.fc.weight.detach()
    y = model(x).detach()[:, 2]
    expected = (weight[2] * a.mean((2, 3)) / y.abs()[:, None])[..., None, None] * a
    found = LayerAblationCam(model, "relu").attribute(x, 2)
    torch.testing.assert_close(found, expected.sum(1, keepdim=True))
    alone = LayerReciproCam(model, "relu").attribute(x, 2)
    linear = torch.einsum("k,nkhw->nhw", weight[2], a).unsqueeze(1) / 30 + model.fc.bias[2].detach()
    torch.testing.assert_close(alone, linear)


def test_the_top_channels_are_those_of_the_highest_variance():
    model, x = models.build(models.Net), models.image_batch()
    parts = LayerScoreCam(model, "block").attribute(x, 1, attr_dim_summation=False)
    few = LayerScoreCam(model, "block", top_channels=2).attribute(x, 1, attr_dim_summation=False)
    variance = references.activation(model, model.block, x).flatten(2).var(2)
    for n in range(3):
        kept = set(variance[n].topk(2).indices.tolist())
        assert {k for k in range(4) if few[n, k].any()} == kept
        for k in kept:
            torch.testing.assert_close(few[n, k], parts[n, k])


@pytest.mark.parametrize("oracle", CASES, ids=lambda o: o.name)
def test_chunks_do_not_change_the_map(oracle, capsys):
    model, x = models.build(models.Net), models.image_batch()
    cam = oracle.method(model, "block")
    whole = cam.attribute(x, TARGETS)
    pieces = cam.attribute(x, TARGETS, internal_batch_size=2, show_progress=True)
    torch.testing.assert_close(whole, pieces, rtol=1e-9, atol=1e-12)
    assert "100%" in capsys.readouterr().err


class Patches(nn.Module):
    """Patches of 4 x 4 pixels as (N, 1 + 16, 8) with a class token, or channels last."""

    def __init__(self, tokens):
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(8))
        self.layer, self.head = nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.tokens, self.out = tokens, nn.Linear(8, 5)

    def forward(self, x):
        x = self.patch(x).permute(0, 2, 3, 1)
        if self.tokens:
            x = torch.cat([self.token.expand(len(x), 1, 8), x.flatten(1, 2)], 1)
        return self.out(self.head(self.layer(x)).flatten(1, -2).mean(1).square())


@pytest.mark.parametrize("tokens", [True, False], ids=["tokens", "channels last"])
def test_layouts_that_are_recognised_are_changed_where_they_are(tokens):
    model = models._seeded(Patches(tokens))
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    first = int(tokens)
    whole = references.activation(model, model.layer, x)
    ablated, alone = [], []
    for n in range(2):
        one, image = whole[n : n + 1], x[n : n + 1]
        y = references.score_with(model, model.layer, image, one, 1)
        rows = one.reshape(1, -1, 8)
        total, kept_scores = 0, []
        for k in range(8):
            without = rows.clone()
            without[:, first:, k] = 0
            fall = y - references.score_with(
                model, model.layer, image, without.reshape(one.shape), 1
            )
            total = total + fall / abs(y) * rows[0, first:, k]
        for p in range(16):
            kept = torch.zeros_like(rows)
            kept[:, :first] = rows[:, :first]
            kept[:, first + p] = rows[:, first + p]
            kept_scores.append(
                float(references.score_with(model, model.layer, image, kept.reshape(one.shape), 1))
            )
        ablated.append(total.reshape(1, 4, 4))
        alone.append(torch.tensor(kept_scores, dtype=torch.float64).reshape(1, 4, 4))
    for cls, expected in ((LayerAblationCam, ablated), (LayerReciproCam, alone)):
        found = cls(model, "layer").attribute(x, 1)
        torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("cls", [LayerAblationCam, LayerReciproCam])
def test_tokens_are_changed_where_they_are(cls):
    class Tokens(models.Net):
        def __init__(self):
            super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(31 * 4, 7), nn.Tanh()))
            self.tokens = nn.Identity()

        def forward(self, x):
            maps = self.features(x).flatten(2).transpose(1, 2)
            return self.head(self.tokens(torch.cat([maps.mean(1, keepdim=True), maps], 1)))

    model, x = models._seeded(Tokens()), models.image_batch()
    layout = lambda t: t[:, 1:].transpose(1, 2).unflatten(2, (5, 6))  # noqa: E731
    found = cls(model, "tokens").attribute(x, 1, reshape_transform=layout)
    tokens = references.activation(model, model.tokens, x)
    one = tokens[:1].clone()
    maps = layout(one)
    y = references.score_with(model, model.tokens, x[:1], one, 1)
    if cls is LayerAblationCam:
        expected = 0
        for k in range(4):
            without = one.clone()
            without[0, 1:, k] = 0
            fall = y - references.score_with(model, model.tokens, x[:1], without, 1)
            expected = expected + fall / abs(y) * maps[:, k]
        torch.testing.assert_close(found[:1, 0], expected)
    else:
        kept = torch.zeros_like(one)
        kept[:, 0] = one[:, 0]  # the class token is no position: it stays
        kept[:, 1 + 8] = one[:, 1 + 8]
        expected = references.score_with(model, model.tokens, x[:1], kept, 1)
        assert float(found[0, 0, 1, 2]) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match=r"reshape_transform: .* must only move or leave out"):
        cls(model, "tokens").attribute(x, 1, reshape_transform=lambda t: layout(t) * 2)


def test_one_and_three_dimensional_layers():
    for model, x, layer in (
        (models.one_dimensional(), torch.randn(2, 2, 9).double(), "3"),
        (models.three_dimensional(), torch.randn(2, 2, 3, 3, 4).double(), "1"),
    ):
        for cls in (
            LayerAblationCam,
            LayerReciproCam,
            LayerScoreCam,
            partial(LayerOptiCam, steps=2),
        ):
            found = cls(model, layer).attribute(x, 1)
            assert found.shape == (2, 1, *x.shape[2:])
            assert found.abs().sum() > 0


def test_half_precision():
    model, x = models.build(models.Net).bfloat16(), models.image_batch().bfloat16()
    exact = models.build(models.Net)
    for cls in (LayerAblationCam, LayerReciproCam, LayerScoreCam):
        found = cls(model, "relu").attribute(x, 1)
        assert found.dtype == torch.bfloat16
        expected = cls(exact, "relu").attribute(x.double(), 1)
        correlation = torch.corrcoef(torch.stack([found.double().flatten(), expected.flatten()]))
        assert correlation[0, 1] > 0.9


def test_a_score_for_constant_maps_is_seen(monkeypatch):
    x = torch.zeros(1, 2, 5, 6, dtype=torch.float64)

    def scored(maps, top=None):
        return [torch.arange(maps.shape[1])] * len(maps)

    model = models.build(models.GapLinear)
    x = x[:, :1]
    with torch.no_grad():
        model.conv.bias = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert not LayerScoreCam(model, "relu").attribute(x, 0).any()
    monkeypatch.setattr(score_cam, "varying_channels", scored)
    assert LayerScoreCam(model, "relu").attribute(x, 0).any()


# --- what is run --------------------------------------------------------------------------------


def passes(model):
    """How many rows each module saw."""
    rows = {}
    for name, module in model.named_modules():
        module.register_forward_pre_hook(
            lambda _, args, name=name: rows.update({name: rows.get(name, 0) + len(args[0])})
        )
    return rows


@pytest.mark.parametrize(("cls", "count"), [(LayerAblationCam, 4), (LayerReciproCam, 30)])
def test_only_the_tail_is_run_again(cls, count):
    model, x = models.build(models.Net), models.image_batch(2)
    conv = []
    model.stem.forward = lambda x, run=model.stem.forward: conv.append(len(x)) or run(x)
    rows = passes(model)
    cls(model, "relu").attribute(x, 1)
    assert conv == [2]  # once, whatever the number of passes
    assert rows["head.1"] == 2 + 2 * count + 1  # one row tells that the tail is not affine


def test_constant_maps_cost_nothing():
    model, x = models.build(models.Net), models.image_batch(1)
    with torch.no_grad():
        model.block.weight[1] = 0
        model.block.weight[3] = 0
    rows = passes(model)
    LayerScoreCam(model, "block").attribute(x, 1)
    assert rows["stem"] == 1 + 2


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(LayerScoreCam, score="probabilty"), "score='probabilty'.*nearest: 'probability'"),
        (partial(LayerScoreCam, top_channels=0), "top_channels=0: expected an integer"),
        (partial(LayerSSCam, samples=0), "samples=0: expected an integer of at least 1"),
        (partial(LayerISCam, samples=-1), "samples=-1: expected an integer of at least 1"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(models.build(models.Net), "block")


def test_a_probability_needs_classes():
    model, x = models.build(models.Net), models.image_batch()
    alone = lambda x: model(x)[:, 0]  # noqa: E731
    with nothing_left_behind(model, x), pytest.raises(ValueError, match="pass score='logit'"):
        LayerScoreCam(alone, model.block).attribute(x)
    assert LayerScoreCam(alone, model.block, score="logit").attribute(x).shape == (3, 1, 5, 6)


class Widens(nn.Module):
    """A small layer between a large picture and one of many pixels, which need the memory."""

    def __init__(self, branches=False):
        super().__init__()
        self.finer, self.stem = nn.Upsample(scale_factor=24), nn.Conv2d(2, 9, 3, padding=1)
        self.squeeze, self.wide = nn.AdaptiveAvgPool2d(2), nn.Upsample(scale_factor=16)
        self.head, self.other = nn.Conv2d(9, 4, 3), nn.Identity()
        self.branches = branches

    def forward(self, x):
        if self.branches and len(x) > 2:  # another control flow when many rows are run again
            x = self.other(x)
        maps = self.squeeze(self.stem(self.finer(x)).relu())
        return self.head(self.wide(maps)).tanh().mean((2, 3)) + x.mean((1, 2, 3))[:, None]


@pytest.mark.filterwarnings("ignore:.*the whole forward is run instead")
@pytest.mark.parametrize("branches", [False, True])
@pytest.mark.parametrize("cls", [LayerAblationCam, LayerReciproCam])
def test_what_follows_the_layer_bounds_how_many_rows_are_run(cls, branches, monkeypatch):
    model, x = models._seeded(Widens(branches)), models.image_batch(2)
    expected = cls(model, "squeeze").attribute(x, 1, internal_batch_size=1)
    rows = []
    model.head.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    # in float64 one example's widest tensor has 9 * 32 * 32 elements
    monkeypatch.setattr(replay, "_CPU_BYTES", 3 * 9 * 32 * 32 * 8)
    torch.testing.assert_close(cls(model, "squeeze").attribute(x, 1), expected)
    assert max(rows[1:]) == (1 if branches else 3)  # the whole forward, or what follows the layer


def test_weights_and_the_batch_do_not_bound_the_rows():
    model = models._seeded(models.Net(nn.Sequential(nn.Flatten(), nn.Linear(120, 60_000))))
    x = models.image_batch(3)
    widest = 60_000 * 8  # bytes of an example's scores; the weights have 120 times as many
    for n in (1, 3):
        tail = TailForward(model, "block", x[:n])
        assert tail._replay.rows_at_once == replay._CPU_BYTES // widest


def test_outputs_without_plain_memory_are_let_through():
    class Sparse(nn.Module):
        def __init__(self):
            super().__init__()
            self.sparse = nn.Identity()

        def forward(self, x):
            return self.sparse(x.flatten(1).to_sparse()).to_dense()[:, :5]

    model, x = models._seeded(models.Net(Sparse())), models.image_batch(2)
    found = LayerAblationCam(model, "block").attribute(x, 1)
    torch.testing.assert_close(found[:1], LayerAblationCam(model, "block").attribute(x[:1], 1))
