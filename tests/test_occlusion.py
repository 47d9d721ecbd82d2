"""Occlusion against the literal loop, against Captum's, and against its own wrong versions."""

from dataclasses import replace
from types import SimpleNamespace

import captum.attr
import numpy as np
import occlusion_models as zoo
import pytest
import torch
from references_occlusion import occlusion
from snapshots import nothing_left_behind
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from captum_cnn_ext._engine.incremental import changed_pass, tile_rules, tiles
from captum_cnn_ext.attr import Occlusion
from captum_cnn_ext.attr.pixels.sliding_windows import Grid

CASES = {  # window, strides, baseline
    "tiled": ((3, 4, 5), (3, 4, 5), 0),
    "overlapping": ((3, 5, 6), (3, 3, 4), 0.5),
    "cut off": ((3, 7, 4), (3, 6, 3), -1),
    "by channel": ((1, 6, 6), (1, 5, 6), 0),
    "two channels": ((2, 8, 8), (1, 7, 7), 0),
    "one pixel wide": ((3, 1, 21), (3, 1, 21), 1.5),
    "nearly everything": ((3, 20, 20), (3, 2, 1), 0),
}


def expected(model, x, target, window, strides, baseline):
    with torch.no_grad():
        return occlusion(lambda v: model(v)[:, target], (x,), 0, window, strides, baseline)


PAIRS = [
    (cls, case)
    for cls in zoo.FOLLOWED
    for case in (CASES if cls in (zoo.Pools, zoo.Dense) else list(CASES)[:3])
]


