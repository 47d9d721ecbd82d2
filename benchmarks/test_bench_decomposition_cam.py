"""pytest-benchmark's view: Eigen-CAM for 8 images and ten classes at once, resnet50.layer4."""

import pytest
import torch
from bench_decomposition_cam import CLASSES, decompositions, many_targets
from torchvision.models import resnet50

from captum_cnn_ext.attr import LayerHiResCam

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DECOMPOSITIONS = [
    "bare forward",
    "ours LayerEigenCam",
    "ours LayerKPCACam",
    "ours LayerFem",
    "grad-cam EigenCAM",
    "grad-cam KPCA_CAM",
    "grad-cam FEM",
]
TARGETS = [
    "bare forward",
    "ours attribute_targets",
    "captum LayerGradCam, 10 calls",
    "torchcam GradCAM, 10 classes of one forward",
]


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    return resnet50().to(DEVICE).eval(), torch.randn(8, 3, 224, 224, device=DEVICE)


def timed(run, benchmark):
    def synchronised():
        run()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(synchronised, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("name", DECOMPOSITIONS)
@pytest.mark.benchmark(group="decompositions, resnet50.layer4, batch 8, 224 px")
def test_decomposition(name, case, benchmark):
    model, x = case
    runs = decompositions(model, model.layer4, x)
    if name not in runs:
        pytest.skip("not installed: pip install -e '.[bench]'")
    timed(runs[name], benchmark)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.benchmark(group="10 classes, resnet50.layer4, batch 1, 224 px")
def test_many_targets(name, case, benchmark):
    model, x = case
    runs = many_targets(model, model.layer4, x[:1])
    if name not in runs:
        pytest.skip("not installed: pip install -e '.[bench]'")
    timed(runs[name], benchmark)


def test_what_is_timed_is_the_same_map(case):
    model, x = case
    cam = LayerHiResCam(model, "layer4")
    many = cam.attribute_targets(x[:1], CLASSES)
    for i, c in enumerate(CLASSES):
        torch.testing.assert_close(many[:, i], cam.attribute(x[:1], c))
