"""CAMs from scores on resnet18 and EfficientNet-Lite0: the literal references.

In float64: in float32 the score of a masked image differs by the size of the batch that it goes
through a whole network with, by a few 1e-5.
"""

import copy
from functools import partial

import networks
import pytest
import references_scores as references
import torch
from test_perturbation_cam import CASES

from captum_cnn_ext.attr import LayerPolyCam

MAPS = {
    name: case
    for name, case in CASES.items()
    if name not in ("ss", "is", "ablation, signed", "score, logit")
}
MAPS["opti"] = tuple(
    partial(each, steps=2) for each in (CASES["opti"][0].func, references.opti_cam)
)

pytestmark = pytest.mark.slow


def assert_close(found, expected):
    atol = 1e-10 * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
    assert expected.abs().max() > 0, "an empty map proves nothing"


@pytest.fixture(scope="module")
def resnet18():
    model = copy.deepcopy(networks.calibrated_resnet18()).double()
    return model, networks.pictures(1)[:, :, ::3, ::3].double()


@pytest.fixture(scope="module")
def small_photo(photos):
    """A photo, 64 pixels wide."""
    photos = photos[1:2].double()
    return torch.nn.functional.interpolate(photos, size=(64, 64), mode="bilinear")


@pytest.fixture(scope="module")
def wide_lite0(lite0):
    return copy.deepcopy(lite0).double()


def place(name, positions, channels):
    """Recipro-CAM costs passes by the positions, the others by the channels."""
    return positions if name.startswith("recipro") else channels


@pytest.mark.parametrize("name", MAPS)
def test_resnet18(name, resnet18):
    model, x = resnet18
    cls, reference = MAPS[name]
    layer = place(name, "layer4.1.bn2", "layer1.1.bn2")
    found = cls(model, layer).attribute(x, [3])
    assert_close(found, reference(model, model.get_submodule(layer), x, [3]))


@pytest.mark.parametrize("name", MAPS)
def test_efficientnet_lite0(name, wide_lite0, small_photo):
    cls, reference = MAPS[name]
    layer = place(name, "_blocks.10", "_blocks.0")
    found = cls(wide_lite0, layer).attribute(small_photo, [967])
    assert_close(found, reference(wide_lite0, wide_lite0.get_submodule(layer), small_photo, [967]))


def test_poly_cam(wide_lite0, small_photo):
    layers = ["_blocks.0", "_blocks.2"]
    found = LayerPolyCam(wide_lite0, layers, variant="-").attribute(small_photo, [967])
    modules = [wide_lite0.get_submodule(layer) for layer in layers]
    expected = references.poly_cam(wide_lite0, modules, small_photo, [967], "-")
    atol = 1e-8 * float(expected.abs().max())  # quotients of small numbers
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