@pytest.mark.parametrize(("cls", "case"), PAIRS, ids=lambda p: getattr(p, "__name__", p))
def test_every_operation_equals_the_loop(cls, case):
    model, x = zoo.build(cls), zoo.images()
    window, strides, baseline = CASES[case]
    right = expected(model, x, 3, window, strides, baseline)
    for way in (True, False):
        with nothing_left_behind(model, x):
            found = Occlusion(model).attribute(x, window, strides, baseline, 3, incremental=way)
        torch.testing.assert_close(found, right, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cls", zoo.REFUSED, ids=lambda c: c.__name__)
def test_what_no_tape_can_hold_is_run_whole(cls):
    model, x = zoo.build(cls), zoo.images(1)
    right = expected(model, x, 1, (3, 6, 6), (3, 6, 6), 0)
    with nothing_left_behind(model, x):
        found = Occlusion(model).attribute(x, (3, 6, 6), 6, target=1)
    if cls is not zoo.MixesItsBatch:  # its rows depend on the others, in Captum too
        torch.testing.assert_close(found, right, rtol=0, atol=1e-10)
    with (
        nothing_left_behind(model, x),
        pytest.raises(ValueError, match=f"incremental=True: .*({zoo.REFUSED[cls]})"),
    ):
        Occlusion(model).attribute(x, (3, 6, 6), 6, target=1, incremental=True)


def test_training_mode_and_compiled_modules_are_run_whole():
    model, x = zoo.build(zoo.Residual).train(), zoo.images(2)
    with nothing_left_behind(model, x):
        Occlusion(model).attribute(x, (3, 8, 8), 8, target=1)
    with pytest.raises(ValueError, match="training mode"):
        Occlusion(model).attribute(x, (3, 8, 8), 8, target=1, incremental=True)
    with pytest.raises(ValueError, match="no input is a signal"):
        Occlusion(nn.Linear(4, 3)).attribute(torch.ones(1, 4), (2,), target=1, incremental=True)


def test_a_tape_that_lies_is_not_used(monkeypatch):
    model, x = zoo.build(zoo.Pools), zoo.images(1)
    right = expected(model, x, 1, (3, 4, 4), (3, 4, 4), 0)
    wrong = changed_pass.Recorded.changed
    monkeypatch.setattr(changed_pass.Recorded, "changed", lambda *a: wrong(*a) * 1.0001)
    found = Occlusion(model).attribute(x, (3, 4, 4), (3, 4, 4), target=1)
    torch.testing.assert_close(found, right, rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="the tape gives other values than the model"):
        Occlusion(model).attribute(x, (3, 4, 4), (3, 4, 4), target=1, incremental=True)


@pytest.mark.parametrize(("dtype", "factor"), [(torch.float16, 1.02), (torch.bfloat16, 1.04)])
def test_a_tape_of_short_types_is_held_to_their_precision(dtype, factor, monkeypatch):
    model, x = zoo.build(zoo.Pools).to(dtype), zoo.images(1).to(dtype)
    window = (3, 4, 4)
    right = Occlusion(model).attribute(x, window, window, target=1, incremental=False)
    found = Occlusion(model).attribute(x, window, window, target=1, incremental=True)
    largest = model(x).abs().max()
    assert (found - right).abs().max() <= 4 * torch.finfo(dtype).eps * largest
    own = changed_pass.Recorded.changed
    monkeypatch.setattr(changed_pass.Recorded, "changed", lambda *a: own(*a) * factor)
    assert torch.equal(Occlusion(model).attribute(x, window, window, target=1), right)
    with pytest.raises(ValueError, match="the tape gives other values than the model"):
        Occlusion(model).attribute(x, window, window, target=1, incremental=True)


@pytest.mark.parametrize(
    "target", [2, torch.tensor(2), torch.tensor([2, 0, 4]), [2, 0, 4], [(2,), (0,), (4,)], (2,)]
)
@pytest.mark.parametrize("baseline", [None, 1, "one row", "every row", "channels"])
def test_captums_targets_and_baselines(target, baseline):
    model, x = zoo.build(zoo.Residual).float(), zoo.images(3).float()
    rows = {"one row": zoo.images(1, seed=5).float(), "every row": zoo.images(3, seed=6).float()}
    rows["channels"] = torch.tensor([0.5, -1.0, 2.0]).reshape(3, 1, 1)
    kwargs = {
        "sliding_window_shapes": (3, 9, 8),
        "strides": (3, 7, 8),
        "baselines": rows.get(baseline, baseline),
        "target": target,
    }
    right = captum.attr.Occlusion(model).attribute(x, **kwargs, perturbations_per_eval=2)
    for way in (True, False):
        found = Occlusion(model).attribute(x, **kwargs, perturbations_per_eval=3, incremental=way)
        assert found.dtype == right.dtype
        torch.testing.assert_close(found, right, rtol=0, atol=1e-5)


class TwoInputs(nn.Module):
    """An image, a vector, and two further arguments, one of them by example."""

    def __init__(self):
        super().__init__()
        self.body, self.side = zoo.build(zoo.Residual), nn.Linear(6, 5).double()

    def forward(self, x, v, scale, power):
        return self.body(x) * scale + self.side(v) ** power


def test_several_inputs_and_further_arguments():
    torch.manual_seed(0)
    model, x = TwoInputs().eval(), zoo.images(2)
    v = torch.randn(2, 6).double()
    scale = torch.tensor([[2.0], [-3.0]]).double()
    kwargs = {
        "sliding_window_shapes": ((3, 7, 7), (2,)),
        "strides": ((3, 6, 7), 1),
        "baselines": (0.25, torch.ones(1, 6).double()),
        "target": [1, 4],
        "additional_forward_args": (scale, 2),
    }
    right = captum.attr.Occlusion(model).attribute((x, v), **kwargs)
    score = lambda x, v: model(x, v, scale, 2)[range(2), [1, 4]]  # noqa: E731
    with torch.no_grad():
        literal = [
            occlusion(score, (x, v), 0, (3, 7, 7), (3, 6, 7), 0.25),
            occlusion(score, (x, v), 1, (2,), (1,), torch.ones(2, 6).double()),
        ]
    for way in (True, False):
        found = Occlusion(model).attribute((x, v), **kwargs, incremental=way)
        assert isinstance(found, tuple)
        for ours, theirs, exact in zip(found, right, literal, strict=True):
            torch.testing.assert_close(ours, exact, rtol=0, atol=1e-10)
            torch.testing.assert_close(ours.float(), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["tensor", "float", "one element"])
def test_one_number_for_the_whole_batch(kind):
    body = zoo.build(zoo.Strided).float()

    def model(x):
        total = body(x)[:, 1].sum()
        return {"tensor": total, "float": float(total), "one element": total[None]}[kind]

    x = zoo.images(2).float()
    right = captum.attr.Occlusion(model).attribute(x, (3, 9, 9), (3, 7, 7))
    found = Occlusion(model).attribute(x, (3, 9, 9), (3, 7, 7))
    assert found.shape == right.shape == (1, 3, 23, 21)
    torch.testing.assert_close(found, right, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="one number for the whole batch"):
        Occlusion(model).attribute(x, (3, 9, 9), (3, 7, 7), incremental=True)


TIED = {  # what a forward may do that counts on the very batch it explains
    "labels": lambda scores: scores[range(3), [1, 0, 2]],
    "weights": lambda scores: (scores * torch.arange(12.0).reshape(3, 4)).sum(1),
    "sums of columns": lambda scores: scores.sum(0)[:3],
}


@pytest.mark.parametrize("kind", TIED)
@pytest.mark.parametrize("count", [3, 4, 6])
def test_a_forward_that_counts_on_its_batch(kind, count):
    """Where windows are as many as examples too."""
    weight = torch.randn(count, 4)
    model = lambda x: TIED[kind](torch.sin(x @ weight))  # noqa: E731
    x, window = torch.randn(3, count), (count // 3,)
    right = captum.attr.Occlusion(model).attribute(x, window, window)
    torch.testing.assert_close(Occlusion(model).attribute(x, window, window), right)


def test_the_progress_bar_is_captums(capsys):
    class Mine(Occlusion):
        pass

    for cls, name in ((Occlusion, "Occlusion"), (Mine, "Mine")):
        cls(lambda x: x.sum(1)).attribute(torch.ones(2, 4), (1,), show_progress=True)
        cls(lambda x: x.sum()).attribute(torch.ones(2, 3), (1,), show_progress=True)
        assert capsys.readouterr().err.count(f"{name} attribution: 100%") == 3


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"sliding_window_shapes": (3, 30, 4)}, "expected at most the input's"),
        ({"sliding_window_shapes": (4, 4)}, "expected 3 positive integers"),
        ({"sliding_window_shapes": (3, 4, 4), "strides": 5}, "so that every element is occluded"),
        (
            {"sliding_window_shapes": (3, 4, 0)},
            r"sliding_window_shapes\[2\]=0: expected an integer",
        ),
        ({"sliding_window_shapes": ((3, 4, 4), (2,))}, "one for each of 1 input"),
        ({"sliding_window_shapes": 4}, "expected a tuple"),
        ({"sliding_window_shapes": (3, 4, 4), "baselines": torch.ones(2)}, "baselines: expected"),
        ({"sliding_window_shapes": (3, 4, 4), "baselines": (0, 0)}, "one for each of 1 inputs"),
        ({"sliding_window_shapes": (3, 4, 4), "perturbations_per_eval": 0}, "eval=0: expected"),
        ({"sliding_window_shapes": (3, 4, 4), "coarse_to_fine": 2}, "coarse_to_fine=2: expected"),
        ({"sliding_window_shapes": (3, 4, 4), "target": 9}, "target=9: .* 5 classes"),
    ],
)
def test_wrong_arguments_are_named(kwargs, message):
    model, x = zoo.build(zoo.Strided), zoo.images()
    with nothing_left_behind(model, x), pytest.raises(AssertionError, match=message):
        Occlusion(model).attribute(x, **{"target": 1, **kwargs})


