"""Replay against the full forward: bit-identical in the recorded batch, equal for other rows."""

import threading

import models
import pytest
import torch
from replay_models import (
    Branches,
    LaterAddition,
    Nested,
    OtherOrder,
    PassesThrough,
    ReadsBeforeTheWrite,
    Shared,
    Windows,
    WritesIntoGlue,
    WritesUnseen,
)
from snapshots import nothing_left_behind
from torch import nn
from torchvision import models as torchvision_models
from zoo import changed, with_replaced_layer

from captum_cnn_ext._engine.replay import replay
from captum_cnn_ext._engine.replay.batch_rows import Rows
from captum_cnn_ext._engine.replay.replay import Replay
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext.attr import TailForward

KINDS = [
    models.Net,
    models.Functional,
    models.Residual,
    models.ListInput,
    models.TupleOutput,
    models.GoesOnAnyway,
    models.WritesIntoInput,
    WritesUnseen,
    ReadsBeforeTheWrite,
    WritesIntoGlue,
    PassesThrough,
    LaterAddition,
    Windows,
    Branches,
    Shared,
    Nested,
]


def sites(model):
    """Every call of every layer, at its output and at its input."""
    counts = {}
    handles = [
        m.register_forward_hook(lambda *_, n=n: counts.update({n: counts.get(n, 0) + 1}))
        for n, m in model.named_modules()
    ]
    model(models.image_batch())
    for handle in handles:
        handle.remove()
    return [
        Site(model.get_submodule(name) if name else model, name, at_input, call)
        for name, count in counts.items()
        for call in range(count)
        for at_input in (False, True)
    ]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_equals_the_full_forward_at_every_layer(kind):
    model, x = models.build(kind), models.image_batch()
    rows = torch.tensor([2, 0, 0, 1, 2])
    one, moved = torch.zeros(4, dtype=torch.long), torch.tensor([2, 0, 1])
    replayed = 0
    for site in sites(model):
        with torch.no_grad(), nothing_left_behind(model, x):
            replay = Replay(model, site, (x,))
            replayed += not replay.full_forward

            def full(x, new, site=site):
                return with_replaced_layer(
                    model, site.module, (x,), new, call=site.call, at_input=site.at_input
                )

            assert torch.equal(replay.output, model(x.clone()))
            assert torch.equal(replay(replay.activation), full(x, replay.activation)), site
            new = changed(replay.activation)
            for _ in range(2):  # a replay leaves the recording as it was
                assert torch.equal(replay(new), full(x, new)), site
            if any(len(t) != 3 for t in new):
                with pytest.raises(ValueError, match="first dimension is not the batch"):
                    replay([t[:1] for t in new], one[:1])
                continue
            for index in (rows, one, torch.tensor([1] * 5 + [0] * 6), moved):
                these = [t[index] for t in new]
                torch.testing.assert_close(replay(these, index), full(x[index], these))
            single = Replay(model, site, (x[:1],))
            these = [t[:1].expand(4, *t.shape[1:]) * 1.1 for t in new]
            torch.testing.assert_close(single(these, one), full(x[one], these))
    assert replayed > 0


MUTANTS = {
    "in-place writes of the glue are not copied": (
        LaterAddition,
        lambda replay: [setattr(slot, "copied", False) for slot in slots_of(replay)],
    ),
    "writes of answered modules are forgotten": (
        ReadsBeforeTheWrite,
        lambda replay: [call.effects.clear() for _, call in replay._script.steps],
    ),
    "one tensor under two names becomes two": (
        PassesThrough,
        lambda replay: [setattr(slot, "alias_of", None) for slot in slots_of(replay)],
    ),
    "writes into the glue's tensors are answered": (
        WritesIntoGlue,
        lambda replay: [setattr(call, "rerun", False) for _, call in replay._script.steps],
    ),
    "the layer's tensors are not copied": (
        models.Residual,
        lambda replay: setattr(replay, "_written", False),
    ),
}


def slots_of(replay):
    return [slot for _, call in replay._script.steps for slot in call.slots]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_replay_is_seen(mutant, monkeypatch):
    kind, spoil = MUTANTS[mutant]
    right = Replay._record_script
    monkeypatch.setattr(Replay, "_record_script", lambda self: (right(self), spoil(self))[0])
    with pytest.raises((AssertionError, RuntimeError)):
        test_equals_the_full_forward_at_every_layer(kind)


