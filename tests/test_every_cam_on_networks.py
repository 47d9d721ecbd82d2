"""CAMs from scores on resnet18 (float64) and EfficientNet-Lite0 (float32): literal references."""

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
    if name not in ("ss", "ablation, signed", "score, logit")
}
MAPS["opti"] = tuple(
    partial(each, steps=2) for each in (CASES["opti"][0].func, references.opti_cam)
)


def assert_close(found, expected):
    atol = {torch.float32: 1e-5, torch.float64: 1e-10}[found.dtype] * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
    assert expected.abs().max() > 0, "an empty map proves nothing"


@pytest.fixture(scope="module")
def resnet18():
    model = copy.deepcopy(networks.calibrated_resnet18()).double()
    return model, networks.pictures(2)[:, :, ::2, ::2].double()


@pytest.fixture(scope="module")
def small_photos(photos):
    """Two photos, 64 pixels wide."""
    return torch.nn.functional.interpolate(photos[:2], size=(64, 64), mode="bilinear")


def place(name, positions, channels):
    """Recipro-CAM costs passes by the positions, the others by the channels."""
    return positions if name.startswith("recipro") else channels


@pytest.mark.parametrize("name", MAPS)
def test_resnet18(name, resnet18):
    model, x = resnet18
    cls, reference = MAPS[name]
    layer = place(name, "layer4.1.bn2", "layer1.1.bn2")
    found = cls(model, layer).attribute(x, [3, 11])
    assert_close(found, reference(model, model.get_submodule(layer), x, [3, 11]))


@pytest.mark.parametrize("name", MAPS)
def test_efficientnet_lite0(name, lite0, small_photos):
    cls, reference = MAPS[name]
    layer = place(name, "_blocks.10", "_blocks.0")
    found = cls(lite0, layer).attribute(small_photos, [560, 967])
    assert_close(found, reference(lite0, lite0.get_submodule(layer), small_photos, [560, 967]))


@pytest.mark.parametrize("variant", ["+", "-", "+-"])
def test_poly_cam(variant, lite0, small_photos):
    layers = ["_blocks.0", "_blocks.2"]
    found = LayerPolyCam(lite0, layers, variant=variant).attribute(small_photos, [560, 967])
    modules = [lite0.get_submodule(layer) for layer in layers]
    expected = references.poly_cam(lite0, modules, small_photos, [560, 967], variant)
    atol = 1e-4 * float(expected.abs().max())  # quotients of small numbers
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
