"""pytest-benchmark's view: metrics of one map on EfficientNet-Lite0.

The limit is the bare forward passes: 49 for insertion and deletion with 24 steps.
"""

import pytest
import torch

from captum_cnn_ext import metrics
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def case():
    demo = load_model("demo", device=DEVICE)
    x = demo.preprocess(demo_photos()["chelsea"]).unsqueeze(0).to(DEVICE)
    return demo.model, x, metrics.gaussian_map(x)


def bare(model, x, _):
    with torch.no_grad():
        for count in (4,) * 12 + (1,):
            model(x.expand(count, -1, -1, -1))


RUNS = {
    "limit: 49 bare passes": bare,
    "insertion and deletion, 24 steps": lambda m, x, a: metrics.insertion_and_deletion(
        m, x, a, 285
    ),
    "ROAD, one share": lambda m, x, a: metrics.road(m, x, a, 285, shares=(0.5,)),
    "confidence": lambda m, x, a: metrics.confidence(m, x, a, 285),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.benchmark(group="metrics, EfficientNet-Lite0, one image")
def test_metrics(name, case, benchmark):
    benchmark.pedantic(RUNS[name], args=case, rounds=3, warmup_rounds=1)
