"""The command line: what it writes, its one-line errors, its exit codes."""

import argparse
import builtins
import csv
import io
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from captum_cnn_ext import __version__, cli
from captum_cnn_ext.cli import main
from captum_cnn_ext.cli.arguments import in_options
from captum_cnn_ext.insights import Section, SectionContent, register_section
from captum_cnn_ext.insights.sections import SECTIONS

NET = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                           nn.Flatten(), nn.Linear(4, 3))
    return layers, preprocess

def preprocess(picture):
    data = torch.frombuffer(bytearray(picture.resize((16, 16)).tobytes()), dtype=torch.uint8)
    return data.reshape(16, 16, 3).permute(2, 0, 1) / 255

def broken():
    raise RuntimeError("no network here")

class Raises(nn.Module):
    def forward(self, x):
        raise ZeroDivisionError("inside the model")

def raises():
    return Raises()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a user's model and photos, which is the current one."""
    (tmp_path / "net.py").write_text(NET)
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, color in [("red.png", "red"), ("green.jpg", "green"), ("blue.png", "blue")]:
        Image.new("RGB", (20, 18), color).save(photos / name)
    (tmp_path / "names.txt").write_text("cat\ndog\nbird\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


QUICK = ("audit", "--model", "net.py:build", "--images", "photos", "--no-progress")
QUICK = (*QUICK, "--sections", "summary,settings")


def one_error_line(capsys):
    """The error, if stderr has it as its only line and stdout nothing.

    That a preprocessing was guessed is said before the work, and may come first.
    """
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "note: no preprocessing was given" not in line]
    assert (out, len(lines)) == ("", 1), f"{out}\n{err}"
    assert lines[0].startswith("captum-cnn-ext: error: ")
    return lines[0]


# --- what works -------------------------------------------------------------------------------


