"""pytest-benchmark's view: what a changed layer costs, resnet18.layer3, one 224 px image.

``python benchmarks/bench_perturbation_cam.py`` writes the table of larger networks and layers.
"""

from functools import partial

import pytest
import torch
from captum.attr import LayerFeatureAblation as CaptumLayerFeatureAblation
from captum.attr import LayerIntegratedGradients as CaptumLayerIntegratedGradients
from torchvision.models import resnet18

from captum_cnn_ext.attr import (
    LayerAblationCam,
    LayerFeatureAblation,
    LayerIntegratedGradients,
    LayerReciproCam,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TARGET, STEPS = 281, 8


def grad_cam(kind, model, x):
    """One of grad-cam's maps, on an image whose device it follows."""
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    peer = getattr(pytest.importorskip("pytorch_grad_cam"), kind)
    with peer(model=model, target_layers=[model.layer3]) as cam:
        return cam(input_tensor=x, targets=[targets.ClassifierOutputTarget(TARGET)])


def ablated_groups(cls, model, x):
    mask = torch.arange(256, device=x.device).clamp(max=15).reshape(1, 256, 1, 1)
    method = cls(model, model.layer3)
    return method.attribute(x, target=TARGET, layer_mask=mask, perturbations_per_eval=8)


def integrated(cls, model, x):
    return cls(model, model.layer3).attribute(x, target=TARGET, n_steps=STEPS)


RUNS = {
    "bare forward": lambda model, x: model(x),
    "ours LayerAblationCam": lambda m, x: LayerAblationCam(m, "layer3").attribute(x, TARGET),
    "grad-cam AblationCAM": partial(grad_cam, "AblationCAM"),
    "ours LayerReciproCam": lambda m, x: LayerReciproCam(m, "layer3").attribute(x, TARGET),
    "ours LayerFeatureAblation": partial(ablated_groups, LayerFeatureAblation),
    "captum LayerFeatureAblation": partial(ablated_groups, CaptumLayerFeatureAblation),
    "ours LayerIntegratedGradients": partial(integrated, LayerIntegratedGradients),
    "captum LayerIntegratedGradients": partial(integrated, CaptumLayerIntegratedGradients),
}


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    return resnet18().to(DEVICE).eval(), torch.randn(1, 3, 224, 224, device=DEVICE)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.benchmark(group="changes of a layer, resnet18.layer3, 224 px")
def test_perturbation(name, case, benchmark):
    model, x = case

    def run():
        with torch.set_grad_enabled(name != "bare forward"):
            RUNS[name](model, x)
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("method", ["LayerFeatureAblation", "LayerIntegratedGradients"])
def test_what_is_timed_has_the_same_values(method, case):
    found = RUNS[f"ours {method}"](*case)
    expected = RUNS[f"captum {method}"](*case).detach()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
