"""``captum-cnn-ext top-patches``: what it writes, and its one-line errors."""

import pytest
from PIL import Image
from test_cli import NET, one_error_line

from captum_cnn_ext.cli import main
from captum_cnn_ext.evidence import TopPatches


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "photos").mkdir()
    for name, color in [("red.png", "red"), ("green.jpg", "green"), ("blue.png", "blue")]:
        Image.new("RGB", (20, 18), color).save(tmp_path / "photos" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


BASE = ("top-patches", "--model", "net.py:build", "--images", "photos", "--no-progress")


def test_writes_result_and_picture(folder, capsys):
    (folder / "photos" / "broken.png").write_bytes(b"no")
    arguments = [*BASE, "--layer", "1", "--k", "2", "--picture", "top.png", "--on-error", "skip"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "top 2 of 4 channels of 1 over 3 images" in out
    assert "skipped image 1: UnidentifiedImageError" in out  # blue, broken, green, red
    top = TopPatches.load(folder / "top_patches.npz")
    assert set(top.names.values()) <= {"blue.png", "green.jpg", "red.png"}
    with Image.open(folder / "top.png") as picture:
        assert picture.width > 100


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--layer", "9"], "no such layer"),
        (["--layer", "1", "--channels", "a"], "--channels 'a'"),
        (["--layer", "1", "--channels", "7"], "has 4 channels"),
        (["--layer", "1", "--out", "top.json"], "ends in .npz"),
        (
            ["--layer", "1", "--picture", "top.bmp"],
            "--picture top.bmp: expected a file name that ends in .png",
        ),
        (["--layer", "1", "--images", "nowhere"], "expected a folder"),
    ],
)
def test_errors_are_one_line(folder, capsys, extra, message):
    before = sorted(p.name for p in folder.iterdir())
    assert main([*BASE, *extra]) == 2
    assert message in one_error_line(capsys)
    after = sorted(p.name for p in folder.iterdir() if p.name != "__pycache__")
    assert after == before