def test_coarse_to_fine_interpolates_and_refines():
    model, x = zoo.build(zoo.Residual), zoo.images(1)
    kwargs = {"sliding_window_shapes": (3, 3, 3), "strides": (3, 2, 2), "target": 1}
    exact = Occlusion(model).attribute(x, **kwargs)
    assert torch.equal(Occlusion(model).attribute(x, **kwargs, coarse_to_fine=1), exact)
    errors = [
        float((Occlusion(model).attribute(x, **kwargs, coarse_to_fine=s) - exact).abs().mean())
        for s in (0.05, 0.3, 0.6)
    ]
    assert errors[0] > errors[1] > errors[2] > 0
    # a map that is linear in the window's place is interpolated exactly: closed form
    weights = torch.arange(7.0).double()[:, None] + 2 * torch.arange(9.0).double()
    linear = lambda v: (v[:, 0] * weights).sum((1, 2))  # noqa: E731
    ones = torch.ones(1, 1, 7, 9).double()
    found = Occlusion(linear).attribute(ones, (1, 1, 1), coarse_to_fine=0.01)
    torch.testing.assert_close(found[0, 0], weights)


def test_the_grid_is_captums():
    grid = Grid((3, 7, 10), (3, 4, 4), (3, 2, 4))
    assert grid.counts == (1, 3, 3)
    assert grid.starts(torch.arange(9))[[0, 1, 3, 8]].tolist() == [
        [0, 0, 0], [0, 0, 4], [0, 2, 0], [0, 4, 8],
    ]  # fmt: skip
    values = torch.arange(9.0)[None]
    masks = grid.masks(torch.arange(9), values.device)
    assert masks[8].sum() == 3 * 3 * 2
    spread = (values[0, :, None, None, None] * masks).sum(0) / masks.sum(0)
    torch.testing.assert_close(grid.spread(values)[0], spread)


