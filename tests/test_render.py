"""Attributions over images: values read back from the axes, against literal computations."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from captum_cnn_ext import render
from captum_cnn_ext.render import overlay, show_attributions, to_rgb

MAGENTA = [255, 0, 255]


def heat(axes):
    """The normalised heat that was drawn, NaN where it is marked."""
    return axes.images[-1].get_array().filled(np.nan)


def literal_scale(values, outlier_perc):
    magnitudes = sorted(abs(float(value)) for value in values)
    total, running = sum(magnitudes), 0.0
    for magnitude in magnitudes:
        running += magnitude
        if running >= total * (100 - outlier_perc) / 100:
            return magnitude
    raise AssertionError("never reached")


def words(figure):
    """The text at the bottom of a figure, on one line."""
    return " ".join(figure.texts[-1].get_text().split())


def save(figure):
    figure.savefig(io.BytesIO(), format="png")


def test_heat_is_the_attribution_over_its_literal_scale():
    values = torch.randn(9, 11)
    for outlier_perc in (0, 30):
        scale = literal_scale(values.clamp_min(0).flatten(), outlier_perc)
        _, axes = overlay(torch.rand(3, 9, 11), values, outlier_perc=outlier_perc)
        expected = [[min(max(float(v), 0) / scale, 1) for v in row] for row in values]
        np.testing.assert_allclose(heat(axes), expected, rtol=1e-6)


@pytest.mark.parametrize("sign", ["positive", "negative", "absolute_value", "all"])
def test_heat_equals_captums(sign):
    from captum.attr import visualization

    values = torch.randn(12, 12)
    _, theirs = visualization.visualize_image_attr(
        values[..., None].numpy(), sign=sign, method="heat_map", use_pyplot=False
    )
    _, ours = overlay(torch.rand(3, 12, 12), values, sign=sign, method="heat_map")
    np.testing.assert_allclose(heat(ours), theirs.images[0].get_array(), rtol=1e-6)
    assert ours.images[0].get_clim() == theirs.images[0].get_clim()


def test_channels_are_summed_and_upsampled_as_interpolate_does():
    maps = torch.randn(1, 5, 7, 4).abs()
    for mode in ("bilinear", "nearest", "bicubic"):
        large = F.interpolate(maps.sum(1, keepdim=True), (28, 20), mode=mode)[0, 0]
        _, axes = overlay(torch.rand(1, 3, 28, 20), maps, outlier_perc=0, interpolate_mode=mode)
        expected = large.clamp_min(0) / large.max()
        np.testing.assert_allclose(heat(axes), expected, rtol=1e-5, atol=1e-6)


def test_each_sign_shows_its_part():
    values = torch.tensor([[2.0, -4.0, 0.0, 1.0]])
    expected = {
        "positive": [[1, 0, 0, 0.5]],
        "negative": [[0, 1, 0, 0]],
        "absolute_value": [[0.5, 1, 0, 0.25]],
        "all": [[0.5, -1, 0, 0.25]],
    }
    for sign, wanted in expected.items():
        _, axes = overlay(torch.rand(3, 1, 4), values, sign=sign, outlier_perc=0)
        np.testing.assert_allclose(heat(axes), wanted, atol=1e-7, err_msg=sign)


def test_zero_is_the_middle_colour_of_signed_heat():
    _, axes = overlay(torch.rand(3, 1, 2), torch.tensor([[0.0, 3.0]]), sign="all")
    drawn = axes.images[-1]
    middle = drawn.cmap(drawn.norm(0.0))
    assert middle == drawn.cmap(0.5)
    assert min(middle[:3]) > 0.95  # white
    red, _, blue, _ = drawn.cmap(drawn.norm(1.0))
    assert red > blue


def test_blended_shows_the_grey_photo_under_the_heat():
    photo = torch.rand(3, 6, 6)
    _, axes = overlay(photo, torch.rand(6, 6), alpha_overlay=0.3)
    under, over = axes.images
    np.testing.assert_allclose(under.get_array(), photo.mean(0), rtol=1e-6)
    assert over.get_alpha() == 0.3


def test_masked_image_is_the_photo_times_the_heat():
    photo = torch.rand(3, 1, 2)
    _, axes = overlay(photo, torch.tensor([[1.0, 4.0]]), method="masked_image", outlier_perc=0)
    expected = photo.permute(1, 2, 0) * torch.tensor([0.25, 1.0])[None, :, None]
    np.testing.assert_allclose(axes.images[0].get_array(), expected, rtol=1e-6)


def test_original_image_is_the_denormalised_photo():
    photo = torch.rand(3, 5, 5)
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    normal = (photo - mean[:, None, None]) / std[:, None, None]
    _, axes = overlay(normal, torch.rand(5, 5), method="original_image", mean=mean, std=std)
    np.testing.assert_allclose(axes.images[0].get_array(), photo.permute(1, 2, 0), atol=1e-6)


@pytest.mark.parametrize(
    ("values", "sign", "remark"),
    [
        (torch.zeros(7, 7), "positive", "nothing positive"),
        (-torch.rand(7, 7), "positive", "nothing positive"),
        (torch.rand(7, 7), "negative", "nothing negative"),
        (torch.zeros(7, 7), "all", "all zero"),
        (torch.zeros(7, 7), "absolute_value", "all zero"),
        (torch.full((7, 7), float("nan")), "positive", "49 of 49 values not finite"),
    ],
)
def test_a_map_without_anything_to_show_says_so(values, sign, remark):
    figure, axes = overlay(torch.rand(3, 14, 14), values, sign=sign, show_colorbar=True)
    assert axes.get_xlabel() == remark
    expected = torch.zeros(14, 14) if values.isfinite().all() else torch.full((14, 14), torch.nan)
    np.testing.assert_array_equal(heat(axes), expected)
    save(figure)


def test_values_that_are_not_finite_are_counted_marked_and_do_not_spread():
    values = torch.ones(4, 4)
    values[0, 0], values[0, 1], values[3, 3] = float("nan"), float("inf"), float("-inf")
    for method in ("heat_map", "masked_image"):
        _, axes = overlay(torch.zeros(3, 8, 8), values, method=method)
        assert axes.get_xlabel() == "3 of 16 values not finite"
        pixels = axes.images[0].to_rgba(axes.images[0].get_array(), bytes=True)
        marked = (pixels[..., :3] == MAGENTA).all(-1)
        expected = np.kron(~values.isfinite().numpy(), np.ones((2, 2))) > 0
        assert (marked == expected).all(), method


def test_tiny_and_huge_attributions_draw_alike():
    values = torch.rand(6, 6, dtype=torch.float64)
    _, usual = overlay(torch.rand(3, 6, 6), values)
    for factor in (1e-30, 1e30):
        _, axes = overlay(torch.rand(3, 6, 6), values * factor)
        np.testing.assert_allclose(heat(axes), heat(usual), rtol=1e-5)


def test_the_colour_bar_tells_the_attributions_own_numbers():
    figure, _ = overlay(torch.rand(3, 1, 2), torch.tensor([[-8.0, 4.0]]), sign="negative",
                        outlier_perc=0, show_colorbar=True)  # fmt: skip
    assert [tick.get_text() for tick in figure.axes[1].get_yticklabels()] == ["0", "−4", "−8"]


def test_full_colour_is_a_sum_over_channels():
    values = torch.tensor([[[1.0]], [[5.0]]])
    figure, _ = overlay(torch.rand(3, 2, 2), values, show_colorbar=True)
    assert figure.axes[1].get_yticklabels()[-1].get_text() == "6"


def test_draws_into_axes_that_are_given():
    mine = Figure()
    left, right = mine.subplots(1, 2)
    figure, axes = overlay(torch.rand(1, 4, 4), torch.rand(2, 2), plt_fig_axis=(mine, right),
                           title="here")  # fmt: skip
    assert figure is mine
    assert axes is right
    assert right.get_title() == "here"
    assert len(right.images) == 2
    assert not left.images


def test_rows_are_images_and_columns_methods():
    images = torch.rand(3, 3, 10, 8)
    maps = {"one": torch.rand(3, 1, 5, 4), "two": torch.randn(3, 4, 10, 8)}
    figure, axes = show_attributions(images, maps, row_titles=["a", "b", "c"])
    assert axes.shape == (3, 3)
    assert [cell.get_title() for cell in axes[0]] == ["a", "one", "two"]
    assert [row[0].get_title() for row in axes] == ["a", "b", "c"]
    for row in range(3):
        np.testing.assert_array_equal(axes[row, 0].images[0].get_array(), to_rgb(images[row]))
        for column, name in enumerate(maps, start=1):
            _, single = overlay(images[row], maps[name][row])
            np.testing.assert_allclose(heat(axes[row, column]), heat(single), rtol=1e-6)
    save(figure)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        ("panel", [[1, 1], [1, 1]]),
        ("column", [[0.25, 0.125], [1, 1]]),
        ("figure", [[0.125, 0.125], [0.5, 1]]),
    ],
)
def test_scale_is_shared_as_named(scale, expected):
    ones = torch.ones(1, 1, 2, 2)
    maps = {"a": torch.cat([ones, 4 * ones]), "b": torch.cat([ones, 8 * ones])}
    figure, axes = show_attributions(torch.rand(2, 3, 4, 4), maps, scale=scale, outlier_perc=0)
    drawn = [[heat(axes[row, column]).max() for column in (1, 2)] for row in (0, 1)]
    np.testing.assert_allclose(drawn, expected)
    assert f"one scale {'for all panels' if scale == 'figure' else f'per {scale}'}" in words(figure)
    if scale == "column":
        assert [cell.get_xlabel() for cell in axes[1]] == ["", "full colour: 4", "full colour: 8"]
    top = figure.axes[-1].get_yticklabels()[-1].get_text()
    assert top == ("8" if scale == "figure" else "1")


def test_the_note_says_what_full_colour_is():
    figure, _ = show_attributions(torch.rand(3, 4, 4), {"a": torch.rand(4, 4)}, outlier_perc=5)
    assert (
        words(figure)
        == "Positive attribution; one scale per panel, top 5 % of its total at full colour."
    )
    figure, _ = show_attributions(torch.rand(3, 4, 4), {"a": torch.rand(4, 4)}, outlier_perc=0,
                                  method="masked_image", sign="negative")  # fmt: skip
    assert words(figure) == "Negative attribution; one scale per panel, maximum at full brightness."


def test_titles_replace_names_and_row_titles_stand_beside_without_the_photo():
    figure, axes = show_attributions(
        torch.rand(2, 3, 8, 8),
        {"a": torch.rand(2, 1, 8, 8)},
        titles=["$A$ plain"],
        row_titles=["first", "second"],
        show_original=False,
        show_colorbar=False,
    )
    assert axes.shape == (2, 1)
    assert len(figure.axes) == 2
    assert axes[0, 0].get_title() == "$A$ plain"
    assert not axes[0, 0].title.get_parse_math()
    assert [row[0].get_ylabel() for row in axes] == ["first", "second"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_any_dtype_with_gradient_draws(dtype):
    images = torch.rand(1, 3, 6, 6).to(dtype).requires_grad_()
    values = torch.randn(1, 1, 3, 3).to(dtype).requires_grad_()
    figure, axes = show_attributions(images, {"a": values}, sign="all")
    _, reference = overlay(images.float(), values.float(), sign="all")
    np.testing.assert_allclose(heat(axes[0, 1]), heat(reference), rtol=1e-5, atol=1e-6)
    save(figure)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("scale", ["panel", "column", "figure"])
def test_a_device_draws_what_the_cpu_draws(scale):
    images, values = torch.rand(2, 3, 6, 6), torch.randn(2, 2, 3, 3)
    _, here = show_attributions(images, {"a": values}, scale=scale)
    _, there = show_attributions(images.cuda(), {"a": values.cuda()}, scale=scale)
    for ours, theirs in zip(here.flat, there.flat, strict=True):
        np.testing.assert_allclose(
            ours.images[-1].get_array(), theirs.images[-1].get_array(), rtol=1e-5, atol=1e-6
        )


def test_figures_stay_out_of_pyplot_unless_asked():
    from matplotlib import pyplot

    overlay(torch.rand(3, 4, 4), torch.rand(4, 4))
    assert not pyplot.get_fignums()
    figure, _ = overlay(torch.rand(3, 4, 4), torch.rand(4, 4), use_pyplot=True)
    assert pyplot.fignum_exists(figure.number)
    pyplot.close(figure)


def test_public_names():
    assert sorted(render.__all__) == [
        *(
            "outlined",
            "overlay",
            "overlay_pixels",
            "save_film",
            "show_attributions",
            "show_cost_quality",
            "show_curves",
        ),
        *("show_feature_maps", "show_filter_families", "show_filters", "show_images"),
        *(
            "show_patches",
            "show_receptive_fields",
            "show_reconstructions",
            "show_score_table",
            "show_signals",
        ),
        *("show_volumes", "to_rgb"),
    ]