def test_a_users_model_and_photos(folder, capsys):
    code = main([*QUICK, "--class-names", "names.txt", "--layer", "1", "--out", "my.html"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert "report: my.html (" in out
    assert "arrays: my.npz (" in out
    assert "3 photos in " in out
    page = (folder / "my.html").read_text(encoding="utf-8")
    assert "net.py:build (Sequential)" in page
    assert str(folder) not in page
    assert "--layer 1" in page
    with np.load(folder / "my.npz") as arrays:
        assert arrays["photo_names"].tolist() == ["blue.png", "green.jpg", "red.png"]
        assert set(arrays["explained_class_names"].tolist()) <= {"cat", "dog", "bird"}


def test_the_whole_report_of_a_users_model_with_progress(folder, capsys):
    arguments = ["audit", "--model", "net.py:build", "--images", "photos/red.png", "--target", "2"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "audit.html" in out
    assert "Occlusion" in err  # the steps of the progress bar
    with np.load("audit.npz") as arrays:
        assert arrays["explained_classes"].tolist() == [2]
        assert "attributions/1/LayerHiResCam" in arrays.files


def test_more_photos_than_allowed_are_left_out_and_it_is_said(folder, capsys):
    assert main([*QUICK, "--max-images", "2"]) == 0
    _, err = capsys.readouterr()
    assert "the first 2 of 3 pictures were used" in err
    assert "the first 2 of 3 pictures were used" in (folder / "audit.html").read_text()


def test_the_report_is_opened_where_asked(folder, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert main([*QUICK, "--open", "--out", "my.html"]) == 0
    assert opened == [(folder / "my.html").as_uri()]
    assert "--open" not in (folder / "my.html").read_text()


def test_quick_writes_a_short_report(folder, capsys):
    assert main([*QUICK[:-2], "--quick", "--max-images", "0", "--on-error", "skip"]) == 0
    out, _ = capsys.readouterr()
    assert "record: audit.manifest.json" in out
    assert "tables: audit.tables" in out
    record = json.loads((folder / "audit.manifest.json").read_text("utf-8"))
    assert record["sections"] == ["summary", "attributions", "structure", "settings"]
    assert record["command"] == (
        "captum-cnn-ext audit --model net.py:build --images photos --max-images 0 --quick"
    )
    assert str(folder) not in (folder / "audit.manifest.json").read_text("utf-8")


def test_against_a_checkpoint_and_against_another_model(folder, capsys):
    sys.path.insert(0, str(folder))
    try:
        import net
    finally:
        sys.path.remove(str(folder))
    state = net.build()[0].state_dict()
    state["4.bias"] = state["4.bias"] + torch.tensor([0.0, 9.0, 0.0])
    torch.save(state, folder / "later.pt")
    arguments = [*QUICK[:-1], "summary", "--layer", "1", "--methods", "LayerHiResCam"]
    assert main([*arguments, "--against", "later.pt"]) == 0
    capsys.readouterr()
    record = json.loads((folder / "audit.manifest.json").read_text("utf-8"))
    assert record["against"]["weights"] == "later.pt"
    assert record["against"]["weights_sha256"] != record["model"]["weights_sha256"]
    table = {row["tensor"]: row["largest change"] for row in record["tables"]["against_weights"]}
    assert {name for name, change in table.items() if change} == {"4.bias"}
    assert table["4.bias"] == pytest.approx(9)
    assert {row["the other"] for row in record["tables"]["against_predictions"]} == {"class 1"}
    assert "--against later.pt" in record["command"]

    assert main([*arguments, "--against", "torchvision:squeezenet1_1"]) == 0
    record = json.loads((folder / "audit.manifest.json").read_text("utf-8"))
    assert record["against"]["name"] == "torchvision:squeezenet1_1 (SqueezeNet)"
    assert len(record["tables"]["against_maps"]) == 3
    assert record["checks"][-1]["section"] == "against"
    wrong = [check["text"] for check in record["checks"] if check["verdict"] == "wrong"]
    assert any("The other model's weights are random" in text for text in wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "missing.pt"], "--against missing.pt: weights: there is no file missing.pt"),
        (["--against", "torchvision:resnet51"], "torchvision has no model 'resnet51'"),
        (["--sections", "atributions"], "--sections 'atributions'"),
        (["--sections", "summary,against"], "there is no second model to compare with"),
    ],
)
def test_what_cannot_be_compared_is_one_line(folder, capsys, arguments, message):
    assert main([*QUICK[:-2], *arguments]) == 2
    assert message in one_error_line(capsys)
    assert not list(folder.glob("audit*"))


def test_a_failed_section_gives_exit_code_1_and_its_traceback(folder, capsys):
    def build():
        raise RuntimeError("section is broken")

    before = list(SECTIONS)
    try:
        register_section(Section("broken", "Broken", build))
        code = main([*QUICK[:-1], "summary,broken"])
    finally:
        SECTIONS[:] = before
    out, err = capsys.readouterr()
    assert code == 1
    assert "report: audit.html" in out
    assert "Traceback" in err
    last = err.splitlines()[-1]
    assert last == (
        "captum-cnn-ext: the report is not complete: Broken: RuntimeError: section is broken"
    )
    assert "section is broken" in (folder / "audit.html").read_text()


@pytest.mark.parametrize("form", ["text", "markdown", "csv", "json"])
def test_structure(folder, capsys, form):
    assert main(["structure", "--model", "net.py:build", "--format", form]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    if form == "json":
        rows = json.loads(out)
        assert [row["type"] for row in rows][:2] == ["Conv2d", "ReLU"]
        assert rows[0]["parameters"] == 4 * 3 * 9 + 4
    elif form == "csv":
        rows = list(csv.DictReader(io.StringIO(out)))
        assert rows[0]["filters"] == "4"
    else:
        assert "Conv2d" in out
        assert "127 parameters" in out
        assert ("--layer for maps, the usual choice first: 1 (" in out) == (form == "text")


def test_structure_of_another_input_size(folder, capsys):
    assert main(["structure", "--model", "net.py:build", "--input-size", "3x32x24"]) == 0
    assert "3x32x24" in capsys.readouterr().out.replace("×", "x").replace(" ", "")


def test_version_and_help(capsys):
    for arguments, expected in [
        (["--version"], f"captum-cnn-ext {__version__}"),
        (["--help"], "examples:"),
        (["audit", "--help"], "--layer layer3,layer4"),
        (["structure", "--help"], "--input-size 3x128x128"),
    ]:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0
        assert expected in capsys.readouterr().out


def test_help_loads_nothing_heavy():
    code = (
        "import sys\ntry:\n    from captum_cnn_ext.cli import main; main(['audit', '--help'])\n"
        "except SystemExit:\n    pass\nprint(sorted({'torch', 'captum', 'matplotlib'} & "
        "set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_python_dash_m_is_the_same_program(tmp_path):
    command = [sys.executable, "-m", "captum_cnn_ext", "audit", "--sections", "nothing"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("captum-cnn-ext: error: --sections 'nothing'")


# --- unusable input ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model", "torchvision:resnet19"], "'resnet18'"),
        (["--model", "net.py:bild"], "'build'"),
        (["--model", "nett.py:build"], "nett.py"),
        (["--model", "no.such.module:build"], "no module"),
        (["--model", "net.py:broken"], "RuntimeError: no network here"),
        (["--model", "net.py:raises"], "ZeroDivisionError: inside the model"),
        (["--weights", "none.pt"], "none.pt"),
        (["--class-names", "nams.txt"], "names.txt"),
        (["--images", "photo"], "no file or folder photo; nearest: 'photos'"),
        (["--image", "photo"], "error: --image: there is no file or folder photo"),
        (["--images", "empty"], "no pictures in empty (it holds no files)"),
        (["--images", "photos", "broken.png", "--on-error", "raise"], "broken.png"),
        (["--layer", "0,9"], "--layer '9': Sequential has no such layer"),
        (["--layer", ","], "expected at least one layer"),
        (["--target", "3"], "--target 3"),
        (["--sections", "sumary"], "nearest: 'summary'"),
        (["--out", "report.pdf"], "ends in .html"),
        (["--out", "missing/report.html"], "does not exist"),
        (["--out", "photos"], "ends in .html"),
        (["--device", "nonsense"], "nonsense"),
        (["--max-images", "-1"], "argument --max-images: '-1': expected an integer of at least 0"),
        (
            ["--max-images", "\u0663"],
            "argument --max-images: '\u0663': expected an integer of at least 0",
        ),
        (["--seed", "x"], "--seed"),
        (["--colour", "blue"], "--colour"),
    ],
    ids=" ".join,
)
def test_unusable_input_gives_one_line_and_no_file(folder, capsys, arguments, expected):
    (folder / "empty").mkdir()
    (folder / "broken.png").write_bytes(b"no picture")
    before = sorted(folder.rglob("*"))
    assert main([*QUICK, *arguments]) == 2
    assert expected in one_error_line(capsys)
    left = [path for path in sorted(folder.rglob("*")) if "__pycache__" not in str(path)]
    assert left == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "COMMAND"),
        (["adit"], "adit"),
        (["structure", "--input-size", "3x0"], "expected 224, 224x224 or 3x224x224"),
        (["structure", "--model", "net.py:build", "--input-size", "5x8x8"], "5"),
        (["structure", "--format", "html"], "html"),
        (["cam", "--model", "net.py:build", "--layer", "9"], "it has '0', '1', '2', '3', '4'."),
        (["cam", "--model", "net.py:build", "--layer", "33"], "captum-cnn-ext structure lists all"),
        (["deconv", "--imagse", "x"], "no option --imagse; nearest: '--image', '--images'"),
        (["deconv", "--imagse", "x"], "(see captum-cnn-ext deconv --help)"),
    ],
    ids=" ".join,
)
def test_unusable_commands_give_one_line(folder, capsys, arguments, expected):
    assert main(arguments) == 2
    assert expected in one_error_line(capsys)


