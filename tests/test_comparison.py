"""A comparison has each class's own maps, and the commands that print and draw them."""

import json

import captum.attr
import pytest
import torch
from PIL import Image
from snapshots import nothing_left_behind
from test_cli import NET
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

from captum_cnn_ext import attr
from captum_cnn_ext.cli import main
from captum_cnn_ext.insights import audit, compare, known_methods
from captum_cnn_ext.methods import CAPTUM, INPUT, LAYERS, NO_MAP


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    ).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(10, 3, 12, 16, generator=torch.Generator().manual_seed(2))


# --- comparisons ------------------------------------------------------------------------------

EVERY = [
    m.name
    for m in known_methods().values()
    if m.at not in (NO_MAP, LAYERS) and m.path.endswith(m.name) and m.name != "Occlusion"
]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_maps_are_those_of_the_classes(model, images):
    targets = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    chosen = [name for name in EVERY if name not in ("LayerSSCam", "LayerFeatureAblation", "Rise")]
    with nothing_left_behind(model, images):
        found = compare(model, images, chosen, layers="4", target=targets)
    assert list(found.attributions) == chosen, "in the order asked for"
    assert found.targets == targets
    known = known_methods()
    for name, maps in found.attributions.items():
        library = captum.attr if known[name].origin == CAPTUM else attr
        at_input = known[name].at == INPUT
        method = getattr(library, name)(*(model,) if at_input else (model, model[4]))
        x = images.clone().requires_grad_() if at_input else images
        expected = method.attribute(x, target=torch.tensor(targets)).detach()
        torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-6, msg=name)


def test_layers_joined_and_layers_apart(model, images):
    found = compare(model, images, ["LayerRefineCam", "hirescam"], layers=["1", "4"], target=1)
    assert list(found.attributions) == [
        "LayerRefineCam at 1 + 4",
        "LayerHiResCam at 1",
        "LayerHiResCam at 4",
    ]
    one = attr.LayerRefineCam(model, ["1", "4"]).attribute(images, target=1)
    torch.testing.assert_close(found.attributions["LayerRefineCam at 1 + 4"], one)


def test_the_suggested_layer_and_the_strongest_class_are_taken(model, images):
    found = compare(model, images[:2], ["hirescam"])
    targets = model(images[:2]).argmax(1)
    expected = attr.LayerHiResCam(model, "4").attribute(images[:2], target=targets)
    torch.testing.assert_close(found.attributions["LayerHiResCam"], expected)
    shares = model(images[:2]).detach().softmax(1).amax(1)
    assert found.labels[0] == f"photo 1: class {int(targets[0])} {float(shares[0]):.1%}"


def test_a_method_that_does_not_fit_is_named(model, images):
    with pytest.raises(ValueError, match=r"methods: LayerCam at 1: .*CAM needs global average"):
        compare(model, images[:1], ["LayerCam"], layers="1")


def test_files_are_read(model, tmp_path):
    pictures = {}
    for name, color in (("a", "red"), ("b", "blue")):
        pictures[name] = Image.new("RGB", (16, 12), color)
        pictures[name].save(tmp_path / f"{name}.png")
    asked = {"methods": ["LayerHiResCam"], "layers": "4", "preprocess": pil_to_tensor_float}
    expected = compare(model, pictures, **asked)
    found = compare(model, [tmp_path / "a.png", str(tmp_path / "b.png")], **asked)
    assert found.labels == expected.labels
    for name, maps in expected.attributions.items():
        assert torch.equal(found.attributions[name], maps)


def pil_to_tensor_float(picture):
    return pil_to_tensor(picture).float() / 255


def test_an_audit_of_chosen_methods(model, images):
    methods = ["LayerRefineCam", "LayerReciproCam"]
    done = audit(
        model,
        images[:2],
        layers=["1", "4"],
        methods=methods,
        target=1,
        sections=["attributions"],
        show_progress=False,
    )
    assert {name for name in done.arrays if name.startswith("attributions")} == {
        "attributions/1/LayerReciproCam",
        "attributions/4/LayerReciproCam",
        "attributions/1 + 4/LayerRefineCam",
    }
    expected = attr.LayerReciproCam(model, "1").attribute(images[:2], target=1)
    found = torch.from_numpy(done.arrays["attributions/1/LayerReciproCam"])
    torch.testing.assert_close(found, expected)
    assert not done.problems


# --- the commands -----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    Image.new("RGB", (20, 18), "red").save(tmp_path / "red.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_cam_writes_one_picture(folder, capsys):
    arguments = ["cam", "--model", "net.py:build", "--image", "red.png", "--no-progress"]
    arguments += ["--methods", "hirescam,Saliency", "--target", "1", "--layer", "1"]
    assert main([*arguments, "--out", "a.png"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("red.png: class 1 ")
    assert not err
    with Image.open("a.png") as picture:
        width, height = picture.size
    assert width > 1.5 * height, "one row of three pictures"
    assert main([*arguments, "--out", "a.svg"]) == 0
    assert (folder / "a.svg").read_text().startswith("<?xml")
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {
        "a.png",
        "a.svg",
        "net.py",
        "red.png",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "gradkam"], "'gradkam' is not a known method"),
        (["--methods", "deconvnet"], "gives no map for a class"),
        (["--out", "a.txt"], "expected a file name that ends in .png"),
        (["--out", "no/a.png"], "--out no/a.png: the folder 'no' does not exist"),
        (["--layer", "conv"], "no such layer"),
        (["--target", "3"], "has 3 classes"),
        (["--image", "none.png"], "none.png"),
    ],
)
def test_cam_says_in_one_line_what_is_wrong(folder, capsys, arguments, message):
    start = ["cam", "--model", "net.py:build", "--no-progress", "--image", "red.png"]
    assert main([*start, *arguments]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert message in err
    assert err.count("\n") == 1
    assert not list(folder.glob("*cam*"))


def test_list_methods_prints_every_method(capsys):
    assert main(["list-methods"]) == 0
    text = capsys.readouterr().out
    assert all(f"{name} (" in text for name in known_methods())
    assert "What if one position were all there is?" in text
    assert max(map(len, text.splitlines())) <= 96
    assert main(["list-methods", "--format", "json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert {entry["name"] for entry in entries} == set(known_methods())
