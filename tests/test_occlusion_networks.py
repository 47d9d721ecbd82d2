"""Occlusion equals Captum's on whole networks: every window is followed by the tape."""

import captum.attr
import pytest
import torch
from torch import nn

from captum_cnn_ext.attr import Occlusion
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos

NETWORKS = (
    "resnet18", "resnet50", "vgg16", "densenet121", "googlenet", "mobilenet_v2",
    "efficientnet_b0", "mobilenet_v3_small", "shufflenet_v2_x0_5",
)  # fmt: skip

pytestmark = pytest.mark.slow


def network(name):
    """Seeded weights; batch norms hold the statistics of a batch, so that scores feel the image."""
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, num_classes=10, **options)
    if name == "vgg16":  # 16 million weights rather than 134
        model.avgpool = nn.AdaptiveAvgPool2d(1)
        model.classifier = nn.Sequential(nn.Linear(512, 64), nn.ReLU(True), nn.Linear(64, 10))
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 64, 64))
    return model.double().eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_equals_captums_in_double_precision(name):
    model = network(name)
    x = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(3)).double()
    kwargs = {"sliding_window_shapes": (3, 14, 18), "strides": (3, 12, 16), "target": 7}
    right = captum.attr.Occlusion(model).attribute(x, **kwargs, perturbations_per_eval=5)
    found = Occlusion(model).attribute(x, **kwargs, incremental=True)
    span = float(right.max() - right.min())
    assert span > 0
    # Captum rounds its result to float32
    assert float((found - right).abs().max()) < 1e-6 * span


@pytest.fixture(scope="module")
def demo():
    return load_model("demo")


def test_equals_captums_on_a_trained_network(demo):
    photos = demo_photos()
    x = torch.stack([demo.preprocess(photos[n]) for n in ("chelsea", "coffee")])
    grey = torch.full((1, 3, 224, 224), 0.2)
    for kwargs in (
        {"sliding_window_shapes": (3, 75, 75), "strides": (3, 75, 75), "target": [285, 967]},
        {"sliding_window_shapes": (2, 112, 90), "strides": (1, 112, 90), "baselines": grey,
         "target": [(285,), (504,)]},
    ):  # fmt: skip
        right = captum.attr.Occlusion(demo.model).attribute(x, **kwargs, perturbations_per_eval=4)
        span = float(right.max() - right.min())
        for way in (True, False):
            found = Occlusion(demo.model).attribute(x, **kwargs, incremental=way)
            assert found.dtype == torch.float32
            assert float((found - right).abs().max()) < 1e-4 * span