def test_a_missing_extra_is_named(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(list(QUICK)) == 2
    assert "pip install -e '.[report]' in the repository" in one_error_line(capsys)


def test_a_folder_that_cannot_be_written_to_is_an_error_before_the_work(
    folder, capsys, monkeypatch
):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", refused)
    assert main(list(QUICK)) == 2
    assert "cannot write into the folder" in one_error_line(capsys)


def test_a_full_disk_is_one_line_and_leaves_no_file(folder, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    before = sorted(folder.iterdir())
    assert main(list(QUICK)) == 2
    assert "No space left on device" in one_error_line(capsys)
    assert [p for p in sorted(folder.iterdir()) if p.name != "__pycache__"] == before


def test_ctrl_c_gives_130_and_no_file(folder, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    before = sorted(folder.iterdir())
    assert main(list(QUICK)) == 130
    assert "interrupted, nothing written" in capsys.readouterr().err
    assert [p for p in sorted(folder.iterdir()) if p.name != "__pycache__"] == before


def test_ctrl_c_that_python_drops_still_ends_the_audit(folder, capsys):
    class Unlucky:
        def __del__(self):  # Python prints and drops what is raised in here
            signal.raise_signal(signal.SIGINT)

    def build():
        Unlucky()
        return SectionContent([])

    before = list(SECTIONS), signal.getsignal(signal.SIGINT)
    dropped = []
    hook, sys.unraisablehook = sys.unraisablehook, dropped.append
    try:
        register_section(Section("unlucky", "Unlucky", build))
        code = main([*QUICK[:-1], "unlucky,summary"])
    finally:
        SECTIONS[:] = before[0]
        sys.unraisablehook = hook
    assert len(dropped) == 1
    assert code == 130
    assert signal.getsignal(signal.SIGINT) is before[1]
    assert not list(folder.glob("audit*"))


def test_a_bug_keeps_its_traceback(folder, monkeypatch):
    def bug(*_, **__):
        raise builtins.ZeroDivisionError("our own mistake")

    monkeypatch.setattr(cli.arguments, "read_photos", bug)
    with pytest.raises(ZeroDivisionError, match="our own mistake"):
        main(list(QUICK))


def test_sections_registered_elsewhere_can_be_chosen(folder, capsys):
    before = list(SECTIONS)
    try:
        register_section(Section("mine", "My own", lambda: SectionContent([])))
        assert main([*QUICK[:-1], "mine"]) == 0
    finally:
        SECTIONS[:] = before
    assert "My own" in (folder / "audit.html").read_text()


@pytest.mark.parametrize(
    ("message", "given", "shown"),
    [
        ("layers='a': no", {"layer": "a"}, "--layer 'a': no"),
        ("photos: there is no file", {"images": ["a"]}, "--images: there is no file"),
        ("photos: there is no file", {"image": "a"}, "--image: there is no file"),
        ("class_names=3: no", {"class_names": "a"}, "--class-names 3: no"),
        ("channels[1]=9: no", {"channels": "1,9"}, "--channels[1] 9: no"),
        ("inputs: no", {"images": ["a"]}, "inputs: no"),
        ("Model: no", {"model": "a"}, "Model: no"),
    ],
)
def test_messages_name_what_was_typed(message, given, shown):
    assert in_options(message, argparse.Namespace(**given)) == shown


def test_a_dream_of_a_grey_network(tmp_path, monkeypatch, capsys):
    (tmp_path / "grey.py").write_text(
        "from torch import nn\n"
        "def grey():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),\n"
        "        nn.Flatten(), nn.Linear(4, 3)).eval()\n"
    )
    monkeypatch.chdir(tmp_path)
    command = ["dream", "--model", "grey.py:grey", "--layer", "1", "--steps", "2", "--octaves"]
    assert main([*command, "1", "--longest", "40", "--no-progress"]) == 0
    with Image.open("dream.png") as dream:
        assert dream.size == (40, 27)
