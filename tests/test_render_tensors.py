"""Pictures of inputs, filters and feature maps: values read back, against literal ones."""

import io

import numpy as np
import pytest
import torch

from captum_cnn_ext.render import show_feature_maps, show_filters, to_rgb


def arrays(axes):
    return [cell.images[0].get_array() for cell in axes.flat if cell.get_visible()]


def save(figure):
    figure.savefig(io.BytesIO(), format="png")


def note(figure):
    return " ".join(figure.texts[-1].get_text().split())


# to_rgb


def test_to_rgb_undoes_the_preprocessing():
    photos = torch.rand(2, 3, 4, 5)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    columns = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
    pictures = to_rgb((photos - columns[0]) / columns[1], mean=mean, std=std)
    assert pictures.shape == (2, 4, 5, 3)
    assert pictures.dtype == np.float32
    np.testing.assert_allclose(pictures, photos.permute(0, 2, 3, 1), atol=1e-6)


def test_to_rgb_cuts_what_preprocessing_cannot_have_made():
    pixel = torch.tensor([-3.0, 0.0, 3.0]).reshape(3, 1, 1)
    assert to_rgb(pixel, mean=[0.5], std=[0.25]).tolist() == [[[0.0, 0.5, 1.0]]]


def test_to_rgb_without_preprocessing():
    inside = torch.rand(3, 4, 4)
    np.testing.assert_array_equal(to_rgb(inside), inside.permute(1, 2, 0))
    outside = torch.tensor([-1.0, 0.0, 3.0]).reshape(3, 1, 1)
    np.testing.assert_allclose(to_rgb(outside), [[[0.0, 0.25, 1.0]]])
    dark = torch.tensor([-1.0, -0.5, 1.0]).reshape(3, 1, 1)
    np.testing.assert_allclose(to_rgb(dark), [[[0.0, 0.25, 1.0]]])
    both = to_rgb(torch.stack([inside, inside * 4]))  # each picture for itself
    np.testing.assert_array_equal(both[0], inside.permute(1, 2, 0))
    assert both[1].max() == 1
    assert (to_rgb(torch.full((3, 2, 2), 7.0)) == 0.5).all()
    assert (to_rgb(torch.full((3, 2, 2), 51, dtype=torch.uint8)) == np.float32(0.2)).all()


def test_to_rgb_of_many_channels_is_their_mean_after_the_preprocessing_is_undone():
    pixel = torch.tensor([-1.0, 0.0, 1.0, 9.0]).reshape(4, 1, 1)
    found = to_rgb(pixel, mean=[0.5, 0.5, 0.5, 0.1], std=[0.5, 0.5, 0.5, 0.1])
    assert found.tolist() == [[[(0 + 0.5 + 1 + 1) / 4] * 3]]  # what lies outside is cut first
    patch = torch.rand(6, 3, 3)
    np.testing.assert_allclose(to_rgb(patch)[..., 0], patch.mean(0), rtol=1e-6)


def test_to_rgb_makes_grey_three_channels_and_nan_black():
    grey = torch.tensor([[[0.25, float("nan")]]])
    assert to_rgb(grey).tolist() == [[[0.25] * 3, [0.0] * 3]]


# filters


@pytest.mark.parametrize("scale", ["filter", "layer"])
def test_rgb_filters_are_grey_at_zero_and_full_at_their_scale(scale):
    weight = torch.randn(3, 3, 3, 3)
    weight[0, :, 1, 1] = 0
    figure, axes = show_filters(weight, scale=scale)
    assert axes.shape == (2, 2)
    for index, tile in enumerate(arrays(axes)):
        top = weight[index].abs().max() if scale == "filter" else weight.abs().max()
        expected = weight[index].permute(1, 2, 0) / (2 * top) + 0.5
        np.testing.assert_allclose(tile, expected, rtol=1e-5)
    assert arrays(axes)[0][1, 1].tolist() == [0.5, 0.5, 0.5]
    save(figure)


