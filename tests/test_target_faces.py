"""Targets of a detector and of a segmentation network in compare, pictures and the command line."""

import captum.attr
import detectors
import models
import pytest
import torch
from PIL import Image
from torchvision.models import detection

from captum_cnn_ext import attr, cli, render, targets
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights import compare
from captum_cnn_ext.models.guessed import assumed

METHODS = ["LayerHiResCam", "Occlusion", "IntegratedGradients", "Saliency", "LayerGradCam"]


@pytest.mark.parametrize("make", [detectors.Spots, detectors.Areas])
def test_compare_explains_it(make):
    model = models._seeded(make(3)).float().eval()
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    if make is detectors.Spots:
        model.threshold = 0.5
    target = targets.Boxes(0) if make is detectors.Spots else targets.AnyClass(1)
    found = compare(model, x, METHODS, layers="block", target=target)
    cam = attr.LayerHiResCam(model, "block").attribute(x, target)
    torch.testing.assert_close(found.attributions["LayerHiResCam"], cam)
    fixed = target.fixed(model(x))
    for n, one in enumerate(x.split(1)):
        scored = fixed[n].of(model)
        grad_cam = captum.attr.LayerGradCam(scored, model.block).attribute(one)
        torch.testing.assert_close(found.attributions["LayerGradCam"][n : n + 1], grad_cam)
        saliency = captum.attr.Saliency(scored).attribute(one.requires_grad_(), abs=True)
        torch.testing.assert_close(found.attributions["Saliency"][n : n + 1], saliency)
        score = fixed[n](model(one)).item()
        assert found.labels[n].endswith(f"{fixed[n]}, score {score:.3g}")
    if make is detectors.Spots:
        boxes = [one["boxes"][0] for one in model(x)]
        torch.testing.assert_close(torch.tensor(found.boxes), torch.stack(boxes).detach())
        figure = found.figure()
        assert all(len(axes.patches) == 2 for axes in figure.axes[: 2 * (1 + len(METHODS))])
    else:
        assert found.boxes is None


def test_compare_takes_a_class_that_any_model_has():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(4, 5)
    ).eval()  # fmt: skip
    x = torch.rand(2, 3, 16, 16)
    found = compare(model, x, ["LayerHiResCam"], layers="0", target=targets.AnyClass(3))
    assert found.targets == [3, 3]
    assert "class 3" in found.labels[0]


def test_boxes_are_drawn_at_the_pictures_pixels():
    x = torch.zeros(2, 3, 8, 10)
    boxes = [torch.tensor([[0.0, 0, 10, 8], [2, 1, 4, 6]]), None]
    _, axes = render.show_attributions(x, {"a": torch.rand(2, 1, 4, 5)}, boxes=boxes)
    outlines = [[p.get_bbox().extents.tolist() for p in axes[row, 1].patches] for row in (0, 1)]
    assert outlines == [[[-0.5, -0.5, 9.5, 7.5]] * 2 + [[1.5, 0.5, 3.5, 5.5]] * 2, []]
    assert len(axes[0, 0].patches) == 4
    _, axes = render.show_attributions(x[:1], {"a": torch.rand(1, 1, 4, 5)}, boxes=[(2, 1, 4, 6)])
    assert len(axes[0, 1].patches) == 2


@pytest.mark.parametrize("boxes", [[None], [None, (1, 2, 3)], "ab"])
def test_other_boxes_are_refused(boxes):
    with pytest.raises(ArgumentError, match="boxes"):
        render.show_attributions(torch.rand(2, 3, 8, 8), {"a": torch.rand(2, 1, 4, 4)}, boxes=boxes)


MODEL = """
import sys
sys.path.insert(0, {tests!r})
import torch, models, detectors
from torchvision.transforms import v2

def build():
    model = models._seeded(detectors.{name}(3)).float().eval()
    model.threshold, model.most = 0.0, 999
    return model, v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
"""


