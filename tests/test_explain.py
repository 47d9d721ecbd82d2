"""`explain`: one photo, one call."""

import dataclasses
import subprocess
import sys

import pytest
import torch
from PIL import Image
from reports import small, small_images
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext import attr, explain, metrics

NAMES = ["cat", "Dog", "egg"]


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture(scope="module")
def image():
    return small_images(1)


def test_prediction_map_and_check_are_the_parts_own(model, image):
    with nothing_left_behind(model, image):
        found = explain(model, image, class_names=NAMES)
    shares = model(image).detach().softmax(1)[0]
    best = int(shares.argmax())
    assert (found.prediction, found.target) == (NAMES[best], best)
    assert found.probability == pytest.approx(float(shares[best]))
    layer = attr.suggest_layers(model, image)[0].name
    expected = attr.LayerHiResCam(model, layer).attribute(image, best)
    torch.testing.assert_close(found.attributions, expected)
    assert (found.method, found.layer) == ("LayerHiResCam", layer)
    large = metrics.as_maps(expected, image)[0]
    moved = torch.empty_like(large)
    for row in range(16):
        for column in range(20):
            moved[(row + 8) % 16, (column + 10) % 20] = large[row, column]
    controls = {"this map": expected, "this map, moved": moved[None, None],
                "a blob in the centre": metrics.gaussian_map(image)}  # fmt: skip
    assert list(found.faithfulness) == list(controls)
    for name, maps in controls.items():
        up, down = metrics.insertion_and_deletion(model, image, maps, best, steps=8)
        assert found.faithfulness[name] == pytest.approx(float(up.area - down.area), abs=1e-5)


def test_why_the_layer_was_chosen_is_said_in_a_clause(model, image):
    layer = attr.suggest_layers(model, image)[0].name
    for options, words in (
        ({}, f"at layer {layer}, which ends the last convolution stage."),
        ({"layer": layer}, f"at layer {layer}."),
        ({"method": "Saliency"}, "Saliency at the input."),
    ):
        assert str(explain(model, image, check=False, **options)).endswith(words)


@pytest.mark.parametrize("method", ["LayerHiResCam", "Saliency"])
def test_its_code_makes_the_same_map(model, image, method):
    found = explain(model, image, 1, method=method, check=False)
    names = {"model": model, "x": image}
    lines = [one for one in found.code.splitlines() if not one.startswith(("model =", "x ="))]
    exec("\n".join(lines), names)
    torch.testing.assert_close(names["heat"], found.attributions)


def test_the_photo_is_prepared_and_predicted_once(model):
    prepared, seen = [], []

    def preprocess(photo):
        prepared.append(photo)
        return small_images(1)[0]

    handle = model.register_forward_hook(lambda *given: seen.append(given))
    try:
        explain(model, Image.new("RGB", (8, 8)), 1, method="Saliency", preprocess=preprocess,
                check=False)  # fmt: skip
    finally:
        handle.remove()
    assert len(prepared) == 1
    assert len(seen) == 2  # the prediction, and the method's own


def test_it_says_which_preprocessing_was_assumed_and_that_weights_are_random(model, image):
    from captum_cnn_ext.models import load_model

    with pytest.warns(UserWarning, match="no preprocessing was given"):
        found = explain(model, Image.new("RGB", (80, 60), "red"), 1, check=False)
    assert "ImageNet's (80 × 60 pixels, their own size) was assumed" in str(found)
    assert "assumed" not in str(explain(model, image, 1, check=False))
    untrained = load_model("torchvision:squeezenet1_1")
    found = explain(untrained, torch.rand(3, 64, 64), 1, check=False)
    assert [note.split(":")[0] for note in found.notes] == ["RANDOM WEIGHTS"]


def test_training_mode_is_warned_of_once_and_at_the_users_line(image):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 3),
    )  # fmt: skip
    with pytest.warns(UserWarning, match="is in training mode") as caught:
        explain(net, image, 1, layer="2")
    assert [warning.filename for warning in caught] == [__file__]


def test_a_class_by_its_name(model, image):
    assert explain(model, image, "dog", class_names=NAMES, check=False).target == 1
    with pytest.raises(ValueError, match=r"no class of 3 has this name; nearest: 'dog'"):
        explain(model, image, "dgo", class_names=NAMES)
    with pytest.raises(ValueError, match="the names of the classes are not known"):
        explain(model, image, "dog")


