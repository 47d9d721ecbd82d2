"""Poly-CAM: the literal recursion, its closed form, deliberate breaks, counted passes."""

import pytest
import references_scores as references
import torch
from torch import nn

from captum_cnn_ext.attr import LayerPolyCam, LayerScoreCam
from captum_cnn_ext.attr.cams import poly_cam

TARGETS = [0, 4, 2]


@pytest.fixture(scope="module")
def network():
    """Three resolutions: 12 x 16, 6 x 8 and 3 x 4."""
    torch.manual_seed(6)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5),
    ).double().eval()  # fmt: skip


@pytest.fixture(scope="module")
def x():
    return torch.rand(3, 2, 12, 16, generator=torch.Generator().manual_seed(7)).double()


def assert_equal(network, x, variant="+-", names=("1", "4", "7"), given=None):
    found = LayerPolyCam(network, list(given or names), variant=variant).attribute(x, TARGETS)
    layers = [network.get_submodule(name) for name in names]
    expected = references.poly_cam(network, layers, x, TARGETS, variant)
    atol = 1e-10 * float(expected.max())
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
    assert found.shape == (3, 1, 12, 16)
    assert expected.any()


@pytest.mark.parametrize("variant", ["+", "-", "+-"])
def test_equals_the_literal_recursion(network, x, variant):
    assert_equal(network, x, variant)


@pytest.mark.parametrize("given", [("7", "4", "1"), ("4", "1", "7")])
def test_layers_come_in_any_order(network, x, given):
    assert_equal(network, x, given=given)


def test_of_two_layers_of_one_size_the_later_named_comes_first(network, x):
    assert_equal(network, x, names=("0", "1", "7"))


def test_one_layer_alone_is_the_positive_part_of_score_cam(network, x):
    alone = LayerPolyCam(network, "7", variant="+").attribute(x, TARGETS)
    score = LayerScoreCam(network, "7").attribute(x, TARGETS, relu_attributions=True)
    torch.testing.assert_close(alone, score)


def test_a_constant_fine_map_leaves_the_coarse_one_as_it_is():
    coarse = torch.rand(1, 1, 3, 4)
    fine = torch.full((1, 1, 6, 8), 7.0)
    up = nn.functional.interpolate(coarse, size=(6, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(poly_cam.refined([coarse, fine]), up)


BREAKS = {
    "no local normalisation": ("local_normalisation", lambda maps, size: maps),
    "normalised by the mean": (
        "local_normalisation",
        lambda maps, size: maps / maps.mean((2, 3), keepdim=True),
    ),
    "a sum for the product": (
        "refined",
        lambda maps: sum(poly_cam.mask_at(m, maps[-1].shape[2:]) for m in maps),
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_break_of_the_recursion_is_seen(network, x, name, monkeypatch):
    monkeypatch.setattr(poly_cam, *BREAKS[name])
    with pytest.raises(AssertionError, match="Tensor-likes"):
        assert_equal(network, x)


WEIGHTS = {
    "only the gain": ("+-", lambda self, scores, unmasked: scores[:, 0]),
    "no relu": ("-", lambda self, scores, unmasked: unmasked - scores[:, -1]),
    "masks exchanged": (
        "+-",
        lambda self, scores, unmasked: (scores[:, 1] + unmasked - scores[:, 0]).relu(),
    ),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_break_of_the_weights_is_seen(network, x, name, monkeypatch):
    variant, wrong = WEIGHTS[name]
    monkeypatch.setattr(LayerPolyCam, "_weigh", wrong)
    with pytest.raises(AssertionError, match="Tensor-likes"):
        assert_equal(network, 10 * x, variant)


def test_passes_are_counted(network, x):
    rows = []
    handle = network[0].register_forward_hook(lambda m, i, o: rows.append(len(o)))
    LayerPolyCam(network, ["4", "7"], variant="-").attribute(x[:1], 1)
    once = sum(rows)
    rows.clear()
    LayerPolyCam(network, ["4", "7"], variant="+-").attribute(x[:1], 1)
    handle.remove()
    varying = sum(
        int((references.activation(network, network[i], x[:1]).flatten(2).var(2) > 0).sum())
        for i in (4, 7)
    )
    assert once == 2 + varying
    assert sum(rows) == 2 + 2 * varying


def test_what_has_no_product_is_refused(network, x):
    with pytest.raises(ValueError, match="channels of different layers do not correspond"):
        LayerPolyCam(network, ["4", "7"]).attribute(x, 1, attr_dim_summation=False)
    with pytest.raises(ValueError, match=r"'10': LayerPolyCam joins layers with one tensor"):
        LayerPolyCam(network, ["7", "10"]).attribute(x, 1)
    with pytest.raises(ValueError, match=r"variant='\+\+': expected one of"):
        LayerPolyCam(network, ["7"], variant="++")
