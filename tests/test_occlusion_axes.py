"""Incremental occlusion of signals and volumes: the rules of images, on one axis and on three."""

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from occlusion_models import build
from references_occlusion import occlusion
from snapshots import nothing_left_behind
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from captum_cnn_ext._engine.incremental import tile_rules, tiles
from captum_cnn_ext.attr import Occlusion
from captum_cnn_ext.attr.pixels import window_losses
from captum_cnn_ext.attr.pixels.window_losses import FEWEST_POSITIONS

KINDS = {
    1: (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d),
    3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d),
}


class Everything(nn.Module):
    """Each operation that has a rule, in a network of any number of axes."""

    def __init__(self, axes):
        super().__init__()
        conv, norm, largest, mean, pooled = KINDS[axes]
        self.axes = axes
        self.stem = nn.Sequential(conv(2, 6, 3, padding=1, bias=False), norm(6))
        self.pool, self.average = largest(3, 2, padding=1), mean(2, 1)
        self.one, self.two = conv(6, 6, 3, padding=2, dilation=2), conv(9, 4, 1)
        self.slopes, self.pooled = nn.PReLU(6), pooled(1)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = self.pool(F.relu_(self.stem(F.pad(x, (1, 2) * self.axes, value=0.3))))
        x = x + self.slopes(self.one(x))
        left, right = x.split([2, 4], 1)
        x = self.two(torch.cat([left * 0.5, right, right[:, 1:]], 1))
        return self.head(self.pooled(self.average(x)).flatten(1))


CASES = {  # axes, size, window, strides, baseline
    "signal, tiled": (1, (97,), (2, 8), (2, 8), 0),
    "signal, cut off": (1, (64,), (1, 9), (1, 6), -1),
    "volume, tiled": (3, (9, 17, 20), (2, 3, 4, 5), (2, 3, 4, 5), 0.5),
    "volume, cut off": (3, (8, 16, 16), (2, 5, 7, 6), (2, 4, 6, 6), 0),
}


def case(name):
    axes, size, window, strides, baseline = CASES[name]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 2, *size, generator=generator).double()
    return build(lambda: Everything(axes)), x, window, strides, baseline


@pytest.mark.parametrize("name", CASES)
def test_equals_the_loop_and_captums(name):
    model, x, window, strides, baseline = case(name)
    with torch.no_grad():
        literal = occlusion(lambda v: model(v)[:, 3], (x,), 0, window, strides, baseline)
    theirs = captum.attr.Occlusion(model).attribute(x, window, strides, baseline, 3)
    with nothing_left_behind(model, x):
        found = Occlusion(model).attribute(x, window, strides, baseline, 3, incremental=True)
    torch.testing.assert_close(found, literal, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.float(), theirs.float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("axes", KINDS)
def test_every_operation_before_the_head_has_a_rule(axes, monkeypatch):
    size, window = {1: ((97,), (2, 3)), 3: ((21, 21, 21), (2, 7, 3, 3))}[axes]
    model, x = build(lambda: Everything(axes)), torch.randn(1, 2, *size).double()
    whole = []

    def spy(step, frame):
        found = tile_rules.through(step, frame)
        parts = [n for n in step.reads if isinstance(frame.change(n), tiles.Tile)]
        whole.extend([step.name] if found is None and parts else [])
        return found

    monkeypatch.setattr("captum_cnn_ext._engine.incremental.changed_pass.through", spy)
    Occlusion(model).attribute(x, window, window, target=1, incremental=True)
    assert set(whole) <= {"squeeze", "view", "addmm"}, "of the pooled values"


@pytest.mark.parametrize(("axes", "size"), [(1, 100), (3, 16)])
def test_only_what_a_window_reaches_is_computed(axes, size):
    """Multiply-adds counted: windows of 4 grow by 2 in each of two convolutions of 3."""
    conv = KINDS[axes][0]
    layers = [conv(3, 3, 3, padding=1, bias=False) for _ in range(2)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * size**axes, 2)).eval()
    x = torch.randn(1, 3, *[size] * axes)
    with torch.no_grad(), FlopCounterMode(display=False) as once:
        model(x)
    window = (3, *[4] * axes)
    with FlopCounterMode(display=False) as counted:
        Occlusion(model).attribute(x, window, window, target=1, incremental=True)
    whole, found = (
        count.get_flop_counts()["Global"][torch.ops.aten.convolution] for count in (once, counted)
    )
    # the scores, the tape's one and two rows, the recorded pass and another image are whole
    windows = (size // 4) ** axes * (6**axes + 8**axes)
    judged = 6**axes + 8**axes  # it lies in the middle, of a volume along one axis
    if axes == 3:
        judged = 6 * 5 * 5 + 8 * 6 * 6
    assert found == 6 * whole + (windows + judged) * 2 * 3 * 3 * 3**axes
    assert found < whole * (size // 4) ** axes


@pytest.mark.parametrize("axes", [1, 3])
def test_small_inputs_are_run_sooner_than_recorded(axes, monkeypatch):
    monkeypatch.setattr(window_losses, "FEWEST_POSITIONS", FEWEST_POSITIONS)
    body, rows = Everything(axes).eval(), []

    def model(x):
        rows.append(len(x))
        return body(x)

    long = FEWEST_POSITIONS // 64 // 4 ** (axes - 1)
    small = ((64,), (2, 4)) if axes == 1 else ((4, 4, 4), (2, 1, 1, 4))
    for sizes, window, ran in (
        (*small, 1 + 4 + 16),
        ((long, *[4] * (axes - 1)), (2, long // 64, *[4] * (axes - 1)), 1 + 3),
    ):
        rows.clear()
        Occlusion(model).attribute(torch.randn(1, 2, *sizes), window, window, target=1)
        assert sum(rows) == ran


MUTANTS = {
    "an axis shifted": ("paste", lambda r: lambda w, s, tile: r(w, s, tiles.Tile(
        tile.data, (tile.spans[0].shifted(1), *tile.spans[1:])))),
    "the last axis whole": ("joined", lambda r: lambda spans, n: r(spans[:1], n)),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("name", ["signal, tiled", "volume, tiled"])
def test_a_wrong_engine_is_seen(name, mutant, monkeypatch):
    attribute, make = MUTANTS[mutant]
    monkeypatch.setattr("captum_cnn_ext.attr.pixels.window_losses.judge", lambda *a: None)
    monkeypatch.setattr(tile_rules, attribute, make(getattr(tile_rules, attribute)))
    with pytest.raises((AssertionError, RuntimeError)):
        test_equals_the_loop_and_captums(name)