@pytest.mark.parametrize("wrong", ["reversed", "first"])
def test_wrong_rows_are_seen(wrong, monkeypatch):
    right = Rows.of

    def of(rows, length):
        if rows is None:
            return right(rows, length)
        return right(rows.flip(0) if wrong == "reversed" else torch.zeros_like(rows), length)

    monkeypatch.setattr(Rows, "of", of)
    with pytest.raises(AssertionError):
        test_equals_the_full_forward_at_every_layer(models.Residual)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layers"),
    {
        "alexnet": ["features.4", "classifier.1"],
        "vgg11_bn": ["features.9", "features.28"],
        "resnet18": ["layer1.0.relu", "layer4", "layer3.0.downsample.1"],
        "resnext50_32x4d": ["layer2.3.bn2", "layer4.2.conv3"],
        "densenet121": ["features.denseblock3.denselayer5", "features.norm5"],
        "googlenet": ["inception4a.branch2", "inception5b"],
        "squeezenet1_1": ["features.6.expand1x1", "features.12"],
        "mobilenet_v2": ["features.7.conv", "features.18"],
        "mobilenet_v3_small": ["features.5.block.2", "features.12"],
        "efficientnet_b0": ["features.4.1.block.1", "features.8"],
        "shufflenet_v2_x0_5": ["stage3.1.branch2", "conv5"],
        "convnext_tiny": ["features.5.3.block", "features.7.2"],
        "swin_t": ["features.3.1.mlp", "features.7"],
    }.items(),
)
@torch.no_grad()
def test_torchvision_models_are_bit_identical(name, layers):
    kwargs = {"init_weights": False} if name == "googlenet" else {}
    model = torchvision_models.get_model(name, weights=None, **kwargs).eval()
    x = torch.randn(2, 3, 64, 64)
    for layer in layers:
        module = model.get_submodule(layer)
        replay = Replay(model, Site(module, layer, call=0), (x,))
        assert not replay.full_forward
        new = changed(replay.activation)
        assert torch.equal(replay(new), with_replaced_layer(model, module, (x,), new))
        rows = torch.tensor([1, 0, 1])
        found = replay([t[rows] for t in new], rows)
        expected = with_replaced_layer(model, module, (x[rows],), [t[rows] for t in new])
        scale = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * scale)


# --- gradients, modes, other forwards ----------------------------------------------------------


@pytest.mark.parametrize("kind", [models.Net, models.Residual, Branches, ReadsBeforeTheWrite])
def test_gradients_flow_through_the_tail(kind):
    model, x = models.build(kind), models.image_batch()
    for layer in ("stem", "block"):
        replay = Replay(model, Site(model.get_submodule(layer), layer), (x,))
        a = replay.activation[0].clone().requires_grad_()
        (found,) = torch.autograd.grad(replay([a]).square().sum(), a)
        b = replay.activation[0].clone().requires_grad_()
        full = with_replaced_layer(model, model.get_submodule(layer), (x,), [b])
        (expected,) = torch.autograd.grad(full.square().sum(), b)
        assert torch.equal(found, expected)


def test_a_changed_order_is_noticed_and_said():
    OtherOrder.runs = 0
    torch.manual_seed(0)
    model, x = OtherOrder().double().eval(), models.image_batch()
    replay = Replay(model, Site(model.block, "block"), (x,))
    assert OtherOrder.runs == 1
    new = changed(replay.activation)
    with nothing_left_behind(model, x), pytest.warns(UserWarning, match="whole forward is run"):
        found = replay(new)
    assert torch.equal(found, with_replaced_layer(model, model.block, (x,), new))
    assert "was called where" in replay.full_forward
    assert torch.equal(replay(new), found)  # said once


def test_a_layer_that_is_not_reached_again():
    class Once(models.Net):
        runs = 0

        def features(self, x):
            Once.runs += 1
            out = self.stem(x)
            return self.relu(self.block(out) if Once.runs == 1 else out)

    model, x = models.build(Once), models.image_batch()
    replay = Replay(model, Site(model.block, "block"), (x,))
    with pytest.warns(UserWarning, match="ReLU was called where Conv2d"):
        with pytest.raises(ValueError, match="call 0 was not reached when the model ran again"):
            replay(replay.activation)


@pytest.mark.parametrize("error", [ArithmeticError, KeyboardInterrupt])
def test_nothing_is_left_when_a_replay_raises(error):
    model, x = models.build(models.Net), models.image_batch()
    replay = Replay(model, Site(model.block, "block"), (x,))

    def fail(*_):
        raise error

    handle = model.relu.register_forward_hook(fail)
    with nothing_left_behind(model, x), pytest.raises(error):
        replay(replay.activation)
    handle.remove()
    assert torch.equal(replay(replay.activation), replay.output)


def test_a_replaced_forward_stays_replaced():
    model, x = models.build(models.Net), models.image_batch()
    own = model.stem.forward
    model.stem.forward = lambda x: own(x) + 1
    kept = model.stem.forward
    replay = Replay(model, Site(model.block, "block"), (x,))
    assert torch.equal(replay(replay.activation), model(x))
    assert model.stem.forward is kept


