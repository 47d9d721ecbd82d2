"""Synthesis on a CUDA device: it stays there, and begins as on the CPU."""

import pytest
import torch
from snapshots import nothing_left_behind
from torchvision.models import resnet18

from captum_cnn_ext.synthesis import Channel, Target, filter_atlas, maximize, presets

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return resnet18().eval().cuda()


@pytest.mark.parametrize("name", presets.PRESETS)
def test_images_are_made_where_the_model_is(network, name):
    with nothing_left_behind(network):
        found = maximize(network, Target([1, 2]), 64, recipe=name, steps=3, alpha=True)
    for tensor in (found.images, found.values, found.history, found.alpha):
        assert tensor.device.type == "cuda"
    again = maximize(network, Target([1, 2]), 64, recipe=name, steps=3, alpha=True)
    torch.testing.assert_close(found.images, again.images, rtol=1e-3, atol=1e-3)


def test_the_first_views_are_those_of_the_cpu(network):
    torch.manual_seed(0)
    on_cpu = maximize(resnet18().eval(), Channel("layer2", 3), 64, steps=1)
    found = maximize(network, Channel("layer2", 3), 64, steps=1)
    torch.testing.assert_close(found.history.cpu(), on_cpu.history, rtol=1e-2, atol=1e-4)


def test_autocast_and_an_atlas(network):
    with torch.autocast("cuda", torch.bfloat16):
        assert maximize(network, Channel("layer3", 3), 64, steps=3).images.dtype == torch.float32
    atlas = filter_atlas(network, "layer2", range(16), size=64, steps=3)
    assert atlas.images.device.type == "cuda"
