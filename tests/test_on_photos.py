"""Maps drawn over whole photos: the heat lies on the object, the rest keeps its colours."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from captum_cnn_ext import cli
from captum_cnn_ext.evidence import regions
from captum_cnn_ext.insights import audit, compare
from captum_cnn_ext.models import LoadedModel
from captum_cnn_ext.photos import PhotoGeometry
from captum_cnn_ext.render import overlay_pixels

SEE = transforms.Compose([transforms.Resize(40), transforms.CenterCrop(32), transforms.ToTensor()])
OBJECT = (60, 30, 90, 60)  # on a photo of 150 x 80: seen, right of the middle


class Bright(nn.Module):
    """Scores how bright the input is, at each position of a map of its own resolution."""

    def __init__(self):
        super().__init__()
        self.map = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.ones_(self.map.weight)

    def forward(self, x):
        total = self.map(x).relu().mean((1, 2, 3))
        return torch.stack([total, -total], 1)


def photo(size=(80, 150), box=OBJECT):
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[..., 2] = 40
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = 255
    return Image.fromarray(pixels)


def loaded():
    return LoadedModel(Bright().eval(), SEE, mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(32, 32))


def photos():
    return {"cats/one.jpg": photo(), "two.png": photo((90, 90), (40, 40, 60, 70))}


def test_regions_of_a_comparison_lie_on_the_object():
    found = compare(loaded(), photos(), ["LayerHiResCam"], layers="map")
    geometries = found.on_photos.geometries
    assert geometries[0].photo_size == (80, 150)
    boxes = regions(found.attributions["LayerHiResCam"], "maximum", 0.7, geometry=geometries)
    assert boxes[0][0].box == pytest.approx(OBJECT, abs=2)
    assert boxes[1][0].box == pytest.approx((40, 40, 60, 70), abs=2.5)


@pytest.mark.parametrize("by", ["compare", "audit"])
def test_overlays_have_the_photos_size(by, tmp_path):
    if by == "compare":
        found = compare(loaded(), photos(), ["LayerHiResCam", "Saliency"], layers="map")
        names = ["LayerHiResCam", "Saliency"]
    else:
        found = audit(loaded(), photos(), methods=["LayerHiResCam", "Saliency"], layers="map",
                      sections=["attributions"], show_progress=False)  # fmt: skip
        names = ["map-LayerHiResCam", "input-Saliency"]
    paths = found.save_overlays(tmp_path / "new")
    expected = [f"{photo}--{name}.jpg" for photo in ("cats-one", "two") for name in names]
    assert sorted(path.name for path in paths) == sorted(expected)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(expected)
    cam = next(path for path in paths if path.name.startswith("cats-one--") and "Cam" in path.name)
    with Image.open(cam) as opened:
        drawn = np.asarray(opened.convert("RGB")).astype(int)
    assert drawn.shape == (80, 150, 3)
    given = np.asarray(photo()).astype(int)
    seen = np.zeros((80, 150), bool)
    seen[8:72, 43:107] = True  # of 75 x 40, the middle 32 x 32: from 22 and 4 on, times 2
    assert np.abs(drawn - given)[:, :36].max() < 12  # jpeg's
    assert np.abs(drawn - given)[:, 114:].max() < 12
    inside = drawn[35:55, 65:85].mean((0, 1))  # hot colours over white
    beside = drawn[35:55, 46:54].mean((0, 1))  # dark heat over dark grey
    assert inside[0] > 200 > 100 > beside.max()


def test_what_is_not_known_is_said(tmp_path):
    tensors = compare(loaded(), torch.rand(1, 3, 32, 32), ["Saliency"])
    with pytest.raises(ValueError, match="given as tensors, so it is not known on which photos"):
        tensors.save_overlays(tmp_path / "a")
    mirror = transforms.Compose([transforms.RandomHorizontalFlip(1.0), SEE])
    mirrored = compare(loaded(), photos(), ["Saliency"], preprocess=mirror)
    with pytest.raises(ValueError, match="because it mirrors the photo"):
        mirrored.save_overlays(tmp_path / "a")
    same = compare(loaded(), {"a.jpg": photo(), "a.png": photo()}, ["Saliency"])
    with pytest.raises(ValueError, match=r"two photos would be written as 'a--Saliency\.jpg'"):
        same.save_overlays(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_loaded_model_knows_its_geometry():
    expected = PhotoGeometry((80, 160), (32, 32), (2.0, 2.0), (8.0, 48.0))
    assert loaded().geometry((80, 160)) == expected
    assert loaded().geometry(photo((80, 160))) == expected


NET = """
import torch
from torch import nn
from torchvision import transforms as t
def build():
    torch.manual_seed(0)
    see = t.Compose([t.Resize(40), t.CenterCrop(32), t.ToTensor()])
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1800, 2)), see
"""


def test_the_commands_write_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    photo().save(tmp_path / "p.png")
    common = ["--model", "net.py:build", "--image", "p.png", "--layer", "1", "--no-progress"]
    assert cli.main(["cam", *common, "--methods", "hirescam", "--overlays", "over"]) == 0
    assert "overlays: 1 in over" in capsys.readouterr().out
    with Image.open("over/p--LayerHiResCam.jpg") as opened:
        assert opened.size == (150, 80)
    command = ["audit", *common, "--methods", "hirescam", "--sections", "attributions"]
    assert cli.main([*command, "--overlays", "more"]) == 0
    assert [path.name for path in (tmp_path / "more").iterdir()] == ["p--1-LayerHiResCam.jpg"]


def test_the_commands_say_why_there_are_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mirrored = NET.replace("[t.Resize", "[t.RandomHorizontalFlip(1.), t.Resize")
    (tmp_path / "net.py").write_text(mirrored)
    photo().save(tmp_path / "p.png")
    common = ["--model", "net.py:build", "--image", "p.png", "--layer", "1", "--no-progress"]
    assert cli.main(["cam", *common, "--methods", "hirescam", "--overlays", "over"]) == 1
    assert (tmp_path / "cam.png").exists()
    assert "no overlays: preprocess: where its output lies" in capsys.readouterr().err
    assert cli.main(["audit", "--data", "demo", "--overlays", "over"]) == 2
    assert "--overlays: is for photos" in capsys.readouterr().err


def test_overlay_pixels_are_what_overlay_draws():
    from captum_cnn_ext.insights.pictures import overlaid

    generator = torch.Generator().manual_seed(0)
    image, heat = torch.rand(3, 64, 48, generator=generator), torch.randn(1, 8, 6)
    for sign in ("positive", "all", "negative"):
        drawn, _ = overlaid(image, heat, 64, 16, sign=sign, alpha_overlay=0.6)
        pixels = overlay_pixels(image, heat, sign=sign, alpha_overlay=0.6)
        off = np.abs(np.asarray(drawn) / 255 - pixels)
        assert drawn.size == (48, 64)
        assert off.mean() < 0.01
    marked = overlay_pixels(image, torch.full((1, 8, 6), float("nan")))
    assert (marked[..., 0] > marked[..., 1]).mean() > 0.9  # magenta
