"""CAMs from scores on resnet18 and EfficientNet-Lite0: the literal references.

In float64: in float32 the score of a masked image differs by the size of the batch that it goes
through a whole network with, by a few 1e-5.
"""

import copy

import networks
import pytest
import torch
from oracles import oracle_of, score_cams

from captum_cnn_ext.attr import LayerISCam, LayerPolyCam, LayerReciproCam, LayerSSCam

MAPS = [
    oracle
    for oracle in score_cams.ORACLES
    if oracle.cls not in (LayerISCam, LayerPolyCam, LayerSSCam)
    and oracle.variant not in ("signed", "logit")
]
EACH = pytest.mark.parametrize("oracle", MAPS, ids=lambda o: o.name)

pytestmark = pytest.mark.slow


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


def place(oracle, positions, channels):
    """Recipro-CAM costs passes by the positions, the others by the channels."""
    return positions if oracle.cls is LayerReciproCam else channels


@EACH
def test_resnet18(oracle, resnet18):
    model, x = resnet18
    oracle.compare(model, place(oracle, "layer4.1.bn2", "layer1.1.bn2"), x, [3])


@EACH
def test_efficientnet_lite0(oracle, wide_lite0, small_photo):
    layer = place(oracle, "_blocks.10", "_blocks.0")
    oracle.compare(wide_lite0, layer, small_photo, [967])


def test_poly_cam(wide_lite0, small_photo):
    oracle = oracle_of(LayerPolyCam, "-")  # its quotients are of small numbers
    oracle.compare(wide_lite0, ["_blocks.0", "_blocks.2"], small_photo, [967], tolerance=1e-8)
