"""Agreement with grad-cam 1.5.7 and torchcam 0.5.0, where they compute what their papers say.

Where they do not (Grad-CAM++, Eigen-CAM, FEM, FullGrad) the written formulas are the measure.
"""

import networks
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from captum_cnn_ext.attr import LayerFinerCam, LayerHiResCam, LayerLayerCam, LayerXGradCam

TARGET = 3
OURS = {"HiResCAM": LayerHiResCam, "XGradCAM": LayerXGradCam, "LayerCAM": LayerLayerCam}
LAYERS = pytest.mark.parametrize("layer", ["layer3", "layer4"])


def drawn(maps, size):
    """Positive, from 0 to 1, at the given size: what the peers return."""
    maps = maps.relu()
    maps = maps - maps.amin((2, 3), keepdim=True)
    maps = maps / maps.amax((2, 3), keepdim=True)
    maps = F.interpolate(maps, size, mode="bilinear", align_corners=False)[:, 0]
    return maps / maps.amax((1, 2), keepdim=True)


@pytest.fixture
def case():
    return networks.calibrated_resnet18(), networks.pictures(1)


def grad_cams(name, model, layer, x, target):
    cam = pytest.importorskip("pytorch_grad_cam")
    with getattr(cam, name)(model=model, target_layers=[model.get_submodule(layer)]) as run:
        found = torch.from_numpy(np.asarray(run(input_tensor=x, targets=[target])))
    model.zero_grad()
    return found


def assert_same(ours, theirs):
    """To 1e-5, after the range of the peers' last scaling is put back."""
    theirs = theirs - theirs.amin((1, 2), keepdim=True)
    ours = ours - ours.amin((1, 2), keepdim=True)
    torch.testing.assert_close(
        ours / ours.amax((1, 2), keepdim=True),
        theirs / theirs.amax((1, 2), keepdim=True),
        rtol=0,
        atol=1e-5,
    )


@LAYERS
@pytest.mark.parametrize("name", OURS)
def test_grad_cam_1_5_7(name, layer, case):
    model, x = case
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    theirs = grad_cams(name, model, layer, x, targets.ClassifierOutputTarget(TARGET))
    ours = drawn(OURS[name](model, layer).attribute(x, TARGET), x.shape[2:])
    assert_same(ours, theirs)


@LAYERS
def test_grad_cams_finer_cam(layer, case):
    """Its target with p held constant, as ours and the paper have it."""
    model, x = case
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    similar = (model(x)[0] - model(x)[0, TARGET]).abs().argsort()[1:4].tolist()

    class Constant(targets.FinerWeightedTarget):
        def __call__(self, output):
            p = torch.softmax(output, -1).detach()[self.comparison_categories]
            own = output[self.main_category]
            others = output[self.comparison_categories]
            return (p * (own - self.alpha * others)).sum() / p.sum()

    theirs = grad_cams("GradCAM", model, layer, x, Constant(TARGET, similar, 1.0))
    ours = drawn(LayerFinerCam(model, layer).attribute(x, TARGET), x.shape[2:])
    assert_same(ours, theirs)


@LAYERS
@pytest.mark.parametrize("name", ["XGradCAM", "LayerCAM"])
def test_torchcam_0_5_0(name, layer, case):
    model, x = case
    methods = pytest.importorskip("torchcam.methods")
    with getattr(methods, name)(model, model.get_submodule(layer)) as extractor:
        (theirs,) = extractor(TARGET, model(x))
    ours = OURS[name](model, layer).attribute(x, TARGET)
    assert_same(drawn(ours, ours.shape[2:]), theirs.detach())