def test_files_and_pictures_are_the_same_photo(demo, tmp_path):
    from captum_cnn_ext.photos import demo_photos

    photo = demo_photos()["coffee"]
    photo.save(tmp_path / "cup.png")
    one = explain(demo, tmp_path / "cup.png", check=False)
    two = explain(demo, photo, check=False)
    assert one.prediction == "espresso"
    torch.testing.assert_close(one.attributions, two.attributions)
    assert one.save(tmp_path / "map.jpg").stat().st_size > 10_000
    with Image.open(tmp_path / "map.jpg") as picture:
        assert picture.width > 300
    with pytest.raises(ValueError, match="expected a file name that ends in"):
        one.save(tmp_path / "map.bmp")
    assert one.comparison.labels[0].startswith("cup: espresso")


@pytest.mark.parametrize(
    ("faithfulness", "words"),
    [
        ({}, ""),
        ({"this map": 0.5, "moved": 0.1, "blob": 0.3}, "Check passed"),
        (
            {"this map": 0.51, "moved": -0.5, "blob": 0.5},
            "blob in the centre does as well (0.50), so",
        ),
        (
            {"this map": 0.2, "moved": 0.1, "blob": 0.3},
            "does better (0.30), so this photo cannot tell",
        ),
        ({"this map": 0.11, "moved": 0.1, "blob": -0.3}, "Check failed"),
    ],
)
def test_the_check_in_a_sentence(model, image, faithfulness, words):
    found = explain(model, image, check=False)
    said = dataclasses.replace(found, faithfulness=faithfulness)
    assert words in said.check
    assert (said.check == "") == (words == "")


def test_what_it_refuses(model, image):
    with pytest.raises(ValueError, match=r"expected one preprocessed image .C, H, W., got \(2,"):
        explain(model, small_images(2))
    with pytest.raises(TypeError, match="image: expected a file, a PIL image or a tensor, got int"):
        explain(model, 3)
    with pytest.raises(ValueError, match="layr"):
        explain(model, image, layer="layr")


@pytest.mark.slow
def test_importing_the_package_alone_stays_light_and_finds_what_is_asked_for():
    code = (
        "import sys, captum_cnn_ext as c; print('torch' in sys.modules)\n"
        "print(c.bench.run.__name__, c.attr.LayerHiResCam.__name__, c.explain.__name__)\n"
        "try:\n    c.atr\nexcept AttributeError as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = "module 'captum_cnn_ext' has no attribute 'atr'"
    assert run.stdout == f"False\nrun LayerHiResCam explain\n{said}\n"


def test_a_map_that_is_0_everywhere_is_no_map(model, image):
    found = explain(model, image, check=False)
    why = "because the score does not depend on layer a. Try layer='b'"
    empty = dataclasses.replace(found, faithfulness=dict.fromkeys("abc", 0.0), why_empty=why)
    assert empty.check == f"No map: it is 0 everywhere, {why}."


def test_a_class_that_is_not_the_prediction_is_said(model, image):
    shares = model(image).detach().softmax(1)[0]
    best, least = int(shares.argmax()), int(shares.argmin())
    found = explain(model, image, NAMES[least], class_names=NAMES, check=False)
    words = f"; explained is {NAMES[least]} ({float(shares[least]):.0%}). LayerHiResCam at layer"
    assert found.prediction == NAMES[best]
    assert words in str(found)
    assert found.target == least
    assert "explained is" not in str(explain(model, image, best, check=False))


def test_what_cannot_be_explained_is_refused_before_it_changes_anything():
    lazy = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval()
    with pytest.raises(ValueError, match="run it once, model"):
        explain(lazy, torch.rand(3, 8, 8))
    assert isinstance(lazy[0], nn.LazyConv2d)
    volumes = nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)).eval()
    volumes(torch.rand(1, 1, 5, 5, 5))
    with pytest.raises(ValueError, match="takes volumes or videos"):
        explain(volumes, torch.rand(1, 1, 5, 5, 5))
    with pytest.raises(ValueError, match="uint8; pass files or PIL images"):
        explain(small(), torch.zeros(3, 16, 20, dtype=torch.uint8))
