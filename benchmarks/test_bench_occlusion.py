"""pytest-benchmark's view: occlusion of resnet18, one image of 112 px, windows of 16.

The limit is one forward pass for each of the 49 windows, in batches of 4, without bookkeeping.
"""

import captum.attr
import pytest
import torch
from torchvision.models import resnet18

from captum_cnn_ext.attr import Occlusion

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KWARGS = {"sliding_window_shapes": (3, 16, 16), "strides": (3, 16, 16), "target": 7}


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    return resnet18().to(DEVICE).eval(), torch.randn(1, 3, 112, 112, device=DEVICE)


def whole_passes(model, x):
    with torch.no_grad():
        for count in (4,) * 12 + (1,):
            model(x.expand(count, -1, -1, -1))


RUNS = {
    "limit: 49 whole passes": whole_passes,
    "ours": lambda m, x: Occlusion(m).attribute(x, **KWARGS, incremental=True),
    "ours, whole": lambda m, x: Occlusion(m).attribute(x, **KWARGS, incremental=False),
    "captum": lambda m, x: captum.attr.Occlusion(m).attribute(
        x, **KWARGS, perturbations_per_eval=4
    ),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.benchmark(group="Occlusion, resnet18, 49 windows")
def test_occlusion(name, case, benchmark):
    found = benchmark.pedantic(RUNS[name], args=case, rounds=3, warmup_rounds=1)
    if name.startswith("ours"):
        right = RUNS["captum"](*case)
        assert float((found - right).abs().max()) < 1e-3 * float(right.abs().max())
