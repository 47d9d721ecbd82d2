"""One registry of methods: it is complete and true, and a name means one thing everywhere."""

import importlib
import inspect
import re

import numpy as np
import pytest
import torch
from PIL import Image
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext import attr, bench, cli, metrics
from captum_cnn_ext.cli import cam
from captum_cnn_ext.insights import audit, compare, known_methods
from captum_cnn_ext.insights.sections import attributions
from captum_cnn_ext.insights.sections import two_models_maps as against_maps
from captum_cnn_ext.methods import (
    CONTROL,
    INPUT,
    LAYERS,
    NO_MAP,
    OURS,
    call_of,
    find_methods,
    settings,
)
from captum_cnn_ext.methods.expression import evaluate, imported, source, variable

METHODS = known_methods()
MAPS = [method for method in METHODS.values() if method.at != NO_MAP]
NET = """
import torch
from torch import nn
from torchvision.transforms import functional as F

def see(picture):
    return F.to_tensor(picture) - 0.5

def build():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval(), see
"""
LAYER = "4"


def network():
    namespace = {}
    exec(NET, namespace)
    return namespace["build"]()


@pytest.fixture(scope="module")
def model():
    return network()[0]


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(2)) - 0.5


def test_a_method_asked_for_twice_is_named_as_it_was_typed():
    with pytest.raises(ValueError, match=r"is there twice, as 'layercam' and as 'LayerCAM'"):
        find_methods(["layercam", "LayerCAM"])


# --- the registry -----------------------------------------------------------------------------


def test_every_attribution_class_is_known():
    classes = {n for n in attr.__all__ if hasattr(getattr(attr, n), "attribute")}
    assert classes <= set(METHODS) | {"Reconstructions"}


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda m: m.name)
def test_every_entry_says_question_idea_cost_and_paper(method):
    assert method.question.endswith("?")
    assert method.idea.endswith(".")
    assert 10 < len(method.cost) < 200
    if method.name != "LayerFeatureMaps" and method.origin != CONTROL:
        assert re.search(r"\b(19|20)\d\d\b", method.paper)
    module, _, name = method.path.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("name", [m.name for m in METHODS.values() if m.origin == OURS])
def test_entries_and_docstrings_cite_the_same_papers(name):
    text = inspect.getdoc(evaluate(imported(METHODS[name].path)))
    for number in re.findall(r"\d{4}\.\d{4,5}", METHODS[name].paper):
        assert number in text


@pytest.mark.parametrize("method", MAPS, ids=lambda m: m.name)
def test_a_method_needs_gradients_where_its_entry_says_so(method, model, image):
    class Ungraded(nn.Sequential):
        def forward(self, x):
            return super().forward(x).detach()

    blind = Ungraded(*model)
    run = call_of(method, blind, image, [LAYER]).maps
    if method.gradient:
        with pytest.raises((RuntimeError, ValueError, AssertionError)):
            run(image, [1])
    else:
        expected = call_of(method, model, image, [LAYER]).maps(image, [1])
        torch.testing.assert_close(run(image, [1]), expected)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("gradcam++", "LayerGradCamPlusPlus"),
        ("grad-cam", "LayerGradCam"),
        ("HiResCAM", "LayerHiResCam"),
        ("layer cam", "LayerLayerCam"),
        ("layercam", "LayerLayerCam"),
        ("LayerCam", "LayerCam"),
        ("LayerLayerCam", "LayerLayerCam"),
        ("saliency", "Saliency"),
        ("smooth grad", "NoiseTunnel(Saliency)"),
        ("Gaussian", "gaussian"),
    ],
)
def test_names_may_be_written_freely(written, meant):
    assert [method.name for method in find_methods([written])] == [meant]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Captum LayerGradCam", "LayerGradCam"),
        ("Captum SmoothGrad, 8 samples", "NoiseTunnel(Saliency)"),
        ("Captum IntegratedGradients, 16 steps", "IntegratedGradients"),
        ("LayerScoreCam, 32 channels", "LayerScoreCam(top_channels=32)"),
    ],
)
def test_the_names_of_version_0_1_are_read_with_a_warning(old, new):
    with pytest.warns(DeprecationWarning, match=re.escape(f"is called {new!r} now")):
        (found,) = find_methods([old])
    assert found.name == new
    with pytest.warns(DeprecationWarning, match="now"):
        bench.METHODS[old]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["LayerGradKam"], "'LayerGradKam' is not a known method; nearest: 'LayerGradCam'"),
        (["DeconvNet"], "DeconvNet gives no map for a class"),
        (["gradcam", "LayerGradCam"], "LayerGradCam is there twice"),
        ([], "got none"),
    ],
)
def test_names_that_cannot_be_used(names, message):
    with pytest.raises(ValueError, match=message):
        find_methods(names)


# --- one name, one method ---------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("method", MAPS, ids=lambda m: m.name)
def test_comparison_audit_bench_and_printed_code_give_the_same_map(method, model, image):
    place = INPUT if method.at == INPUT else LAYER
    with nothing_left_behind(model, image):
        compared = compare(model, image, [method.name], layers=LAYER, target=1, seed=5)
        benched = bench.METHODS[method.name](bench.Subject(model, LAYER, 5), image, 1)
    done = audit(
        model, image, layers=LAYER, methods=[method.name], target=1, seed=5,
        sections=["attributions"], show_progress=False,
    )  # fmt: skip
    assert not done.problems
    expected = compared.attributions[method.name]
    audited = torch.from_numpy(done.arrays[f"attributions/{place}/{method.name}"])
    names = {"model": model, "x": image.clone(), "target": torch.tensor([1])}
    exec(call_of(method, model, image, [LAYER], seed=5).code, names)
    assert float(expected.abs().sum()) > 0
    for found in (benched, audited, names["heat"].detach()):
        assert torch.equal(found, expected)