def test_the_users_hooks_are_applied_once():
    model, x = models.build(models.Net), models.image_batch()
    model.stem.register_forward_hook(lambda _, __, out: out * 3)
    model.block.register_forward_hook(lambda _, __, out: out.mul_(2))
    model.head.register_forward_hook(lambda _, __, out: out + 1)
    for layer in ("stem", "norm", "block", "relu"):
        replay = Replay(model, Site(model.get_submodule(layer), layer), (x,))
        assert torch.equal(replay(replay.activation), model(x))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_other_kinds_of_forward():
    model, x = models.build(models.Net), models.image_batch()
    site = Site(model.block, "block")
    expected = Replay(model, site, (x,))
    new = changed(expected.activation)
    rows = torch.tensor([1, 1, 0])
    for forward, followed in (
        (model.forward, True),
        (torch.compile(model, backend="eager"), True),
        (nn.DataParallel(model), True),
        (lambda x: model(x), False),
    ):
        replay = Replay(forward, site, (x,))
        assert bool(replay.full_forward) is not followed
        assert torch.equal(replay(new), expected(new))
        torch.testing.assert_close(replay([t[rows] for t in new], rows), expected(
            [t[rows] for t in new], rows))  # fmt: skip
    with pytest.raises(ValueError, match="not reached"):
        Replay(torch.jit.trace(model, x), site, (x,))


def test_another_thread_gets_the_model_itself():
    model, x = models.build(models.Net), models.image_batch()
    replay = Replay(model, Site(model.block, "block"), (x,))
    expected, other = model(x * 2), []

    def meanwhile(*_):
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=lambda: other.append(model(x * 2)))
            thread.start()
            thread.join()

    model.relu.register_forward_hook(meanwhile)
    assert torch.equal(replay(replay.activation), replay.output)
    assert torch.equal(other[0], expected)


def test_further_arguments_follow_their_rows():
    model, x = models.build(models.TwoInputs), models.image_batch()
    site = Site(model.block, "block")
    replay = Replay(model, site, (x,), (x.flip(0), 0.5))
    rows = torch.tensor([2, 2, 1, 0])
    new = [t[rows] for t in changed(replay.activation)]
    expected = with_replaced_layer(
        lambda a: model(a, x.flip(0)[rows], 0.5), model.block, (x[rows],), new
    )
    torch.testing.assert_close(replay(new, rows), expected)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (lambda a, r: (a[:2], r), r"expected shape \(3, \*\(4, 5, 6\)\)"),
        (lambda a, r: (a[:, :2], r), r"got \(3, 2, 5, 6\)"),
        (lambda a, r: (a, r + 1), "rows: 3 is not a recorded example; expected 0 to 2"),
        (lambda a, r: (a, r.double()), "rows: expected one integer for each row"),
        (lambda a, r: (), "expected 1 activation tensor"),
        (lambda a, r: (a, r, r), "expected 1 activation tensor"),
    ],
)
def test_wrong_activations_are_named(args, message):
    tail = TailForward(models.build(models.Net), "block", models.image_batch())
    with pytest.raises(ValueError, match=message):
        tail(*args(tail.activation, tail.rows))


class Interacting(nn.Module):
    """Positions first at the layer; examples are compared; one output belongs to no example."""

    def __init__(self, compared, anchors):
        super().__init__()
        self.conv, self.layer = nn.Conv2d(2, 4, 3), nn.Identity()
        self.compared, self.anchors = compared, anchors

    def forward(self, x):
        maps = self.layer(self.conv(x).flatten(2).permute(2, 0, 1)).permute(1, 2, 0)
        y = maps.square().mean(2)
        y = y - y.mean(0) if self.compared else y
        return (y, torch.arange(28.0).reshape(7, 4)) if self.anchors else y


@pytest.mark.parametrize("compared", [False, True])
@pytest.mark.parametrize("anchors", [False, True])
def test_the_recorded_batch_is_never_cut_into_parts(compared, anchors, monkeypatch):
    model, x = models._seeded(Interacting(compared, anchors)), models.image_batch(3)
    monkeypatch.setattr(replay, "_CPU_BYTES", 1)
    with torch.no_grad():
        tail = TailForward(lambda x: model(x), model.layer, x)
        found = tail(tail.activation)
        torch.testing.assert_close(found, model(x))


@pytest.mark.parametrize("anchors", [False, True])
def test_rows_of_a_whole_forward_in_parts(anchors, monkeypatch):
    model, x = models._seeded(Interacting(False, anchors)), models.image_batch(3)
    monkeypatch.setattr(replay, "_CPU_BYTES", 1)
    rows, calls = torch.tensor([2, 0, 2, 1, 0]), []
    with torch.no_grad():
        tail = TailForward(lambda x: model(x), model.conv, x)
        model.conv.register_forward_hook(lambda *_: calls.append(1))
        found = tail(tail.activation[rows], rows)
        expected = model(x[rows])
    torch.testing.assert_close(found, expected)
    parts = 5 if not anchors and x.device.type == "cpu" else 1
    assert len(calls) == parts + 1  # and the expected values' own
