"""The code beside each figure, run as shown: it gives the same maps and the same pictures."""

import numpy as np
import pytest
import torch
from PIL import Image
from reports import MEAN, STD, pictures, run_code, small, small_images

from captum_cnn_ext.insights import audit, figure_picture
from captum_cnn_ext.insights.report.blocks import Drawing
from captum_cnn_ext.insights.report.figure_code import model_code, setup_code
from captum_cnn_ext.models import LoadedModel

WITH_FIGURES = [
    *("summary", "graph", "filters", "feature_maps", "reconstructions", "top_patches"),
    *("attributions", "synthesis"),
]
TITLED = {"reconstructions"}  # drawn with the photos' names, which the code leaves out

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture(scope="module")
def done(model):
    return audit(
        model,
        small_images(),
        layers=["stem.1", "block"],
        methods=["Saliency", "Occlusion", "IntegratedGradients", "LayerGradCam", "LayerHiResCam",
                 "LayerConductance", "NoiseTunnel(LayerHiResCam)", "LayerRefineCam"],
        mean=MEAN,
        std=STD,
        seed=11,
        sections=WITH_FIGURES,
        show_progress=False,
    )  # fmt: skip


@pytest.mark.parametrize("key", WITH_FIGURES)
def test_the_code_of_every_figure_runs_and_draws_it(done, model, key):
    found = list(pictures(done, key))
    assert found
    for picture in found:
        assert picture.code, picture.alt
        made = run_code(done, picture.code, model)
        if isinstance(picture, Drawing):
            assert made["svg"].count("<rect") == picture.svg.count("<rect")
        elif isinstance(made["figure"], Image.Image):
            assert made["figure"].size == (picture.width, picture.height)
        elif key not in TITLED and key != "attributions":
            assert figure_picture(made["figure"], alt="").data == picture.data


def test_the_code_of_attributions_gives_the_arrays(done, model):
    shown = {picture.alt: picture for picture in pictures(done, "attributions")}
    keys = [key for key in done.arrays if key.startswith("attributions/")]
    assert len(keys) == 3 + 2 * 4 + 1
    for key in keys:
        _, where, method = key.split("/")
        for photo in range(2):
            (alt,) = (
                alt
                for alt in shown
                if method in alt.partition(" for ")[0].split(" = ")
                and f"photo {photo + 1}, {where}" in alt
            )
            made = run_code(done, shown[alt].code, model)
            heat = made["heat"].detach().numpy()
            expected = done.arrays[key]
            if not alt.startswith(f"{method} "):  # drawn once with another method's map
                heat, expected = (
                    m / np.abs(m).max((1, 2, 3), keepdims=True) for m in (heat, expected)
                )
            np.testing.assert_allclose(
                heat, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()
            )
            assert f"heat[{photo}]" in shown[alt].code


def test_photos_of_later_batches_come_with_their_own_batch(model):
    done = audit(
        model,
        small_images(10),
        layers="block",
        methods=["NoiseTunnel(LayerHiResCam)"],
        sections=["attributions"],
        seed=4,
        show_progress=False,
    )
    last = list(pictures(done, "attributions"))[-1]
    made = run_code(done, last.code, model)
    expected = done.arrays["attributions/block/NoiseTunnel(LayerHiResCam)"][8:]
    np.testing.assert_allclose(made["heat"].detach(), expected, rtol=1e-5, atol=1e-8)


def test_reconstructions_and_synthesis_by_their_code_are_the_arrays(done, model):
    shown = list(pictures(done, "reconstructions"))
    for layer, picture in zip(["stem.1", "block"], shown, strict=True):
        found = run_code(done, picture.code, model)["found"]
        expected = done.arrays[f"reconstructions/{layer}/attributions"]
        np.testing.assert_allclose(found.attributions, expected, rtol=1e-5, atol=1e-8)
    made = run_code(done, next(pictures(done, "synthesis")).code, model)["made"]
    np.testing.assert_allclose(made.images, done.arrays["synthesis/class"], atol=1e-5)


def test_hostile_layer_names_stay_literals_in_code(model):
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(3, 2, 3)
            self.add_module("x'); print('hacked') #\n", torch.nn.ReLU())
            self.last = torch.nn.Linear(2, 2)

        def forward(self, x):
            hidden = dict(self.named_children())["x'); print('hacked') #\n"](self.first(x))
            return self.last(hidden.mean((2, 3)))

    odd = Odd().eval()
    layer = "x'); print('hacked') #\n"
    done = audit(odd, small_images(1), layers=layer, show_progress=False,
                 methods=["LayerHiResCam"], sections=["attributions", "feature_maps"])  # fmt: skip
    for key in ("attributions", "feature_maps"):
        for picture in pictures(done, key):
            assert "print" not in dir(run_code(done, picture.code, odd)["x"])
            assert repr(layer) in picture.code or "to_rgb" in picture.code


def test_the_setup_loads_what_can_be_loaded_again(model):
    def code(name, weights):
        return model_code(LoadedModel(model, lambda picture: None, name=name, weights=weights))

    assert 'load_model("demo").model' in code("demo", "ImageNet").replace("'", '"')
    assert "load_model('torchvision:resnet50', weights='w.pt').model" in code(
        "torchvision:resnet50", "w.pt"
    )
    assert "weights='ResNet50_Weights.IMAGENET1K_V2'" in code(
        "torchvision:resnet50", "ResNet50_Weights.IMAGENET1K_V2"
    )
    assert "untrained" in code("torchvision:resnet50", "random")
    assert "weights='DEFAULT'" in code("timm:resnet18", "timm's a1_in1k")
    assert "load_model('net.py:build').model" in code("net.py:build", "as the factory returned")
    assert code("", "").startswith("model = ...  # the audited model")
    assert model_code(model).startswith("model = ...  # the audited model")
    assert "np.load('my \"file.npz')" in setup_code("", 'my "file.npz')