def test_the_settings_are_those_that_are_documented(model):
    """By Captum's classes: settings that differ anywhere would show here."""
    from captum.attr import IntegratedGradients, NoiseTunnel, Occlusion, Saliency

    image = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(3)) - 0.5
    names = ["Occlusion", "IntegratedGradients", "NoiseTunnel(Saliency)", "abs(GuidedBackprop)"]
    names += ["LayerScoreCam(top_channels=32)", "gaussian", "random"]
    found = compare(model, image, names, layers=LAYER, target=1, seed=5).attributions
    noise = 0.15 * float(image.max() - image.min())
    torch.manual_seed(5)
    expected = {
        "Occlusion": Occlusion(model).attribute(image, (3, 5, 6), (3, 2, 3), target=1),
        "IntegratedGradients": IntegratedGradients(model).attribute(image, target=1),
        "NoiseTunnel(Saliency)": NoiseTunnel(Saliency(model)).attribute(
            image.clone().requires_grad_(), nt_samples=8, nt_samples_batch_size=2, stdevs=noise,
            target=1),
        "abs(GuidedBackprop)": attr.GuidedBackprop(model).attribute(
            image.clone().requires_grad_(), target=1).abs(),
        "LayerScoreCam(top_channels=32)": attr.LayerScoreCam(
            model, LAYER, top_channels=32).attribute(image, target=1),
        "gaussian": metrics.gaussian_map(image),
        "random": metrics.random_map(image, 5),
    }  # fmt: skip
    assert list(found) == list(expected)
    for name, maps in found.items():
        torch.testing.assert_close(maps, expected[name].detach(), rtol=1e-4, atol=1e-6, msg=name)


def test_the_commands_take_the_same_methods(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    model, see = network()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).save(tmp_path / "p.png")
    monkeypatch.chdir(tmp_path)
    names = ["occlusion", "smoothgrad", "LayerRefineCam", "random"]
    common = ["--model", "net.py:build", "--images", "p.png", "--layer", LAYER, "--no-progress"]
    seen = []
    plain = bench.run
    monkeypatch.setattr(bench, "run", lambda *a, **k: seen.append(a[1]) or plain(*a, **k))
    arguments = ["--methods", ",".join(names), "--variants", "1", "--steps", "2"]
    assert cli.main(["bench", *common, *arguments, "--road-shares", "0.5"]) == 0
    assert cli.main(["audit", *common, "--methods", ",".join(names), "--target", "1",
                     "--sections", "attributions"]) == 0  # fmt: skip
    (arrays,) = tmp_path.glob("*.npz")
    found = np.load(arrays)
    with Image.open("p.png") as picture:
        x = see(picture)[None]
    (methods,) = seen
    known = find_methods(names)
    assert list(methods) == ["gaussian", *(method.name for method in known)]
    for method in known:
        place = INPUT if method.at == INPUT else LAYER
        one = methods[method.name](bench.Subject(model, LAYER), x, 1)
        np.testing.assert_array_equal(one, found[f"attributions/{place}/{method.name}"])


def test_costs_name_the_numbers_of_the_settings():
    assert METHODS["IntegratedGradients"].cost.startswith(f"{settings.STEPS} ")
    for method in MAPS:
        assert not method.noisy or method.cost.startswith(f"{settings.NOISE_SAMPLES} ")


def test_the_choices_of_commands_and_pages_are_known_methods():
    lists = [attributions.DEFAULT_METHODS, attributions.QUICK_METHODS, cam.METHODS.split(",")]
    for names in (*lists, against_maps.PREFERRED, bench.METHODS):
        assert [method.name for method in find_methods(names)] == list(names)


def test_several_layers_are_joined_by_the_methods_that_join(model, image):
    for method in (m for m in MAPS if m.at == LAYERS):
        call = call_of(method, model, image, ["1", LAYER])
        expected = getattr(attr, method.name)(model, ["1", LAYER]).attribute(image, target=2)
        assert torch.equal(call.maps(image, [2]), expected)


def test_half_precision_is_explained_through_noise(model, image):
    half = network()[0].to(torch.bfloat16)
    for name in ("NoiseTunnel(Saliency)", "NoiseTunnel(LayerHiResCam)"):
        found = compare(half, image.bfloat16(), [name], layers=LAYER, target=1)
        expected = compare(model, image, [name], layers=LAYER, target=1)
        one, two = found.attributions[name], expected.attributions[name]
        torch.testing.assert_close(one.float(), two, rtol=0.2, atol=0.1 * float(two.abs().max()))


# --- expressions ------------------------------------------------------------------------------


def test_what_an_expression_prints_is_what_it_does():
    hostile = "x'); print('hacked') #\n"
    parts = [variable("base"), 2.5, hostile]
    made = imported("collections.OrderedDict").fromkeys(parts, imported("math.sqrt")(9)).copy()
    text = source(made, "found")
    assert text == (
        "from collections import OrderedDict\nfrom math import sqrt\n"
        f"found = OrderedDict.fromkeys([base, 2.5, {hostile!r}], sqrt(9)).copy()"
    )
    names = {"base": "b"}
    exec(text, names)
    assert names["found"] == evaluate(made, base="b") == dict.fromkeys(["b", 2.5, hostile], 3.0)
