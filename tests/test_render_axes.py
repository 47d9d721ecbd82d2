"""Pictures of signals and volumes: what is drawn are the values given."""

import itertools

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection

from captum_cnn_ext import render


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def band(axes):
    (found,) = [c for c in axes.collections if isinstance(c, LineCollection)]
    return found


def test_a_line_is_the_signal_and_its_band_the_attribution():
    signals, maps = rand(2, 3, 40) * 4 - 2, rand(2, 3, 40, seed=1) - 0.3
    _, axes = render.show_signals(signals, {"own": maps}, outlier_perc=0, sign="all")
    assert axes.shape == (2, 1)
    for row in range(2):
        lines = [line.get_ydata() for line in axes[row, 0].lines]
        for line, channel in zip(lines, signals[row], strict=True):  # on one scale, only moved
            np.testing.assert_allclose(np.diff(line), np.diff(channel.numpy()), atol=1e-5)
        assert all(upper.min() > lower.max() for upper, lower in itertools.pairwise(lines))
        colors = band(axes[row, 0])
        expected = maps[row] / maps[row].abs().max()
        np.testing.assert_allclose(colors.get_array(), expected.flatten(), atol=1e-6)
        assert colors.get_clim() == (-1, 1)
        middles = np.array([piece[1] for piece in colors.get_segments()])
        np.testing.assert_allclose(middles[:, 1], np.concatenate(lines))
        np.testing.assert_allclose(middles[:, 0], np.tile(np.arange(40), 3))


def test_one_map_for_all_channels_is_interpolated_and_other_channels_are_summed():
    signals = rand(1, 2, 30)
    one, other = rand(1, 1, 10, seed=1), rand(1, 7, 30, seed=2)
    _, axes = render.show_signals(signals, {"a": one, "b": other}, outlier_perc=0)
    wide = torch.nn.functional.interpolate(one, 30, mode="linear")[0, 0]
    for column, expected in enumerate((wide, other[0].sum(0))):
        found = band(axes[0, column]).get_array().reshape(2, 30)
        for channel in found:
            np.testing.assert_allclose(channel, expected / expected.max(), atol=1e-6)


def test_not_finite_is_marked_and_said():
    maps = rand(1, 1, 30)
    maps[0, 0, 4] = float("nan")
    _, axes = render.show_signals(rand(1, 1, 30), {"a": maps})
    assert band(axes[0, 0]).get_array().mask.nonzero()[0].tolist() == [4]
    assert axes[0, 0].get_xlabel() == "1 of 30 values not finite"


def test_many_channels_are_an_image_of_channels_by_positions():
    signals, maps = rand(2, 12, 50) * 9 - 4, rand(2, 12, 50, seed=1)
    _, axes = render.show_attributions(signals, {"a": maps}, outlier_perc=0)
    grey, heat = (image.get_array() for image in axes[1, 0].images)
    low, high = signals[1].min(), signals[1].max()
    np.testing.assert_allclose(grey, (signals[1] - low) / (high - low), atol=1e-5)
    np.testing.assert_allclose(heat, maps[1] / maps[1].max(), atol=1e-6)
    assert axes[1, 0].get_aspect() == "auto"
    scaled = render.show_signals(signals, {"a": maps}, std=[2.0], mean=[5.0])[1]
    np.testing.assert_allclose(scaled[1, 0].images[0].get_array(), grey, atol=1e-5)


def test_names_stand_beside_the_channels():
    _, axes = render.show_signals(rand(1, 2, 9), {"a": rand(1, 1, 9)}, channel_names=["x", "y"])
    assert [label.get_text() for label in axes[0, 0].get_yticklabels()] == ["x", "y"]
    _, axes = render.show_signals(rand(2, 9), {"a": rand(1, 9)})
    assert [label.get_text() for label in axes[0, 0].get_yticklabels()] == ["0", "1"]


