"""``captum-cnn-ext audit --data``: what it writes, and its one-line errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_cli import one_error_line

from captum_cnn_ext.cli import main

NET = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                        nn.Linear(4, 2)).eval()
    return net, preprocess

def preprocess(picture):
    data = torch.frombuffer(bytearray(picture.resize((16, 16)).tobytes()), dtype=torch.uint8)
    return data.reshape(16, 16, 3).permute(2, 0, 1) / 255
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    for name, color in (("red", (200, 20, 30)), ("blue", (10, 20, 220))):
        for number in range(6):
            file = tmp_path / "data" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), tuple(v + number for v in color)).save(file)
            mask = tmp_path / "masks" / name / f"{number}.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.new("1", (16, 16), 1).save(mask)
    monkeypatch.chdir(tmp_path)
    return tmp_path


BASE = ("audit", "--model", "net.py:build", "--data", "data", "--no-progress")


def test_writes_a_report_with_masks_against_another_checkpoint(folder, capsys):
    (folder / "data" / "red" / "broken.png").write_bytes(b"no")
    state = {
        **{"0.weight": torch.randn(4, 3, 3, 3), "0.bias": torch.zeros(4)},
        **{"4.weight": torch.randn(2, 4), "4.bias": torch.zeros(2)},
    }
    torch.save(state, folder / "old.pt")
    arguments = [*BASE, "--masks", "masks", "--against", "old.pt", "--out", "colours.html"]
    arguments += ["--checkpoint", "pass", "--batch-size", "5", "--title", "Colours"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "report: colours.html" in out
    assert "of 12 images" in out
    html = (folder / "colours.html").read_text()
    assert "On the object" in html
    assert "Against the older model" in html
    assert "<h1>Colours</h1>" in html
    findings = json.loads((folder / "colours.findings.json").read_text())
    assert any(f["section"] == "against" for f in findings)
    rows = (folder / "colours.tables" / "images.csv").read_text().splitlines()
    assert len(rows) == 13
    assert (folder / "pass" / "state.npz").exists()
    assert main(arguments) == 0, "a finished pass is read again"


@pytest.mark.slow
def test_torchrun_writes_what_one_process_writes(folder):
    arguments = ["--batch-size", "2", "--masks", "masks"]
    assert main([*BASE, *arguments, "--out", "one.html"]) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", "29535", "-m", "captum_cnn_ext", *BASE, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = f"{Path(__file__).parents[1]}:{folder}"
    command += ["--out", "two.html"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("report: two.html") == 1
    one, two = ((folder / f"{name}.tables" / "images.csv").read_text() for name in ("one", "two"))
    assert one == two
    one, two = ((folder / f"{name}.findings.json").read_text() for name in ("one", "two"))
    assert one == two.replace("two.", "one.")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--data", "nowhere"], "there is no folder 'nowhere'"),
        (["--masks", "data/../net.py"], "there is no folder"),
        (["--labels", "table.csv"], "there is no file 'table.csv'"),
        (["--methods", "gradcam"], "--methods: is for photos (--images), not for --data"),
        (["--quick"], "--quick: is for photos"),
        (["--layer", "0,1"], "expected one layer"),
        (["--twin", "x.pt"], "needs --against"),
        (["--against", "x.pt"], "--against x.pt: weights: there is no file"),
        (["--data", "demo"], "--data demo: brings its own model"),
        (["--out", "audit.txt"], "ends in .html"),
    ],
)
def test_errors_are_one_line(folder, capsys, extra, message):
    assert main([*BASE, *extra]) == 2
    assert message in one_error_line(capsys)
    assert not list(folder.glob("*.html"))


def test_how_labels_were_read_is_said_at_once(folder, capsys):
    for name in ("red", "blue"):
        (folder / "data" / name).rename(folder / "data" / str(int(name == "red")))
    assert main([*BASE, "--no-tests"]) == 0
    said = capsys.readouterr()
    assert "note: Class folders are numbers, taken as the indices of the model's" in said.err
    assert "Class folders are numbers" in (folder / "audit.html").read_text()
    (folder / "names.txt").write_text("a\nb\nc\n")
    (folder / "data" / "1").rename(folder / "data" / "c")
    (folder / "data" / "0").rename(folder / "data" / "a")
    assert main([*BASE, "--class-names", "names.txt"]) == 2
    assert "--class-names: 3 names for a model with 2 outputs" in one_error_line(capsys)
    (folder / "names.txt").write_text("a\nz\n")
    assert main([*BASE, "--class-names", "names.txt"]) == 2
    assert one_error_line(capsys).startswith("captum-cnn-ext: error: --data: 'c' names no class")


def test_photos_take_no_labels(folder, capsys):
    assert main(["audit", "--model", "net.py:build", "--labels", "a.csv"]) == 2
    assert "--labels: is for a labelled data set; name one with --data" in one_error_line(capsys)