@pytest.mark.parametrize(
    ("name", "target", "label"),
    [
        ("Spots", "box:0", "the box of class"),
        ("Spots", "class:2@8,8", "the box of class 2 over"),
        ("Areas", "class:1", "class 1 in its own area"),
        ("Areas", "class:2@3,4", "class 2 at 3, 4"),
    ],
)
def test_the_command_line_draws_it(name, target, label, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tests = str(models.__file__).rsplit("/", 1)[0]
    (tmp_path / "net.py").write_text(MODEL.format(tests=tests, name=name))
    pixels = torch.randint(255, (16, 16, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(pixels.byte().numpy()).save("a.png")
    arguments = ["cam", "--model", "net.py:build", "--image", "a.png", "--layer", "block"]
    arguments += ["--methods", "hirescam", "--target", target, "--no-progress", "--out", "o.png"]
    code, text = cli.main(arguments), capsys.readouterr()
    assert code == 0, text.err
    assert label in text.out
    assert (tmp_path / "o.png").exists()


@pytest.mark.parametrize("target", ["box:", "-3", "3@4"])
def test_the_command_line_says_what_a_target_is(target, capsys):
    assert cli.main(["cam", "--target", target]) == 2
    expected = "expected a class by its number or name, box:3, class:3 or class:7@120,80"
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("dog", "class:1"), (" Dog", "class:1"), ("2", 2), ("class:hot dog", "class:2"),
     ("class:dog@3,4", "class:1@3,4"), ("box:2", "box:2")],
)  # fmt: skip
def test_a_target_by_name_is_the_one_by_number(asked, meant):
    from captum_cnn_ext.cli.parsing import _target_text, explained_target

    found = explained_target(_target_text(asked), ["cat", "dog", "hot dog", "crane", "crane"])
    assert repr(found) == repr(targets.target_from_text(str(meant)))


@pytest.mark.parametrize("network", ["classifier", "detector"])
def test_a_class_by_its_name_on_the_command_line(network, tmp_path, monkeypatch, capsys):
    """The same as by its number; of a detector its boxes."""
    (tmp_path / "net.py").write_text(
        f"import sys\nsys.path.insert(0, {str(models.__file__).rsplit('/', 1)[0]!r})\n"
        "import torch, detectors\nfrom torch import nn\n"
        "from captum_cnn_ext.models import LoadedModel\n"
        "from torchvision.transforms.functional import pil_to_tensor\n"
        "def classifier():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(3, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
        "def detector():\n"
        "    torch.manual_seed(0)\n"
        "    return detectors.Spots(channels=3, threshold=0.3).eval()\n"
        "def build():\n"
        f"    return LoadedModel({network}(), lambda p: pil_to_tensor(p).float() / 255,\n"
        "                       ['ground', 'dog', 'cat', 'owl', 'elk'], (0.,) * 3, (1.,) * 3)\n"
    )
    Image.new("RGB", (16, 16), "red").save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    layer = {"classifier": "0", "detector": "block"}[network]
    said = []
    for target in ("dog", "1" if network == "classifier" else "class:1"):
        arguments = ["--image", "a.png", "--layer", layer, "--methods", "LayerHiResCam"]
        command = ["cam", "--model", "net.py:build", *arguments, "--target", target]
        assert cli.main([*command, "--no-progress"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "dog" in said[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dgo", "--target 'dgo': no class of 5 has this name; nearest: 'dog'"),
        ("do", "--target 'do': no class of 5 has this name; nearest: 'dog', 'hot dog'"),
        ("crane", "--target 'crane': 2 classes have this name; expected one of 3, 4"),
    ],
)
@pytest.mark.parametrize("command", ["cam", "synthesize", "bench"])
def test_a_name_that_no_class_has_is_answered_with_near_ones(
    command, name, message, tmp_path, monkeypatch, capsys
):
    (tmp_path / "net.py").write_text(
        "import torch\nfrom captum_cnn_ext.models import LoadedModel\n"
        "def build():\n"
        "    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1), torch.nn.AdaptiveAvgPool2d(1),\n"
        "                              torch.nn.Flatten())\n"
        "    return LoadedModel(net, None, ['cat', 'dog', 'hot dog', 'crane', 'crane'])\n"
    )
    monkeypatch.chdir(tmp_path)
    assert cli.main([command, "--model", "net.py:build", "--target", name]) == 2
    assert capsys.readouterr().err == f"captum-cnn-ext: error: {message}\n"


def test_a_bare_detector_gets_the_whole_photo_as_it_is():
    """It resizes and normalises by itself: ImageNet's crop would be normalised twice."""
    detector = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None).eval()
    photo = Image.new("RGB", (90, 60), (255, 0, 51))
    found = assumed(detector)
    assert found.preprocess(photo).shape == (3, 60, 90)
    assert found.preprocess(photo)[:, 0, 0].tolist() == pytest.approx([1.0, 0.0, 0.2])
    assert "the whole photo in [0, 1] was assumed" in found.notes[-1]