def test_the_strongest_slice_and_a_strip():
    volumes, maps = rand(2, 3, 9, 8, 10), rand(2, 1, 9, 8, 10, seed=1) * 0.1
    maps[0, 0, 4], maps[1, 0, 7] = 1, 1
    _, axes = render.show_attributions(volumes, {"a": maps, "b": maps * 2}, outlier_perc=0)
    assert axes.shape == (2 * 3, 1 + 6)
    for n, strongest in enumerate((4, 7)):
        assert axes[3 * n, 0].get_title().split() == ["slice", f"{strongest},", "the", "strongest"]
        for column, place in enumerate([strongest, 0, 2, 3, 5, 6, 8]):
            photo = axes[3 * n, column].images[0].get_array()
            np.testing.assert_allclose(photo, volumes[n, :, place].permute(1, 2, 0), atol=1e-6)
            for row in (1, 2):
                heat = axes[3 * n + row, column].images[1].get_array()
                np.testing.assert_allclose(heat, maps[n, 0, place], atol=1e-6)
    assert [axes[row, 0].get_ylabel() for row in range(3)] == ["input 0", "a", "b"]


def test_chosen_slices_of_coarse_maps():
    volumes, maps = rand(1, 1, 6, 8, 8), rand(1, 4, 3, 4, 4, seed=1)
    _, axes = render.show_volumes(volumes, {"a": maps}, slices=[5, 2], outlier_perc=0)
    full = torch.nn.functional.interpolate(maps.sum(1)[None], (6, 8, 8), mode="trilinear")[0, 0]
    for column, place in enumerate((5, 2)):
        found = axes[1, column].images[1].get_array()
        np.testing.assert_allclose(found, full[place] / full.max(), atol=1e-6)


@pytest.mark.parametrize("scale", ["panel", "column", "figure"])
def test_scales_of_volumes(scale):
    maps = rand(2, 1, 2, 3, 3) * torch.tensor([1.0, 4.0]).reshape(2, 1, 1, 1, 1)
    methods = {"a": maps, "b": maps * 3}
    _, axes = render.show_volumes(
        rand(2, 1, 2, 3, 3), methods, slices=[0, 1], scale=scale, outlier_perc=0
    )
    for column, key in enumerate(methods):
        for n in range(2):
            own = {"panel": methods[key][n], "column": methods[key], "figure": methods["b"]}[scale]
            found = axes[3 * n + 1 + column, 1].images[1].get_array()
            np.testing.assert_allclose(found, methods[key][n, 0, 1] / own.max(), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: render.show_signals(rand(2, 2, 3, 9), {"a": rand(1)}), r"expected \(N, C, L\)"),
        (lambda: render.show_signals(rand(2, 2, 9), {"a": rand(1, 1, 9)}), r"expected \(2, C, l\)"),
        (lambda: render.show_signals(rand(2, 2, 9), {}), "an empty dict"),
        (
            lambda: render.show_signals(rand(2, 2, 9), {"a": rand(2, 1, 9)}, channel_names=["x"]),
            "channel_names: got 1",
        ),
        (lambda: render.show_volumes(rand(1, 2, 3, 9, 9), {"a": rand(1)}), "with 1 or 3 channels"),
        (
            lambda: render.show_volumes(rand(1, 1, 3, 9, 9), {"a": rand(1, 1, 9, 9)[None, None]}),
            r"expected \(1, C, d, h, w\)",
        ),
        (
            lambda: render.show_volumes(rand(1, 3, 9, 9), {"a": rand(1, 1, 3, 9, 9)}, slices=3),
            "slices: got 3|expected",
        ),
        (lambda: render.overlay(rand(1, 3, 8, 9, 9), rand(9, 9)), "show_volumes draws"),
        (lambda: render.overlay(rand(12, 90), rand(9, 9)), "show_signals draws"),
        (lambda: render.show_feature_maps(rand(12, 90)), r"draw maps\[:, None\]"),
        (lambda: render.show_feature_maps(rand(1, 12, 4, 9, 9)), r"one slice, maps\[0, :, d\]"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