@pytest.mark.parametrize("scale", ["filter", "layer"])
def test_strips_hold_the_slices_of_a_filter_side_by_side(scale):
    weight = torch.randn(4, 5, 2, 3)
    figure, axes = show_filters(weight, filters=[3, 1], channels=[4, 0], scale=scale)
    assert axes.shape == (2, 1)
    for strip, index in zip(axes.flat, [3, 1], strict=True):
        expected = np.concatenate([weight[index, 4], weight[index, 0]], axis=1)
        np.testing.assert_array_equal(strip.images[0].get_array(), expected)
        top = (weight[index] if scale == "filter" else weight).abs().max().item()
        assert strip.images[0].get_clim() == (-top, top)
        assert strip.get_ylabel() == str(index)
    assert [tick.get_text() for tick in axes[0, 0].get_xticklabels()] == ["4", "0"]
    assert len(figure.axes) == (2 if scale == "filter" else 3)  # strips, colour bar
    save(figure)


def test_zero_weights_are_the_middle_colour():
    for shape in ((2, 1, 3, 3), (2, 4, 3, 3)):
        _, axes = show_filters(torch.zeros(shape))
        drawn = axes[0, 0].images[0]
        assert drawn.cmap(drawn.norm(0.0)) == drawn.cmap(0.5)
        assert (
            drawn.norm(drawn.get_array()).tolist() == np.full(drawn.get_array().shape, 0.5).tolist()
        )
    _, axes = show_filters(torch.zeros(2, 3, 3, 3))
    assert (arrays(axes)[0] == 0.5).all()


def test_depthwise_filters_make_a_grid():
    conv = torch.nn.Conv2d(6, 6, 3, groups=6)
    figure, axes = show_filters(conv, filters=torch.tensor([5, 2, 0, 1]))
    assert axes.shape == (2, 2)
    assert [cell.get_title() for cell in axes.flat] == ["5", "2", "0", "1"]
    np.testing.assert_array_equal(arrays(axes)[1], conv.weight[2, 0].detach())
    assert figure.get_suptitle() == "4 of 6 filters shown"


def test_naming_channels_of_an_rgb_layer_draws_them_alone():
    weight = torch.randn(2, 3, 3, 3)
    _, axes = show_filters(weight, channels=1)
    np.testing.assert_array_equal(axes[1, 0].images[0].get_array(), weight[1, 1])


def test_at_most_first_filters_and_channels_unless_named():
    weight = torch.randn(5, 7, 1, 1)
    figure, axes = show_filters(weight, first=2)
    assert [array.shape for array in arrays(axes)] == [(1, 2)] * 2
    title = " ".join(figure.get_suptitle().split())
    assert title == "2 of 5 filters shown, 2 of 7 input channels shown"
    figure, axes = show_filters(weight, first=1, filters=range(3), channels=range(5), title="mine")
    assert [array.shape for array in arrays(axes)] == [(1, 5)] * 3
    assert figure.get_suptitle() == "mine"
    assert "3 of 5 filters shown, 5 of 7 input channels shown" in note(figure)
    _, axes = show_filters(weight, first=None)
    assert len(arrays(axes)) == 5


def test_one_dimensional_filters_are_one_pixel_high():
    conv = torch.nn.Conv1d(2, 3, 5)
    figure, axes = show_filters(conv)
    expected = conv.weight[2].detach().reshape(1, 10)
    np.testing.assert_array_equal(axes[2, 0].images[0].get_array(), expected)
    save(figure)


def test_weights_that_are_not_finite_are_magenta():
    weight = torch.ones(1, 3, 1, 2)
    weight[0, 1, 0, 0] = float("nan")
    _, axes = show_filters(weight)
    assert arrays(axes)[0].tolist() == [[[1, 0, 1], [1, 1, 1]]]
    weight = torch.tensor([[[[float("nan"), 2.0]]]])
    _, axes = show_filters(weight)
    pixels = axes[0, 0].images[0].to_rgba(arrays(axes)[0], bytes=True)
    assert pixels[0, 0].tolist() == [255, 0, 255, 255]
    assert axes[0, 0].images[0].get_clim() == (-2, 2)


# feature maps


def test_maps_without_negative_values_go_from_zero_to_their_maximum():
    maps = torch.rand(1, 5, 4, 6)
    figure, axes = show_feature_maps(maps)
    assert axes.shape == (2, 3)
    assert not axes[1, 2].get_visible()
    for channel, cell in enumerate(axes.flat[:5]):
        image = cell.images[0]
        np.testing.assert_array_equal(image.get_array(), maps[0, channel])
        assert image.get_clim() == (0, maps[0, channel].max().item())
        assert image.cmap.name == "viridis"
        assert cell.get_title() == f"{channel}: {maps[0, channel].max():.3g}"
    assert figure.get_suptitle() == "5 channels"
    save(figure)


