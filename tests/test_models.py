"""Models from specs, weights and class names from files, pictures from folders."""

import io
import json
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from captum_cnn_ext.models import LoadedModel, load_model, read_class_names
from captum_cnn_ext.models.untrained import UNTRAINED
from captum_cnn_ext.photos import demo_photos, load_photos

FACTORIES = """
from __future__ import annotations
import dataclasses
import torch
from torch import nn
from neighbour import WIDTH

@dataclasses.dataclass
class Settings:
    width: int = WIDTH

def net():
    from neighbour import WIDTH as again
    return nn.Sequential(nn.Conv2d(3, Settings().width, again), nn.BatchNorm2d(2))

instance = net().train()

def double_grey(picture):
    value = sum(picture.convert("L").getpixel((0, 0)) for _ in range(2)) / 255
    return torch.full((1, 20, 30), value - 1)

def with_preprocessing():
    return net(), double_grey

def per_picture_standardised():
    return net(), lambda p: torch.rand(3, p.height, p.width)

def no_tensor():
    return net(), lambda p: p

def nothing():
    return 3

def fails():
    raise KeyError("lost")

constant = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(FACTORIES)
    (tmp_path / "neighbour.py").write_text("WIDTH = 2\n")
    yield tmp_path
    sys.modules.pop("neighbour", None)
    sys.modules.pop("captum_cnn_ext_user_nets", None)


@pytest.fixture(scope="module")
def demo():
    return load_model("demo")


# --- where models come from --------------------------------------------------------------------


def test_the_demo_model_knows_its_photos(demo):
    assert (demo.name, demo.input_size, len(demo.class_names)) == ("demo", (224, 224), 1000)
    tensors = {name: demo.preprocess(photo) for name, photo in demo_photos().items()}
    assert {tensor.shape for tensor in tensors.values()} == {(3, 224, 224)}
    with torch.no_grad():
        winners = demo.model(torch.stack(list(tensors.values()))).argmax(1)
    found = {name: demo.class_names[index] for name, index in zip(tensors, winners, strict=True)}
    chelsea = demo_photos()["chelsea"].resize((384, 256), Image.Resampling.BICUBIC)
    pixels = np.asarray(chelsea.crop((80, 16, 304, 240)), dtype=np.float32).transpose(2, 0, 1)
    torch.testing.assert_close(tensors["chelsea"], torch.tensor((pixels - 127) / 128))
    assert list(found) == ["astronaut", "chelsea", "coffee", "rocket"]
    assert found["coffee"] == "espresso"
    assert found["chelsea"] in ("tabby", "tiger cat", "Egyptian cat")
    assert found["rocket"] == "missile"


def test_mean_and_std_undo_the_preprocessing(demo):
    for level in (0, 127, 255):
        tensor = demo.preprocess(Image.new("RGB", (300, 300), (level, level, level)))
        assert tensor[0, 0, 0].item() == pytest.approx((level - 127) / 128, abs=1e-6)
        assert tensor[0, 0, 0] * demo.std[0] + demo.mean[0] == pytest.approx(level / 255)


def test_torchvision_untrained_says_so():
    loaded = load_model("torchvision:squeezenet1_1")
    assert not loaded.model.training
    assert (loaded.name, loaded.weights, loaded.class_names) == (
        "torchvision:squeezenet1_1",
        "random",
        None,
    )
    assert loaded.notes[0].startswith("RANDOM WEIGHTS")
    assert "SqueezeNet1_1_Weights.IMAGENET1K_V1 was assumed" in loaded.notes[1]
    assert (loaded.mean, loaded.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_segmentation_networks_do_not_download_a_backbone(monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    loaded = load_model("torchvision:lraspp_mobilenet_v3_large")
    assert "does not bring pictures of all shapes to one size" in loaded.notes[-1]


def test_weights_of_torchvision_by_name(monkeypatch):
    asked = []

    def fetch(url, **_):
        asked.append(url)
        return torchvision.models.squeezenet1_1().state_dict()

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    for name in ("DEFAULT", "IMAGENET1K_V1", "SqueezeNet1_1_Weights.IMAGENET1K_V1"):
        loaded = load_model("torchvision:squeezenet1_1", weights=name)
        assert loaded.weights == "SqueezeNet1_1_Weights.IMAGENET1K_V1"
        assert loaded.class_names[281] == "tabby"
        assert loaded.notes == ()
    assert len(asked) == 3


def test_a_failed_download_is_one_clear_error(monkeypatch):
    def fetch(url, **_):
        raise OSError("no route")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    with pytest.raises(
        ValueError, match=r"could not be downloaded \(OSError: no route\).*a file of weights"
    ):
        load_model("torchvision:squeezenet1_1", weights="DEFAULT")


@pytest.mark.parametrize(
    ("spec", "options", "error", "message"),
    [
        ("torchvision:resnt18", {}, ValueError, "no model 'resnt18'; nearest: 'resnet18'"),
        ("torchvison:resnet18", {}, ImportError, "nearest: 'torchvision:resnet18'"),
        ("resnet18", {}, ValueError, "expected demo, torchvision:NAME, timm:NAME.*'torchvision:"),
        ("dmo", {}, ValueError, "nearest: 'demo'"),
        ("timm:", {}, ValueError, "expected demo, torchvision:NAME"),
        (".x:y", {}, ValueError, "expected demo, torchvision:NAME"),
        (3, {}, TypeError, "expected a text such as 'demo', got int"),
        ("demo", {"weights": "x.pt"}, ValueError, "comes with its own"),
        ("demo", {"device": "cdua"}, ValueError, "device='cdua'"),
        ("demo", {"class_names": "no.txt"}, FileNotFoundError, r"there is no file no\.txt"),
        ("nets.py", {}, ValueError, r"name the function: nets\.py:FACTORY"),
        ("net.py:net", {}, FileNotFoundError, r"there is no file net\.py; nearest: 'nets\.py'"),
        ("nets.py:nets", {}, ValueError, "there is no 'nets'; nearest: 'net'"),
        ("nets.py:nothing", {}, TypeError, "to return a torch.nn.Module.*got int"),
        ("nets.py:constant", {}, TypeError, "expected a function, got int"),
        ("nets.py:fails", {}, ValueError, "its code raised KeyError: 'lost'"),
        ("nets.py:no_tensor", {}, TypeError, r"\(C, H, W\) tensor, got Image"),
        ("nets.py:net", {"weights": "DEFAULT"}, ValueError, "'DEFAULT': expected a file"),
        ("torchvision:alexnet", {"weights": "IMAGENET1K_V9"}, ValueError, "near.*IMAGENET1K_V1"),
    ],
)
def test_what_cannot_be_loaded(folder, spec, options, error, message):
    with pytest.raises(error, match=message):
        load_model(spec, **options)


def test_factories(folder):
    path = list(sys.path)
    loaded = load_model("nets.py:net")
    assert (loaded.name, loaded.weights) == ("nets.py:net", "as the factory returned them")
    assert loaded.notes == (
        UNTRAINED,
        "no preprocessing was given; ImageNet's (224 × 224 pixels) was assumed",
    )
    assert loaded.preprocess(Image.new("RGB", (300, 400))).shape == (3, 224, 224)
    assert not loaded.model.training
    assert not load_model(f"{folder}/nets.py:instance").model[1].training
    assert load_model(f"{folder}/nets.py:net").name == "nets.py:net"
    assert sys.path == path
    assert load_model("torchvision.models:squeezenet1_1").name == "torchvision.models:squeezenet1_1"


def test_the_normalisation_of_any_preprocessing_is_found(folder):
    loaded = load_model("nets.py:with_preprocessing")  # value = 2 * pixel - 1
    assert (loaded.mean, loaded.std, loaded.input_size) == ((0.5,), (0.5,), (20, 30))
    assert loaded.notes == (UNTRAINED,)
    odd = load_model("nets.py:per_picture_standardised")
    assert (odd.mean, odd.std, odd.input_size) == ((0.0,) * 3, (1.0,) * 3, (224, 224))
    assert ["no fixed normalisation" in odd.notes[1], "to one size" in odd.notes[2]] == [True, True]


def test_a_broken_file_leaves_no_module_behind(folder):
    (folder / "broken.py").write_text("import sys\n1 / 0\n")
    with pytest.raises(ValueError, match="its code raised ZeroDivisionError: division by zero"):
        load_model("broken.py:net")
    assert "captum_cnn_ext_user_broken" not in sys.modules
    (folder / "needy.py").write_text("import not_there_at_all\n")
    with pytest.raises(ImportError, match="not_there_at_all"):
        load_model("needy.py:net")


def test_missing_extras_are_named(monkeypatch):
    for module in ("timm", "efficientnet_lite_pytorch", "skimage"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install -e '.\[models\]' in the repository"):
        load_model("timm:resnet18")
    with pytest.raises(ImportError, match=r"pip install -e '.\[demo\]' in the repository"):
        load_model("demo")
    with pytest.raises(ImportError, match=r"pip install -e '.\[demo\]' in the repository"):
        demo_photos()


def test_timm(folder):
    timm = pytest.importorskip("timm")
    torch.manual_seed(1)
    untrained = load_model("timm:resnet10t")
    assert untrained.input_size == (176, 176)
    assert untrained.notes[0].startswith("RANDOM WEIGHTS")
    state = timm.create_model("resnet10t", num_classes=4).state_dict()
    torch.save({"state_dict": state}, "mine.pt")
    loaded = load_model("timm:resnet10t", weights="mine.pt")
    assert loaded.notes == (UNTRAINED, "4 classes, as the weights have")  # they are as made
    assert torch.equal(loaded.model.state_dict()["fc.weight"], state["fc.weight"])
    with pytest.raises(ValueError, match="timm has no model 'resnet10'; nearest: 'resnet10t'"):
        load_model("timm:resnet10")


def test_importing_is_light():
    code = (
        "import sys, captum_cnn_ext.models, captum_cnn_ext.photos\n"
        "heavy = {'torchvision', 'timm', 'skimage', 'PIL', 'captum'}\n"
        "print(sorted(heavy.intersection(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- weights -----------------------------------------------------------------------------------


@pytest.fixture
def trained(folder):
    """A net with the architecture of nets.py:net and recognisable weights."""
    model = nn.Sequential(nn.Conv2d(3, 2, 2), nn.BatchNorm2d(2))
    for value in model.state_dict().values():
        value.copy_(torch.arange(value.numel()).reshape(value.shape))
    return model


def assert_loaded(trained, file):
    loaded = load_model("nets.py:net", weights=file)
    assert loaded.weights == os.path.basename(file)
    for key, value in trained.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value), key


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"state": {}}},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"module._orig_mod.{k}": v for k, v in state.items()}},
        lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
    ],
)
@pytest.mark.filterwarnings("error")
def test_weights_files_and_their_wrappers(trained, folder, wrap):
    trained[1].num_batches_tracked.zero_()  # absent from old files, which then have 0
    torch.save(wrap(trained.state_dict()), folder / "trained.pth")
    assert_loaded(trained, folder / "trained.pth")


def test_safetensors(trained, folder):
    torch_files = pytest.importorskip("safetensors.torch")
    torch_files.save_file(trained.state_dict(), "trained.safetensors")
    assert_loaded(trained, "trained.safetensors")
    (folder / "bad.safetensors").write_bytes(b"\x10" * 64)
    with pytest.raises(ValueError, match=r"bad\.safetensors: cannot be read"):
        load_model("nets.py:net", weights="bad.safetensors")


def test_safetensors_missing_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    (folder / "w.safetensors").write_bytes(b"")
    with pytest.raises(
        ImportError, match=r"safetensors.*pip install -e '.\[models\]' in the repository"
    ):
        load_model("nets.py:net", weights="w.safetensors")


def test_a_head_with_other_classes_is_built(folder):
    state = torchvision.models.squeezenet1_1(num_classes=7).state_dict()
    torch.save(state, folder / "squeezenet1_1-b8a52dc0.pth")  # a published name, other content
    loaded = load_model("torchvision:squeezenet1_1", weights="squeezenet1_1-b8a52dc0.pth")
    assert loaded.notes[0] == "7 classes, as the weights have"
    assert loaded.class_names is None
    assert torch.equal(loaded.model.classifier[1].weight, state["classifier.1.weight"])


def test_a_published_file_is_known_by_its_name(folder):
    torch.save(torchvision.models.squeezenet1_1().state_dict(), "squeezenet1_1-b8a52dc0.pth")
    loaded = load_model("torchvision:squeezenet1_1", weights="squeezenet1_1-b8a52dc0.pth")
    assert loaded.class_names[281] == "tabby"
    assert "taken for SqueezeNet1_1_Weights.IMAGENET1K_V1" in loaded.notes[0]


def test_published_densenets_have_older_names(folder):
    (folder / "dense.py").write_text(
        "from torchvision.models import DenseNet\n"
        "def net(): return DenseNet(4, (1, 1, 1, 1), 4, num_classes=3)\n"
    )
    state = torchvision.models.DenseNet(4, (1, 1, 1, 1), 4, num_classes=3).state_dict()
    old = {k.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): state[k] for k in state}
    assert old.keys() != state.keys()
    torch.save(old, "old.pth")
    loaded = load_model("dense.py:net", weights="old.pth")
    assert all(torch.equal(v, state[k]) for k, v in loaded.model.state_dict().items())


def test_weights_that_do_not_fit_are_counted_and_named(trained, folder):
    state = trained.state_dict() | {"0.weight": torch.zeros(2, 3, 5, 5), "extra": torch.zeros(1)}
    del state["1.weight"], state["1.bias"]
    torch.save(state, "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt: do not fit Sequential") as caught:
        load_model("nets.py:net", weights="other.pt")
    assert str(caught.value).partition("; ")[2] == (
        "2 missing from the file: 1.weight, 1.bias; 1 unknown to the model: extra; "
        "1 of another shape: 0.weight (2x3x5x5 in the file, 2x3x2x2 in the model)"
    )
    torch.save({f"layer{i}.weight": torch.zeros(1) for i in range(9)}, "other.pt")
    with pytest.raises(ValueError, match=r"9 unknown.*layer0.*layer2\.weight, \.\.\."):
        load_model("nets.py:net", weights="other.pt")


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("made-by-the-file",)


@pytest.mark.parametrize("writer", ["zip", "legacy", "pickle2", "pickle4"])
def test_code_in_a_weights_file_does_not_run(folder, writer):
    content = {"state_dict": {"0.weight": Malicious()}}
    if writer.startswith("pickle"):
        (folder / "evil.pt").write_bytes(pickle.dumps(content, protocol=int(writer[-1])))
    else:
        torch.save(content, "evil.pt", _use_new_zipfile_serialization=writer == "zip")
    before = sorted(os.listdir(folder))
    message = (
        "cannot be read" if writer == "pickle4" else "holds more than tensors.*convert it once"
    )
    with pytest.raises(ValueError, match=message):
        load_model("nets.py:net", weights="evil.pt")
    assert sorted(os.listdir(folder)) == before
    if writer == "zip":  # the trap is real
        torch.load("evil.pt", weights_only=False)
        assert (folder / "made-by-the-file").is_dir()


def test_a_whole_model_says_how_to_convert_it(trained, folder):
    torch.save(trained, "whole.pt")
    with pytest.raises(ValueError, match=r"torch\.nn\.modules\.container\.Sequential.*state_dict"):
        load_model("nets.py:net", weights="whole.pt")


@pytest.mark.parametrize("content", [b"", b"hello world" * 99, b"<html>404", None])
def test_damaged_files_are_called_so(trained, folder, content):
    if content is None:
        buffer = io.BytesIO()
        torch.save(trained.state_dict(), buffer)
        content = buffer.getvalue()[: len(buffer.getvalue()) // 2]
    (folder / "damaged.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"weights damaged\.pt: cannot be read; it is damaged"):
        load_model("nets.py:net", weights="damaged.pt")


@pytest.mark.parametrize("content", [torch.ones(2), [torch.ones(2)], {}, {"epoch": 3}])
def test_files_without_named_tensors(folder, content):
    torch.save(content, "odd.pt")
    with pytest.raises(ValueError, match=r"odd\.pt: expected named tensors, got"):
        load_model("nets.py:net", weights="odd.pt")


def test_a_missing_file_names_the_nearest(trained, folder):
    torch.save(trained.state_dict(), "trained.pth")
    with pytest.raises(FileNotFoundError, match=r"no file traind\.pth; nearest: 'trained\.pth'"):
        load_model("nets.py:net", weights="traind.pth")
    with pytest.raises(FileNotFoundError, match=r"there is no folder nowhere"):
        load_model("nets.py:net", weights="nowhere/trained.pth")


# --- class names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "tench\nshark, great white\n\n"),
        ("names.txt", "\ufefftench\r\nshark, great white"),
        ("names.json", json.dumps(["tench", "shark, great white"])),
        ("names.json", json.dumps({"1": "shark, great white", "0": "tench"})),
        ("names.json", json.dumps({"tench": 0, "shark, great white": 1})),
        ("names.json", json.dumps({"0": ["n01", "tench"], "1": ["n02", "shark, great white"]})),
    ],
)
def test_class_names(folder, name, content):
    (folder / name).write_text(content, encoding="utf-8")
    assert load_model("nets.py:net", class_names=name).class_names == [
        "tench",
        "shark, great white",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("n.txt", b""),
        ("n.txt", b"a\n\nb"),
        ("n.txt", b"\xff\xfe\x00a"),
        ("n.json", b"not json"),
        ("n.json", b'{"0": "a", "2": "b"}'),
        ("n.json", b"{}"),
        ("n.json", b"[]"),
        ("n.json", b"[1, 2]"),
        ("n.json", b'"a"'),
    ],
)
def test_class_names_in_no_known_form(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"class_names {name}: expected one name per line"):
        read_class_names(name)


def test_a_loaded_model_passes_through(folder):
    (folder / "ready.py").write_text(
        "from torch import nn\nfrom captum_cnn_ext.models import LoadedModel\n"
        "def make(): return LoadedModel(nn.ReLU(), lambda p: p, ['a'], name='mine', notes=('n',))\n"
    )
    loaded = load_model("ready.py:make")
    assert isinstance(loaded, LoadedModel)
    assert (loaded.name, loaded.class_names, loaded.notes) == ("mine", ["a"], ("n",))


# --- pictures ----------------------------------------------------------------------------------


def test_photos_are_upright_rgb_and_sorted(tmp_path):
    left_red = Image.new("RGB", (2, 1), "blue")
    left_red.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise
    left_red.save(tmp_path / "b.png", exif=exif)
    Image.new("L", (3, 2), 100).save(tmp_path / "a.png")
    Image.new("CMYK", (3, 2), (0, 255, 255, 0)).save(tmp_path / "c.tiff")
    palette = Image.new("P", (3, 2), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "d.PNG")
    palette.save(tmp_path / "e.png", transparency=1)
    Image.new("RGBA", (3, 2), (255, 0, 0, 0)).save(tmp_path / "f.png")
    Image.new("LA", (3, 2), (0, 51)).save(tmp_path / "g.png")
    Image.fromarray(np.full((2, 3), 257 * 100, np.uint16)).save(tmp_path / "h.png")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_text("no picture")
    loaded = load_photos(tmp_path)
    assert list(loaded) == ["a.png", "b.png", "c.tiff", "d.PNG", "e.png", "f.png", "g.png", "h.png"]
    assert {photo.mode for photo in loaded.values()} == {"RGB"}
    assert loaded["b.png"].size == (1, 2)
    assert [loaded["b.png"].getpixel((0, y)) for y in (0, 1)] == [(255, 0, 0), (0, 0, 255)]
    corners = {name: photo.getpixel((0, 0)) for name, photo in loaded.items() if name != "b.png"}
    assert corners == {
        "a.png": (100, 100, 100),
        "c.tiff": (255, 0, 0),
        "d.PNG": (10, 20, 30),
        "e.png": (255, 255, 255),
        "f.png": (255, 255, 255),
        "g.png": (204, 204, 204),
        "h.png": (100, 100, 100),
    }


def test_photos_with_one_name_are_all_kept(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (1, 1)).save(tmp_path / name / "a.png")
    assert list(load_photos([tmp_path / "x", tmp_path / "y" / "a.png"])) == ["a.png", "a (2).png"]


def test_unreadable_photos_are_all_named(tmp_path, monkeypatch):
    good = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))
    good.save(tmp_path / "good.png")
    data = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.jpg").write_text("hello")
    Image.new("F", (2, 2)).save(tmp_path / "float.tiff")
    with pytest.raises(ValueError, match="3 of 4 cannot be read as pictures") as caught:
        load_photos(str(tmp_path))
    text = str(caught.value)
    assert [name in text for name in ("cut.png (", "text.jpg (", "float.tiff (")] == [True] * 3
    assert str(tmp_path) not in text
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"good\.png \(.*decompression bomb"):
        load_photos(tmp_path / "good.png")


def test_no_photos(tmp_path):
    with pytest.raises(ValueError, match=r"no pictures in .*it holds no files"):
        load_photos(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        load_photos([tmp_path / "a.png"])


def test_demo_photos_come_from_the_installed_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.setattr("socket.socket", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = demo_photos()
    assert {name: photo.size for name, photo in loaded.items()} == {
        "chelsea": (451, 300),
        "coffee": (600, 400),
        "rocket": (640, 427),
        "astronaut": (512, 512),
    }


def test_a_model_whose_batch_norms_have_seen_nothing_is_untrained(tmp_path, monkeypatch):
    from captum_cnn_ext import explain
    from captum_cnn_ext.insights import audit

    def build():
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(4, 3),
        )  # fmt: skip

    x, fresh = torch.rand(2, 3, 12, 12), build().eval()
    assert any(note.startswith("RANDOM WEIGHTS") for note in explain(fresh, x[0]).notes)
    found = audit(fresh, x, quick=True, show_progress=False)
    assert any("weights are random" in finding.text for finding in found.overview.findings)
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())\n"
    )
    monkeypatch.chdir(tmp_path)
    assert load_model("net.py:build").notes[0].startswith("RANDOM WEIGHTS")
    made = LoadedModel(fresh, preprocess=None, class_names=["a", "b", "c"])  # by hand
    assert made.notes == (UNTRAINED,)
    for audited in (explain(made, x[0]).notes, audit(made, x, quick=True, show_progress=False)):
        assert str(getattr(audited, "manifest", audited)).count(UNTRAINED) == 1

    trained = build().train()
    (tmp_path / "whole.py").write_text(
        "from torch import nn\n\n\ndef build():\n"
        "    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)\n"
        "    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 3))\n"
    )
    for seen, model in ((False, build()), (True, trained)):
        if seen:
            model(x)
        torch.save(model.state_dict(), "weights.pt")
        notes = load_model("whole.py:build", weights="weights.pt").notes
        assert (UNTRAINED in notes) != seen  # judged by the weights that were loaded

    trained(x)  # the norms have seen two images
    assert not any("RANDOM" in note for note in explain(trained.eval(), x[0]).notes)
