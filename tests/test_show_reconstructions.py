"""Reconstructions drawn: the right pixels beside the right pixels; the section, the command."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import NET
from torch import nn

from captum_cnn_ext._engine.whole_files import write_figure
from captum_cnn_ext.attr import DeconvNet
from captum_cnn_ext.cli import main
from captum_cnn_ext.insights import audit
from captum_cnn_ext.render import show_reconstructions


def found(attributions, boxes=None):
    """What is drawn of a result, with channels 10, 11, ... and values 1.5, 2.5, ..."""
    count, units = attributions.shape[:2]
    channels = torch.arange(10, 10 + units).expand(count, -1)
    values = torch.arange(units).expand(count, -1) + 1.5
    return SimpleNamespace(attributions=attributions, channels=channels, values=values, boxes=boxes)


def drawn(axes):
    return np.asarray(axes.images[0].get_array())


@pytest.fixture
def image():
    return torch.rand(1, 3, 16, 20, generator=torch.Generator().manual_seed(3))


def test_a_field_is_cut_out_of_the_reconstruction_and_of_the_photo(image):
    maps = torch.zeros(1, 1, 3, 16, 20)
    maps[0, 0, :, 5, 7] = torch.tensor([4.0, -2.0, 0.0])
    boxes = torch.tensor([[[[2, 12], [3, 13]]]])
    _, axes = show_reconstructions(image, found(maps, boxes), outlier_perc=0)
    above = drawn(axes[0, 1])
    assert above.shape == (10, 10, 3)
    np.testing.assert_allclose(above[3, 4], [1, 0.25, 0.5])
    assert (np.delete(above.reshape(-1, 3), 34, 0) == 0.5).all(), "0 is middle grey"
    np.testing.assert_allclose(drawn(axes[1, 1]), image[0, :, 2:12, 3:13].permute(1, 2, 0))
    np.testing.assert_allclose(drawn(axes[0, 0]), image[0].permute(1, 2, 0))
    (frame,) = axes[0, 0].patches
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((2.5, 1.5), 10, 10)
    assert axes[0, 1].get_title() == "10: 1.5"


def test_reconstructions_are_saved_alone_or_beside_their_photos(image, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    result = DeconvNet(model, "1").reconstruct(image, top=2, rule="guided")

    def pixels(name):
        with Image.open(tmp_path / name) as picture:
            return np.asarray(picture.convert("RGB"))

    result.save(tmp_path / "alone.png")
    result.save(tmp_path / "beside.png", image, mean=[0.1] * 3, std=[0.5] * 3, crop="none")
    figure, _ = show_reconstructions(image, result, mean=[0.1] * 3, std=[0.5] * 3, crop="none")
    write_figure(figure, tmp_path / "expected.png")
    np.testing.assert_array_equal(pixels("beside.png"), pixels("expected.png"))
    assert pixels("alone.png").shape != pixels("beside.png").shape
    with pytest.raises(ValueError, match="mean: is for images=, the photos beside"):
        result.save(tmp_path / "none.png", mean=[0.1] * 3)
    with pytest.raises(ValueError, match=r"got attributions of shape .* as the images are"):
        result.save(tmp_path / "none.png", image.repeat(2, 1, 1, 1))
    assert not (tmp_path / "none.png").exists()


def test_crops_have_one_size_and_hold_their_fields(image):
    maps = torch.zeros(1, 2, 3, 16, 20)
    boxes = torch.tensor([[[[0, 4], [16, 20]], [[3, 13], [2, 11]]]])
    _, axes = show_reconstructions(image, found(maps, boxes))
    photo = image[0].permute(1, 2, 0)
    np.testing.assert_allclose(drawn(axes[1, 1]), photo[0:10, 11:20])
    np.testing.assert_allclose(drawn(axes[1, 2]), photo[3:13, 2:11])


def test_the_crop_by_energy_holds_95_percent_of_it(image):
    maps = torch.zeros(1, 1, 3, 16, 20)
    maps[0, 0, 1, 2:12, 4:14] = 1
    maps[0, 0, 1, 15, 19] = 0.5  # a quarter of a hundredth of the energy
    _, axes = show_reconstructions(image, found(maps), crop="energy")
    np.testing.assert_allclose(drawn(axes[1, 1]), image[0, :, 2:12, 4:14].permute(1, 2, 0))
    _, axes = show_reconstructions(image, found(maps), crop="none")
    assert drawn(axes[0, 1]).shape == (16, 20, 3)
    assert not axes[0, 0].patches


def test_zeros_and_values_that_are_not_finite_are_grey(image):
    maps = torch.zeros(1, 2, 3, 16, 20)
    maps[0, 1, 0, 0, 0] = torch.nan
    for crop in ("field", "energy", "none"):
        _, axes = show_reconstructions(image, found(maps), crop=crop)
        assert (drawn(axes[0, 1]) == 0.5).all()
        assert (drawn(axes[0, 2]) == 0.5).all()


@pytest.mark.parametrize(
    ("maps", "options", "message"),
    [
        (torch.zeros(1, 2, 3, 8, 8), {}, r"expected \(1, K, 3, 16, 20\) as the images are"),
        (torch.zeros(2, 2, 3, 16, 20), {}, r"got attributions of shape \(2, 2"),
        (torch.zeros(1, 2, 3, 16, 20), {"crop": "filed"}, "crop='filed':.*nearest: 'field'"),
        (torch.zeros(1, 2, 3, 16, 20), {"outlier_perc": 100}, "outlier_perc=100"),
        (torch.zeros(1, 2, 3, 16, 20), {"row_titles": ["a", "b"]}, "row_titles: got 2"),
    ],
)
def test_what_does_not_fit_is_named(image, maps, options, message):
    with pytest.raises(ValueError, match=message):
        show_reconstructions(image, found(maps), **options)


# --- the section and the command --------------------------------------------------------------


def network(pooling):
    torch.manual_seed(4)
    middle = nn.MaxPool2d(2) if pooling else nn.Conv2d(4, 4, 2, stride=2)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), middle, nn.Conv2d(4, 12, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 2),
    ).eval()  # fmt: skip


@pytest.mark.parametrize(("pooling", "rule"), [(True, "deconvnet"), (False, "guided")])
def test_the_section_has_the_rule_that_depends_on_the_photo(pooling, rule):
    model, images = network(pooling), torch.rand(3, 3, 16, 16)
    done = audit(model, images, layers="4", sections=["reconstructions"], show_progress=False)
    assert not done.problems
    expected = DeconvNet(model, "4").reconstruct(images[:2], top=8, rule=rule)
    kept = {key.split("/")[2]: done.arrays[key] for key in done.arrays if "reconstructions" in key}
    for name, values in kept.items():
        np.testing.assert_allclose(values, getattr(expected, name), atol=1e-7)
    assert set(kept) == {"attributions", "channels", "positions", "values", "boxes"}
    made = {"deconvnet": "Made by a deconvnet", "guided": "Made by guided backpropagation"}
    assert made[rule] in done.to_html()
    assert "Warnings" not in done.to_html()


def test_deconv_writes_one_picture(tmp_path, monkeypatch, capsys):
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 18), "red").save("red.png")
    arguments = ["deconv", "--model", "net.py:build", "--image", "red.png", "--layer", "1"]
    assert main([*arguments, "--channels", "2,0"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "red.png: channels 2, 0 of 1, guided",
        "guided, because there is no max-pooling before this layer; see --rule",
        "picture: deconv.png",
    ]
    assert not err
    with Image.open("deconv.png") as picture:
        assert picture.width > 300
    assert main([*arguments, "--top", "3", "--rule", "deconvnet", "--out", "b.png"]) == 0
    assert "no max-pooling" not in capsys.readouterr().err, "one rectifier: nothing to warn of"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--channels", "a"], "--channels 'a': expected numbers"),
        (["--channels", "4"], "channels: 4 is not a channel of the layer, which has 4"),
        (["--top", "9"], "--top 9: expected an integer from 1 to 4"),
        (["--layer", "conv1"], "no such layer"),
        (["--out", "deconv"], "expected a file name that ends in"),
    ],
)
def test_deconv_says_in_one_line_what_is_wrong(tmp_path, monkeypatch, capsys, arguments, message):
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 18), "red").save("red.png")
    start = ["deconv", "--model", "net.py:build", "--image", "red.png", "--layer", "1"]
    assert main([*start, *arguments]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "deconv.png").exists()


def test_units_at_a_ceiling_are_taken_before_it():
    model, images = network(False), 20 * torch.rand(2, 3, 16, 16)
    model[4] = nn.ReLU6()
    assert (model[:5](images) == 6).any(), "some reach it"
    done = audit(model, images, layers="4", sections=["reconstructions"], show_progress=False)
    expected = DeconvNet(model, "3").reconstruct(images, top=8, rule="guided")
    assert not done.problems
    np.testing.assert_allclose(
        done.arrays["reconstructions/4/attributions"], expected.attributions, atol=1e-6
    )
    assert expected.attributions.flatten(2).any(2).all()
    assert "many reach its ceiling" in done.to_html()
