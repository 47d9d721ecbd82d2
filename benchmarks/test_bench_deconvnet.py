"""pytest-benchmark's view: the strongest units of a layer back to pixels, one 224 px image.

Ours with 64 units, the others with 8 of them; with ``--benchmark-disable`` all with 3.
"""

import pytest
import torch
from bench_deconvnet import CAPTUM, LIMIT, NO_CUTS, contenders
from torchvision import models

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = [
    LIMIT,
    "ours DeconvNet",
    NO_CUTS,
    CAPTUM,
]


@pytest.fixture(scope="module", params=[("vgg16", "features.14"), ("resnet50", "layer3")])
def runs(request):
    name, layer = request.param
    torch.manual_seed(0)
    model = getattr(models, name)().to(DEVICE).eval()
    units = 3 if request.config.getoption("benchmark_disable") else 64
    x = torch.randn(1, 3, 224, 224, device=DEVICE)
    return contenders(model, model.get_submodule(layer), x, list(range(units)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="units back to pixels, 224 px")
def test_deconvnet(name, runs, benchmark):
    def run():
        found = runs[name]()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return found

    assert benchmark.pedantic(run, rounds=2, warmup_rounds=0).isfinite().all()
