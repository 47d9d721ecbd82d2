"""EfficientNet-Lite0 with its ImageNet weights, on photos."""

import copy

import numpy as np
import pytest
import references
import torch
from captum.attr import LayerActivation, LayerGradCam
from oracles import oracle_of
from snapshots import nothing_left_behind

from captum_cnn_ext.attr import (
    LayerCam,
    LayerFeatureMaps,
    LayerGradCamPlusPlus,
    LayerHiResCam,
    LayerLayerCam,
    LayerXGradCam,
)

FORMULAS = [LayerGradCamPlusPlus, LayerXGradCam, LayerHiResCam, LayerLayerCam]
FOOTBALL_HELMET, ESPRESSO = 560, 967
LAST = {"call": 1}  # the network's one ReLU6 module runs after the stem and before the pooling


@pytest.fixture(scope="module")
def double(lite0):
    return copy.deepcopy(lite0).double()


@pytest.mark.parametrize("cls", FORMULAS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("layer", ["_swish", "_blocks.12._depthwise_conv"])
@pytest.mark.filterwarnings("ignore:LayerGradCamPlusPlus. the layer has channels")
def test_equals_reference(cls, layer, lite0, double, photos):
    with torch.no_grad():
        target = lite0(photos).argmax(1).tolist()
    call = LAST["call"] if layer == "_swish" else None
    # where channels sum to almost nothing, weights that divide by the sum need the digits
    oracle = oracle_of(cls)
    oracle.compare(double, layer, photos.double(), target, call, 1e-9)
    if layer == "_swish":
        oracle.compare(lite0, layer, photos, target, call, 1e-5)


def test_cam_is_the_logit(lite0, photos):
    logits = lite0(photos).detach()
    target = logits.argmax(1)
    found = LayerCam(lite0, "_swish").attribute(photos, target, **LAST)
    bias = lite0._fc.bias.detach()[target]
    torch.testing.assert_close(
        found.mean((1, 2, 3)) + bias, logits.gather(1, target[:, None])[:, 0], rtol=1e-4, atol=1e-4
    )
    activation = LayerFeatureMaps(lite0, "_swish").attribute(photos, **LAST)
    expected = references.cam(activation, lite0._fc.weight, target.tolist())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 * expected.max())


def test_grad_cam_equals_captums_and_hires_at_the_last_layer(lite0, photos):
    captum = LayerGradCam(lite0, lite0._swish).attribute(photos, ESPRESSO).detach()
    ours = LayerHiResCam(lite0, "_swish").attribute(photos, ESPRESSO, **LAST)
    torch.testing.assert_close(ours, captum, rtol=0, atol=1e-5 * captum.abs().max())


@pytest.mark.parametrize("cls", [*FORMULAS, LayerCam], ids=lambda c: c.__name__)
def test_the_helmet_and_the_cup_are_found(cls, lite0, photos):
    """The strongest tenth of the map lies on the object, given as a box by hand."""
    boxes = {
        FOOTBALL_HELMET: (0, slice(115, 224), slice(105, 224)),
        ESPRESSO: (1, slice(0, 150), slice(30, 190)),
    }
    for target, (row, rows, columns) in boxes.items():
        found = cls(lite0, "_swish").attribute(photos[row : row + 1], target, **LAST)
        heat = cls.interpolate(found, photos.shape[2:], "bilinear")[0, 0]
        top = heat >= heat.flatten().quantile(0.9)
        box = torch.zeros_like(top)
        box[rows, columns] = True
        assert (top & box).sum() / top.sum() > 0.95


def test_feature_maps_are_captums(lite0, photos):
    names = ["_conv_stem", "_blocks.3._project_conv", "_blocks.15", "_conv_head"]
    with nothing_left_behind(lite0, photos):
        ours = LayerFeatureMaps(lite0, names).attribute(photos)
    for name, found in zip(names, ours, strict=True):
        expected = LayerActivation(lite0, lite0.get_submodule(name)).attribute(photos)
        assert torch.equal(found, expected), name


def test_channels_last_and_bfloat16(lite0, photos):
    plain = LayerHiResCam(lite0, "_swish").attribute(photos, ESPRESSO, **LAST)
    last = photos.to(memory_format=torch.channels_last)
    found = LayerHiResCam(lite0, "_swish").attribute(last, ESPRESSO, **LAST)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-4 * plain.abs().max())
    with torch.autocast("cpu", torch.bfloat16):
        half = LayerHiResCam(lite0, "_swish").attribute(photos, ESPRESSO, **LAST)
    correlation = np.corrcoef(half.float().flatten(), plain.flatten())[0, 1]
    assert correlation > 0.99
