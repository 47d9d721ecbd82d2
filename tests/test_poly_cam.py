"""Poly-CAM: the literal recursion, its closed form, deliberate breaks, counted passes."""

import pytest
import references_scores as references
import torch
from oracles import assert_equal, oracle_of, scenes
from torch import nn

from captum_cnn_ext.attr import LayerPolyCam, LayerScoreCam
from captum_cnn_ext.attr.cams import poly_cam

TARGETS = [0, 4, 2]


@pytest.fixture(scope="module")
def network():
    return scenes.pyramid()


@pytest.fixture(scope="module")
def x():
    return scenes.pictures()


def compare(network, x, names=("1", "4", "7"), given=None):
    oracle = oracle_of(LayerPolyCam)
    found = oracle.attribute(network, list(given or names), x, TARGETS)
    assert_equal(found, oracle.expected(network, list(names), x, TARGETS), 1e-10)
    assert found.shape == (3, 1, 12, 16)


@pytest.mark.parametrize("given", [("7", "4", "1"), ("4", "1", "7")])
def test_layers_come_in_any_order(network, x, given):
    compare(network, x, given=given)


def test_of_two_layers_of_one_size_the_later_named_comes_first(network, x):
    compare(network, x, names=("0", "1", "7"))


def test_one_layer_alone_is_the_positive_part_of_score_cam(network, x):
    alone = LayerPolyCam(network, "7", variant="+").attribute(x, TARGETS)
    score = LayerScoreCam(network, "7").attribute(x, TARGETS, relu_attributions=True)
    torch.testing.assert_close(alone, score)


def test_a_constant_fine_map_leaves_the_coarse_one_as_it_is():
    coarse = torch.rand(1, 1, 3, 4)
    fine = torch.full((1, 1, 6, 8), 7.0)
    up = nn.functional.interpolate(coarse, size=(6, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(poly_cam.refined([coarse, fine]), up)


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
