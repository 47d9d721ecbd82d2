"""On a CUDA device: same values as on the CPU, everything stays there, memory runs out well."""

import models
import pytest
import torch
from captum.attr import LayerGradCam, NoiseTunnel
from snapshots import nothing_left_behind
from torch import nn
from torchvision.models import resnet18, resnet50

from captum_cnn_ext.attr import (
    LayerCam,
    LayerFeatureMaps,
    LayerGradCamPlusPlus,
    LayerHiResCam,
    LayerLayerCam,
    LayerXGradCam,
)

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CLASSES = [LayerGradCamPlusPlus, LayerXGradCam, LayerHiResCam, LayerLayerCam, LayerCam]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return resnet18().eval().cuda()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_equals_the_cpu_in_float64(cls):
    torch.manual_seed(0)
    model, x = resnet18().double().eval(), torch.randn(3, 3, 64, 64, dtype=torch.float64)
    target = [0, 500, 999]
    expected = cls(model, "layer4").attribute(x, target)
    with nothing_left_behind(model.cuda(), cuda_x := x.cuda()):
        found = cls(model, "layer4").attribute(cuda_x, target)
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_and_channels_last(cls, dtype, network):
    x = torch.randn(2, 3, 128, 128, device="cuda")
    plain = cls(network, "layer4").attribute(x, 5)
    with torch.autocast("cuda", dtype):
        found = cls(network, "layer4").attribute(x.to(memory_format=torch.channels_last), 5)
    together = torch.stack([found.float().flatten(), plain.flatten()])
    assert torch.corrcoef(together)[0, 1] > 0.98


def test_targets_on_either_device_and_bad_ones(network):
    x = torch.randn(2, 3, 64, 64, device="cuda")
    cam = LayerGradCamPlusPlus(network, "layer4")
    expected = cam.attribute(x, [7, 9])
    assert torch.equal(cam.attribute(x, torch.tensor([7, 9], device="cuda")), expected)
    with nothing_left_behind(network, x), pytest.raises(ValueError, match="has 1000 classes"):
        cam.attribute(x, torch.tensor([7, 1000], device="cuda"))
    assert torch.equal(cam.attribute(x, [7, 9]), expected)  # the device still works


def test_feature_maps_stop_early_and_stay(network):
    x = torch.randn(2, 3, 64, 64, device="cuda")
    ran = []
    handle = network.layer2.register_forward_hook(lambda *_: ran.append("layer2"))
    with nothing_left_behind(network, x):
        found = LayerFeatureMaps(network, "layer1").attribute(x)
    handle.remove()
    assert found.is_cuda
    assert not ran


def test_data_parallel(network):
    x = torch.randn(4, 3, 64, 64, device="cuda")
    parallel = nn.DataParallel(network)
    expected = LayerHiResCam(network, "layer4").attribute(x, 5)
    for layer in ("layer4", "module.layer4", network.layer4):
        with nothing_left_behind(parallel, x):
            found = LayerHiResCam(parallel, layer).attribute(x, 5)
        torch.testing.assert_close(found, expected)
    maps = LayerFeatureMaps(parallel, "layer4").attribute(x)
    assert torch.equal(maps, LayerFeatureMaps(network, "layer4").attribute(x))


def test_training_mode_puts_masks_and_statistics_back():
    model = models.build(models.Noisy).cuda().train()
    x = models.image_batch().cuda()
    with nothing_left_behind(model, x):
        first = LayerHiResCam(model, "block").attribute(x, 1)
        assert torch.equal(LayerHiResCam(model, "block").attribute(x, 1), first)


def test_noise_tunnel(network):
    x = torch.randn(2, 3, 64, 64, device="cuda")
    tunnel = NoiseTunnel(LayerHiResCam(network, "layer4"))
    found = tunnel.attribute(x, target=[1, 2], nt_samples=4, stdevs=0.0)
    expected = LayerHiResCam(network, "layer4").attribute(x, [1, 2])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_out_of_memory_halves_the_chunk():
    torch.manual_seed(0)
    model = resnet50().eval().cuda()
    x = torch.randn(128, 3, 224, 224, device="cuda")
    cam = LayerHiResCam(model, "layer4")
    expected = cam.attribute(x, 5)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    free_for_us = torch.cuda.memory_reserved() + 400 * 2**20
    torch.cuda.set_per_process_memory_fraction(free_for_us / total)
    try:
        with nothing_left_behind(model):
            found = cam.attribute(x, 5)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_peak_memory_is_that_of_inference(network):
    model, x = resnet50().eval().cuda(), torch.randn(8, 3, 224, 224, device="cuda")

    def peak(run):
        run()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before

    with torch.no_grad():
        inference = peak(lambda: model(x))
    assert peak(lambda: LayerHiResCam(model, "layer4").attribute(x, 5)) <= 1.2 * inference
    assert peak(lambda: LayerGradCam(model, model.layer4).attribute(x, 5)) > 2 * inference
