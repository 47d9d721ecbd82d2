"""pytest-benchmark's view: gradient CAMs at resnet50.layer4, batch 8, 224 px.

``pytest benchmarks`` times them; ``--benchmark-disable`` runs each once and checks its result.
"""

import pytest
import torch
from captum.attr import LayerGradCam
from contenders import gradient_cams
from torchvision.models import resnet50

from captum_cnn_ext.attr import LayerHiResCam

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = [
    "bare forward",
    "ours LayerGradCamPlusPlus",
    "ours LayerXGradCam",
    "ours LayerHiResCam",
    "ours LayerLayerCam",
    "captum LayerGradCam",
    "grad-cam GradCAM",
    "grad-cam GradCAMPlusPlus",
    "torchcam GradCAM",
    "torchcam LayerCAM",
]


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    model = resnet50().to(DEVICE).eval()
    return model, torch.randn(8, 3, 224, 224, device=DEVICE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="resnet50.layer4, batch 8, 224 px")
def test_gradient_cam(name, case, benchmark):
    model, x = case
    runs = gradient_cams(model, model.layer4, x, 281)
    if name not in runs:
        pytest.skip("not installed: pip install -e '.[bench]'")

    def run():
        runs[name]()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(run, rounds=5, warmup_rounds=1)


def test_what_is_timed_is_the_same_map(case):
    model, x = case
    captum = LayerGradCam(model, model.layer4).attribute(x[:2], 281).detach()
    ours = LayerHiResCam(model, "layer4").attribute(x[:2], 281)
    torch.testing.assert_close(ours, captum, rtol=0, atol=1e-4 * float(captum.abs().max()))
