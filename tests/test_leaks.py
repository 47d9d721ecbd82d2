"""What is written to be handed on names no folder, user, machine or secret of whoever wrote it."""

import io
import socket
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from captum_cnn_ext.cli import main

SECRET = b"secret"
NET = """
import numpy as np
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return network(), preprocess

def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3),
                         nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))

def preprocess(picture):
    data = np.asarray(picture.resize((32, 32)), dtype=np.float32) / 255
    return torch.from_numpy(data).permute(2, 0, 1)
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Everything that a command is given lies in a folder nobody else should know of."""
    home = tmp_path / "secret-home"
    (home / "photos").mkdir(parents=True)
    (home / "net.py").write_text(NET)
    (home / "names.txt").write_text("cat\ndog\nhat\n")
    scope = {}
    exec(NET, scope)
    net: nn.Module = scope["network"]()
    save_file(net.state_dict(), home / "net.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 48, 3), dtype=np.uint8)
    for name, picture in zip(("a.png", "b.png"), pixels, strict=True):
        Image.fromarray(picture).save(home / "photos" / name)
    for name in ("HOME", "USER", "LOGNAME", "HOSTNAME", "API_TOKEN", "PYTHONPATH"):
        monkeypatch.setenv(name, str(home) if name == "HOME" else f"secret-{name}")
    monkeypatch.setattr(socket, "gethostname", lambda: "secret-host")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    return home


def texts(path):
    """The bytes of a file, and of what is packed in it."""
    content = path.read_bytes()
    yield path.name, content
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(path) as packed:
            for member in packed.namelist():
                data = packed.read(member)
                yield f"{path.name}/{member}", data
                yield f"{path.name}/{member} as text", data.replace(b"\0", b"")  # UTF-32


def told(folder):
    """The files of a folder that name what nobody should know of."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [name for file in files for name, data in texts(file) if SECRET in data.lower()]


def test_files_of_every_command(place, tmp_path, capsys):
    model = ["--model", f"{place}/net.py:build", "--weights", f"{place}/net.safetensors"]
    photo, photos = f"{place}/photos/a.png", f"{place}/photos"
    quiet = "--no-progress"
    commands = [
        ["audit", *model, "--images", photos, "--class-names", f"{place}/names.txt", quiet,
         "--against", f"{place}/net.safetensors"],
        ["bench", *model, "--images", photos, "--methods", "gaussian,Saliency",
         "--variants", "1", "--steps", "2", quiet],
        ["cam", *model, "--image", photo, "--methods", "gradcam", quiet],
        ["deconv", *model, "--image", photo, "--layer", "3"],
        ["structure", *model, "--input-size", "3x32x32", "--graph", "graph.dot"],
        ["top-patches", *model, "--images", photos, "--layer", "3", "--picture", "patches.png",
         "--checkpoint", "job.npz", quiet],
        ["synthesize", *model, "--target", "1", "--steps", "2", "--size", "32", quiet],
        ["dream", *model, "--image", photo, "--layer", "3", "--steps", "1", "--octaves", "1",
         quiet],
    ]  # fmt: skip
    for command in commands:
        assert main(command) == 0, (command, capsys.readouterr().err)
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    endings = {file.suffix for file in files}
    assert {".html", ".json", ".npz", ".csv", ".md", ".png", ".dot"} <= endings
    assert told(tmp_path / "out") == []


def test_a_failing_section_tells_no_folder(place, tmp_path, capsys):
    """Its message is printed in the report."""
    broken = place / "broken.py"
    broken.write_text(
        NET.replace("return network()", "return Broken(network())")
        + """
class Broken(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0
    def forward(self, x):
        self.calls += 1
        if self.calls > 9:  # what comes before the sections
            raise RuntimeError(f"cannot open {__file__}")
        return self.inner(x)
"""
    )
    code = main(["audit", "--model", f"{broken}:build", "--images", f"{place}/photos",
                 "--no-progress"])  # fmt: skip
    assert code == 1
    report = tmp_path / "out" / "audit.html"
    assert b"cannot open" in report.read_bytes()
    assert told(report.parent) == []


def test_the_test_would_see_it(tmp_path):
    """Of a file of each kind that does tell."""
    np.savez_compressed(tmp_path / "a.npz", about=np.array("/home/secret/a"))
    (tmp_path / "b.json").write_text('"/home/secret/b"')
    torch.save({"from": "/home/secret/c"}, tmp_path / "c.pt")
    for file in tmp_path.iterdir():
        assert any(SECRET in data for _, data in texts(file)), file.name