def test_only_what_a_window_reaches_is_computed():
    """Multiply-adds counted: windows of 8 grow by 2 in each of three convolutions of 3 x 3."""
    layers = [nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(3)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    x = torch.randn(1, 4, 32, 32)
    with torch.no_grad(), FlopCounterMode(display=False) as once:
        model(x)
    with FlopCounterMode(display=False) as counted:
        Occlusion(model).attribute(x, (4, 8, 8), (4, 8, 8), target=1, incremental=True)
    windows = 16 * (10 * 10 + 12 * 12 + 14 * 14)
    judged = 10 * 9 + 12 * 10 + 14 * 11  # it lies at the left border
    whole, found = (
        count.get_flop_counts()["Global"][torch.ops.aten.convolution] for count in (once, counted)
    )
    # the scores, the tape's one and two rows, the recorded pass and another image are whole
    assert found == 6 * whole + (windows + judged) * 2 * 4 * 4 * 9


class Counting(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.rows = model, 0

    def forward(self, x):
        self.rows += len(x)
        return self.model(x)


def test_passes_are_counted():
    model, x = Counting(zoo.build(zoo.Strided)).eval(), zoo.images(2)
    Occlusion(model).attribute(x, (3, 4, 4), (3, 4, 4), target=1)
    assert model.rows == 2 + 1 + 2  # the scores, and the tape's one and two rows
    model.rows = 0
    Occlusion(model).attribute(x, (3, 4, 4), (3, 4, 4), target=1, incremental=False)
    assert model.rows == 2 + 4 + 2 * 36  # four tell whether the batch is mixed
    model.rows = 0
    Occlusion(model).attribute(x[:1], (3, 20, 20), (3, 3, 3), target=1)  # too few for a tape
    assert model.rows == 1 + 4


def test_not_a_number_stays_in_its_window():
    def middle(v):
        return v[:, 0, 2, 2]

    x = torch.ones(1, 1, 5, 5)
    x[0, 0, 2, 2] = float("nan")
    found = Occlusion(middle).attribute(x, (1, 1, 1))
    assert found.isnan().all(), "the clean score is not a number"
    x[0, 0, 2, 2], x[0, 0, 0, 0] = 1, float("nan")
    found = Occlusion(middle).attribute(x, (1, 1, 1))
    assert found[0, 0].tolist() == [[0] * 5, [0] * 5, [0, 0, 1, 0, 0], [0] * 5, [0] * 5]


def test_a_batch_norm_of_cudnn_which_calls_its_epsilon_otherwise():
    x, weight = zoo.images(1), torch.randn(4, 3, 3, 3).double()
    mean, variance, scale, shift = torch.rand(4, 4).double()
    maps = torch.conv2d(x, weight)
    right = torch.batch_norm(maps, scale, shift, mean, variance, False, 0.0, 0.5, False)
    given = {"weight": scale, "bias": shift, "running_mean": mean, "running_var": variance}
    norm = changed_pass.Step(
        torch.ops.aten.cudnn_batch_norm.default,
        {"input": changed_pass.Ref(1), **given, "epsilon": 0.5},
        (2, -1, -1, -1),
    )
    convolution = changed_pass.Step(
        torch.ops.aten.convolution.default,
        {"input": changed_pass.Ref(0), "weight": weight, "bias": None, "transposed": False},
        (1,),
    )
    joined = changed_pass._norm_in_convolution(convolution, norm).args
    torch.testing.assert_close(torch.conv2d(x, joined["weight"], joined["bias"]), right)
    spans = (tiles.Span(np.zeros(1, np.int64), 1),) * 2
    frame = SimpleNamespace(change=lambda _: tiles.Tile(maps, spans))
    (tile,) = tile_rules._batch_norm(norm, frame)
    torch.testing.assert_close(tile.data, right)


MUTANTS = {
    "off by one in the reach": (
        tiles.Span, "through", lambda r: lambda span, slide, n: r(
            span, replace(slide, kernel=slide.kernel - 2), n
        ),
    ),
    "the patch one to the right": (
        tiles, "_paste_at",
        lambda r: lambda w, i, place, d: r(w, i, [*place[:-1], place[-1] + 1], d),
    ),
    "tiles not unified": (
        tile_rules, "joined", lambda r: lambda spans, n: r(spans[:1], n),
    ),
    "whole maps without the tile": (
        changed_pass, "whole",
        lambda r: lambda base, tile: base.expand(len(tile.data), *base.shape[1:]).clone(),
    ),
    "batch norm's mean forgotten": (
        changed_pass, "_norm_in_convolution",
        lambda r: lambda c, n: r(
            c, changed_pass.Step(
                n.func,
                {k: v * 0 if k == "running_mean" else v for k, v in n.args.items()},
                n.outputs,
            ),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_engine_is_seen(mutant, monkeypatch):
    """Each break changes values on some network; the tape's own judge is off."""
    owner, name, make = MUTANTS[mutant]
    monkeypatch.setattr("captum_cnn_ext.attr.pixels.window_losses.judge", lambda *a: None)
    monkeypatch.setattr(owner, name, make(getattr(owner, name)))
    differs = []
    for cls in (zoo.Residual, zoo.Dense, zoo.Plain):
        model, x = zoo.build(cls), zoo.images(1)
        right = expected(model, x, 3, (3, 4, 5), (3, 4, 5), 0)
        try:
            found = Occlusion(model).attribute(x, (3, 4, 5), (3, 4, 5), target=3, incremental=True)
        except RuntimeError:
            differs.append(True)
        else:
            differs.append(not torch.allclose(found, right, rtol=0, atol=1e-8))
    assert any(differs)
