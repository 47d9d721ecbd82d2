"""Networks of one or many channels through the faces, and what signals and volumes are told."""

import numpy as np
import pytest
import torch
from digits import mnist, trained
from PIL import Image
from torch import nn

from captum_cnn_ext import explain
from captum_cnn_ext.attr import DeconvNet
from captum_cnn_ext.cli import main
from captum_cnn_ext.insights import audit, audit_dataset, compare
from captum_cnn_ext.models import load_model
from captum_cnn_ext.render import show_reconstructions

METHODS = ["Saliency", "LayerGradCam", "Occlusion"]


def digits():
    images, labels = mnist()
    pictures = [Image.fromarray((image[0] * 255).byte().numpy()) for image in images[:2]]
    return images[:2], pictures, labels[:2]


def prepare(picture):
    return torch.from_numpy(np.array(picture.convert("L")) / 255).float()[None]


def test_digits_are_audited_as_tensors_and_as_grey_pictures():
    tensors, pictures, labels = digits()
    for images, options in ((tensors, {}), (pictures, {"preprocess": prepare})):
        found = audit(trained(), images, quick=True, show_progress=False, **options)
        assert found.problems == ()
        compared = compare(trained(), images, METHODS, layers="3", **options)
        assert compared.attributions["Saliency"].shape == (2, 1, 28, 28)
        assert compared.targets == labels.tolist()


class AnySize(nn.Sequential):
    def __init__(self, channels):
        super().__init__(
            nn.Conv2d(channels, 3, 5, stride=4), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4),
        )  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
def test_without_a_preprocessing_pictures_have_the_networks_channels(channels):
    _, pictures, _ = digits()
    with pytest.warns(UserWarning, match="no preprocessing was given"):
        found = compare(AnySize(channels).eval(), pictures, ["Saliency"])
    assert found.inputs.shape == (2, channels, 28, 28)
    if channels == 1:  # as they are, from 0 to 1
        assert float(found.inputs.max()) > 0.9
        assert float(found.inputs.min()) >= 0


def test_a_head_of_one_size_is_told_what_was_assumed():
    _, pictures, _ = digits()
    for look in (compare, audit):
        options = {"methods": ["Saliency"]}
        with (
            pytest.warns(UserWarning, match="no preprocessing was given"),
            pytest.raises(ValueError, match=r"grey pictures \(224 × 224.*pass preprocess="),
        ):
            look(trained(), [picture.resize((40, 40)) for picture in pictures], **options)


def test_signals_and_volumes_are_sent_to_where_they_are_drawn():
    _, pictures, _ = digits()
    for conv, size in ((nn.Conv1d, (2, 3, 30)), (nn.Conv3d, (2, 3, 5, 6, 7))):
        for images in (torch.rand(size), pictures):
            with pytest.raises(ValueError, match=r"model: takes (signals|volumes).*show_signals"):
                audit(conv(3, 2, 3), images)


def test_the_commands_take_a_factory_of_a_grey_network(tmp_path, capsys):
    file = tmp_path / "digits_model.py"
    file.write_text(
        "from test_grey_networks import AnySize, prepare\n"
        "def plain(): return AnySize(1)\n"
        "def whole(): return AnySize(1), prepare\n"
    )
    for name in ("plain", "whole"):
        out = tmp_path / f"{name}.png"
        assert main(["cam", "--model", f"{file}:{name}", "--methods", "Saliency,LayerGradCam",
                     "--layer", "0", "--image", _picture(tmp_path), "--no-progress",
                     "--out", str(out)]) == 0  # fmt: skip
        assert out.stat().st_size > 1000
    assert load_model(f"{file}:plain").mean == (0.0,)


def _picture(folder):
    file = folder / "digit.png"
    digits()[1][0].save(file)
    return str(file)


@pytest.mark.slow
def test_networks_of_many_channels_are_explained_audited_and_drawn(tmp_path):
    torch.manual_seed(5)
    net = nn.Sequential(
        nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    ).eval()  # fmt: skip
    x = torch.rand(2, 6, 20, 20)
    done = audit(net, x, show_progress=False)
    assert "not complete" not in done.overview.headline + done.to_html()
    found = explain(net, x[0])
    found.save(tmp_path / "six.png")
    shown = found.figure().axes[0].images[0].get_array()
    np.testing.assert_allclose(shown[..., 0], x[0].mean(0), rtol=1e-5)
    assert compare(net, x, ["LayerHiResCam", "InputXGradient"]).figure()
    assert show_reconstructions(x, DeconvNet(net, "2").reconstruct(x, top=2, rule="guided"))
    data = [(x[n % 2], n % 2) for n in range(8)]
    assert "not complete" not in audit_dataset(net, data, show_progress=False).to_html()
