"""Occlusion and metrics on a CUDA device: the CPU's values, and everything stays there."""

import occlusion_models as zoo
import pytest
import torch
from captum.attr import LayerGradCam
from snapshots import nothing_left_behind
from torch import nn
from torchvision.models import resnet18

from captum_cnn_ext import metrics
from captum_cnn_ext.attr import Occlusion

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("cls", zoo.FOLLOWED, ids=lambda c: c.__name__)
def test_the_cpus_values(cls):
    model, x = zoo.build(cls), zoo.images(2)
    kwargs = {"sliding_window_shapes": (3, 5, 6), "strides": (3, 3, 4), "target": [3, 1]}
    right = Occlusion(model).attribute(x, **kwargs, incremental=True)
    model, x = model.cuda(), x.cuda()
    for way in (True, False):
        with nothing_left_behind(model, x):
            found = Occlusion(model).attribute(x, **kwargs, incremental=way)
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), right, rtol=0, atol=1e-10)


def test_several_inputs_and_perturbations_per_eval():
    """Captum 0.9 mixes devices here (its issue 1879)."""

    class Two(nn.Module):
        def forward(self, x, v):
            return x.mean((2, 3)) * v

    x, v = torch.rand(2, 3, 8, 8, device="cuda"), torch.rand(2, 3, device="cuda")
    kwargs = {"sliding_window_shapes": ((3, 4, 4), (1,)), "strides": ((3, 4, 4), 1), "target": 1}
    found = Occlusion(Two()).attribute((x, v), **kwargs, perturbations_per_eval=4)
    right = Occlusion(Two()).attribute((x.cpu(), v.cpu()), **kwargs)
    for ours, theirs in zip(found, right, strict=True):
        assert ours.is_cuda
        torch.testing.assert_close(ours.cpu(), theirs, rtol=0, atol=1e-5)


def test_metrics_stay_on_the_device():
    torch.manual_seed(0)
    model, x = resnet18().eval().cuda(), torch.rand(2, 3, 64, 64, device="cuda")
    given = LayerGradCam(model, model.layer4).attribute(x, 3)
    with nothing_left_behind(model, x, given):
        up, down = metrics.insertion_and_deletion(model, x, given, 3, steps=4)
        road = metrics.road(model, x, given, 3)
        kept = metrics.confidence(model, x, given, 3)
    for found in (up.area, down.area, road.score, kept.average_drop, metrics.sparseness(given, x)):
        assert found.is_cuda
        assert found.shape == (2,)