def test_signed_maps_are_centred_on_zero():
    maps = torch.tensor([[[-4.0, 1.0]], [[0.5, 2.0]]])
    _, axes = show_feature_maps(maps)
    assert [cell.images[0].get_clim() for cell in axes.flat] == [(-4, 4), (-2, 2)]
    assert [cell.get_title() for cell in axes.flat] == ["0: 1", "1: 2"]
    assert axes[0, 0].images[0].cmap.name == "RdBu_r"


def test_layer_scale_is_that_of_all_maps_even_those_not_shown():
    maps = torch.stack([torch.full((2, 2), float(top)) * torch.eye(2) for top in (1, 8, 2)])
    figure, axes = show_feature_maps(maps, scale="layer", channels=[0, 2])
    assert [cell.images[0].get_clim() for cell in axes.flat] == [(0, 8), (0, 8)]
    assert [tick.get_text() for tick in figure.axes[-1].get_yticklabels()] == ["0", "4", "8"]
    save(figure)


@pytest.mark.parametrize(
    ("sort", "order"),
    [("index", [0, 1, 2]), ("max", [2, 1, 0]), ("mean", [0, 2, 1]), ("norm", [1, 2, 0])],
)
def test_sorting(sort, order):
    maps = torch.tensor([[[2.0, 2.0, 2.0]], [[3.0, -5.0, 3.0]], [[4.0, -1.0, 2.0]]])
    _, axes = show_feature_maps(maps, sort=sort)
    assert [int(cell.get_title().split(":")[0]) for cell in axes.flat[:3]] == order
    for cell, channel in zip(axes.flat, order, strict=False):
        np.testing.assert_array_equal(cell.images[0].get_array(), maps[channel])


def test_first_is_taken_after_sorting_and_named_channels_keep_their_order():
    maps = torch.arange(1.0, 9.0).reshape(8, 1, 1).expand(8, 2, 2) * torch.eye(2)
    figure, axes = show_feature_maps(maps, sort="max", first=3)
    assert [cell.get_title() for cell in axes.flat[:3]] == ["7: 8", "6: 7", "5: 6"]
    assert figure.get_suptitle() == "3 of 8 channels shown, by max"
    figure, axes = show_feature_maps(maps, channels=[4, 0, 2], first=2, title="mine")
    assert [cell.get_title() for cell in axes.flat[:3]] == ["4: 5", "0: 1", "2: 3"]
    assert note(figure).startswith("3 of 8 channels shown; ")


def test_dead_and_broken_maps_say_so():
    maps = torch.rand(4, 3, 3)
    maps[0], maps[1], maps[2, 0, 0], maps[2, 1, 1] = 0, 0.5, float("nan"), float("inf")
    figure, axes = show_feature_maps(maps)
    titles = [cell.get_title() for cell in axes.flat]
    assert axes[0, 0].images[0].get_clim() == (0, 1)
    assert titles[:3] == ["0: dead", "1: dead (0.5)", "2: 2 not finite"]
    assert np.ma.getmaskarray(axes[1, 0].images[0].get_array()).sum() == 2
    save(figure)
    _, axes = show_feature_maps(torch.tensor([0.0, 3.0]).reshape(2, 1, 1))
    assert [cell.get_title() for cell in axes.flat] == ["0: dead", "1: 3"]


def test_titles_can_be_left_out_and_colours_chosen():
    figure, axes = show_feature_maps(torch.rand(2, 3, 3), show_titles=False, cmap="magma")
    assert [cell.get_title() for cell in axes.flat] == ["", ""]
    assert axes[0, 0].images[0].cmap.name == "magma"
    assert note(figure) == "each map from 0 to its own maximum"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int64])
def test_other_dtypes_draw(dtype):
    values = (torch.rand(2, 2, 3, 3) * 9).to(dtype)
    figure, axes = show_feature_maps(values[0])
    np.testing.assert_array_equal(arrays(axes)[1], values[0, 1].float())
    save(figure)
    figure, axes = show_filters(values)
    np.testing.assert_array_equal(axes[1, 0].images[0].get_array()[:, :3], values[1, 0].float())
    save(figure)
