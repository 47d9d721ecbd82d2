"""What drawing functions refuse, and that the text names parameter, value and expectation."""

import numpy as np
import pytest
import torch

from captum_cnn_ext.render import (
    overlay,
    show_attributions,
    show_feature_maps,
    show_filters,
    to_rgb,
)

IMAGE = torch.rand(3, 8, 8)
IMAGES = torch.rand(2, 3, 8, 8)
MAP = torch.rand(8, 8)
MAPS = torch.rand(2, 1, 4, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "heatmap"}, "method='heatmap': expected .* nearest: 'heat_map'"),
        ({"sign": "negativ"}, "sign='negativ': expected .* nearest: 'negative'"),
        ({"interpolate_mode": "linear"}, "interpolate_mode='linear':"),
        ({"cmap": "virids"}, "cmap='virids': expected .* nearest: 'viridis'"),
        ({"outlier_perc": 100}, "outlier_perc=100: expected .* of at least 0 and below 100"),
        ({"outlier_perc": -1}, "outlier_perc=-1: "),
        ({"outlier_perc": float("nan")}, "outlier_perc=nan: "),
        ({"alpha_overlay": 1.5}, "alpha_overlay=1.5: expected .* of at least 0 and at most 1"),
        ({"method": "masked_image", "sign": "all"}, "sign: got 'all' with method 'masked_image'"),
        ({"mean": [0.5, 0.5]}, r"mean: got 2 value\(s\) for 3 channel"),
        ({"mean": [124.0, 116.0, 104.0]}, "mean: got .* divide mean and std by 255"),
        ({"std": [1.0] * 4}, r"std: got 4 value\(s\) for 3"),
    ],
)
def test_overlay_refuses_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        overlay(IMAGE, MAP, **changes)


@pytest.mark.parametrize(
    ("image", "attribution", "message"),
    [
        (torch.rand(8, 8, 3), MAP, r"image: got shape \(8, 8, 3\), .* use .permute\(2, 0, 1\)"),
        (torch.rand(1, 8, 8, 3), MAP, r"channels seem to come last, use .permute\(0, 3, 1, 2\)"),
        (torch.rand(8, 8), MAP, r"image: got shape \(8, 8\)"),
        (IMAGES, MAP, r"image: got 2 images, expected one; pick image\[i\]"),
        (IMAGE, torch.rand(8, 8, 3), r"attribution: got shape \(8, 8, 3\), channels seem"),
        (IMAGE, torch.rand(1, 8, 8, 1), r"attribution: got shape \(1, 8, 8, 1\), channels seem"),
        (IMAGE, torch.rand(2, 1, 8, 8), r"attribution: got 2 map\(s\) for 1 image"),
        (IMAGE, torch.rand(8), r"attribution: got shape \(8,\) for 1 image"),
        (IMAGE, torch.rand(1, 1, 0, 8), "attribution: got shape .* at least one value"),
        (torch.rand(0, 3, 8, 8), MAP, "image: got shape .* at least one value"),
    ],
)
def test_overlay_refuses_shapes(image, attribution, message):
    with pytest.raises(ValueError, match=message):
        overlay(image, attribution)


@pytest.mark.parametrize(
    ("attribution", "message"),
    [
        (
            np.array([["a"]]),
            "attribution: got ndarray, expected a torch.Tensor; use torch.from_numpy",
        ),
        ((MAP,), "attribution: got tuple, .* take one tensor out of the tuple"),
        (None, "attribution: got NoneType"),
        (torch.zeros(8, 8, dtype=torch.complex64), "got dtype torch.complex64"),
    ],
)
def test_overlay_refuses_types(attribution, message):
    with pytest.raises(TypeError, match=message):
        overlay(IMAGE, attribution)


@pytest.mark.parametrize(
    ("attributions", "changes", "message"),
    [
        ({"cam": MAPS[:1]}, {}, r"attributions\['cam'\]: got 1 map\(s\) for 2 image"),
        (
            {"cam": MAPS[:, 0]},
            {},
            r"got shape \(2, 4, 4\) for 2 image\(s\), expected \(2, C, h, w\)",
        ),
        ({}, {}, "attributions: got an empty dict"),
        ({"cam": MAPS}, {"scale": "row"}, "scale='row': expected one of 'panel'"),
        ({"cam": MAPS}, {"method": "original_image"}, "method='original_image':"),
        ({"cam": MAPS}, {"titles": ["a", "b"]}, r"titles: got 2 for 1 method"),
        ({"cam": MAPS}, {"row_titles": ["a"]}, r"row_titles: got 1 for 2 image"),
    ],
)
def test_show_attributions_refuses_values(attributions, changes, message):
    with pytest.raises(ValueError, match=message):
        show_attributions(IMAGES, attributions, **changes)


def test_show_attributions_refuses_types():
    with pytest.raises(TypeError, match="attributions: got Tensor, expected a dict"):
        show_attributions(IMAGES, MAPS)
    with pytest.raises(TypeError, match="row_titles: got one string 'ab', expected a list of 2"):
        show_attributions(IMAGES, {"cam": MAPS}, row_titles="ab")
    with pytest.raises(TypeError, match=r"attributions\['cam'\]: got tuple"):
        show_attributions(IMAGES, {"cam": (MAPS,)})


@pytest.mark.parametrize(
    ("weight", "changes", "message"),
    [
        (torch.rand(2, 2, 3, 3, 3), {}, r"weight: got shape \(2, 2, 3, 3, 3\), expected \(out, in"),
        (torch.nn.Linear(3, 4), {}, r"weight: got shape \(4, 3\)"),
        (torch.rand(4, 2, 3, 3), {"filters": [0, 4]}, "filters: got 4, expected 0 to 3"),
        (torch.rand(4, 2, 3, 3), {"channels": -1}, "channels: got -1, expected 0 to 1"),
        (torch.rand(4, 2, 3, 3), {"filters": []}, r"filters=\[\]: expected an index"),
        (torch.rand(4, 2, 3, 3), {"first": 0}, "first=0: expected an integer of at least 1, or N"),
        (torch.rand(4, 2, 3, 3), {"scale": "filters"}, "scale=.* nearest: 'filter'"),
    ],
)
def test_show_filters_refuses(weight, changes, message):
    with pytest.raises(ValueError, match=message):
        show_filters(weight, **changes)


@pytest.mark.parametrize(
    ("maps", "changes", "message"),
    [
        (torch.rand(2, 4, 7, 7), {}, r"maps: got 2 images, expected one; pick maps\[i\]"),
        (torch.rand(7, 7), {}, r"maps: got shape \(7, 7\), expected \(C, H, W\)"),
        (torch.rand(4, 7, 7), {"channels": [4]}, "channels: got 4, expected 0 to 3"),
        (torch.rand(4, 7, 7), {"sort": "means"}, "sort=.* nearest: 'mean'"),
        (torch.rand(4, 7, 7), {"scale": "column"}, "scale='column':"),
        (torch.rand(4, 7, 7), {"first": -2}, "first=-2"),
    ],
)
def test_show_feature_maps_refuses(maps, changes, message):
    with pytest.raises(ValueError, match=message):
        show_feature_maps(maps, **changes)


def test_indices_are_integers_and_weights_tensors():
    with pytest.raises(ValueError, match=r"channels=\[1.5\]: expected an index"):
        show_feature_maps(torch.rand(4, 7, 7), channels=[1.5])
    with pytest.raises(TypeError, match=r"weight: got ReLU, expected a torch.Tensor"):
        show_filters(torch.nn.ReLU())
    with pytest.raises(TypeError, match="images: got list"):
        to_rgb([[0.0]])
