"""What is saved beside the report: the record, the tables, images in a folder; hostile names."""

import csv
import hashlib
import io
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from reports import MEAN, STD, rows, small, small_images, tags_of
from torch import nn

from captum_cnn_ext.insights import Section, SectionContent, audit
from captum_cnn_ext.insights.report.blocks import Column, Table
from captum_cnn_ext.insights.report.result import csv_bytes
from captum_cnn_ext.models import LoadedModel

SCRIPT = "<script>document.title='hacked'</script>"
QUOTES = """"'><img src=x onerror="document.title='hacked'">"""
REVERSED = "safe\u202egnp.exe"
LONG = "a_name_without_any_end_" * 40
MATHS = "$\\frac{1$ and $x_{"
FORMULA = "=HYPERLINK(A1)"
HOSTILE = [SCRIPT, QUOTES, REVERSED, LONG, MATHS, FORMULA, "{{ 7*7 }}", "قطة"]


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture(scope="module")
def done(model):
    return audit(
        model,
        small_images(),
        layers=["stem.1", "block"],
        methods=["Saliency", "LayerHiResCam"],
        mean=MEAN,
        std=STD,
        seed=11,
        show_progress=False,
    )


def test_the_record_says_what_was_audited(done, model, tmp_path):
    record = json.loads(done.save(tmp_path / "a.html").manifest.read_text("utf-8"))
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} torch.float32 {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    assert record["model"]["weights_sha256"] == digest.hexdigest()
    assert record["model"]["parameters"] == sum(p.numel() for p in model.parameters())
    assert record["model"]["mean"] == pytest.approx(MEAN)
    assert record["seed"] == 11
    assert record["input_shape"] == [3, 16, 20]
    assert record["software"]["torch"] == torch.__version__
    assert {m["method"] for m in record["methods"]} >= {"Saliency", "LayerHiResCam", "DeconvNet"}
    assert [layer["name"] for layer in record["layers"]] == ["stem.1", "block"]
    assert [met["rectifiers"] for met in record["rule_coverage"]] == [{"Relu": 1}, {"Relu": 2}]
    assert [met["switches"] for met in record["rule_coverage"]] == [0, 1]
    numbers = {
        key: value
        for check in record["checks"]
        if check["section"] == "checks"
        for key, value in check["numbers"].items()
    }
    for name, place in (("Saliency", "input"), ("LayerHiResCam", "block")):
        label = name if place == "input" else f"{name} at {place}"
        expected = abs(done.arrays[f"checks/{place}/{name}"][-1].mean())
        assert numbers[label] == pytest.approx(float(expected), abs=1e-6)
    assert record["against"] is None
    assert [photo["explained_index"] for photo in record["photos"]] == list(
        done.arrays["explained_classes"]
    )


def test_another_weight_gives_another_fingerprint(done, model):
    other = small()
    with torch.no_grad():
        other.head.bias[0] += 1e-6
    again = audit(other, small_images(1), sections=["summary"], show_progress=False)
    same = audit(model, small_images(1), sections=["summary"], show_progress=False)
    hashes = [d.manifest["model"]["weights_sha256"] for d in (done, same, again)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_record_has_the_other_files_and_their_hashes(done, tmp_path):
    saved = done.save(tmp_path / "a.html", inline_limit=0)
    files = json.loads(saved.manifest.read_text("utf-8"))["files"]
    beside = {
        str(p.relative_to(tmp_path)): p
        for p in tmp_path.rglob("*")
        if p.is_file() and p != saved.manifest
    }
    assert set(files) == set(beside)
    for name, said in files.items():
        data = beside[name].read_bytes()
        assert said == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_tables_are_saved_as_csv_and_in_the_record(done, tmp_path):
    saved = done.save(tmp_path / "a.html")
    record = json.loads(saved.manifest.read_text("utf-8"))
    names = {"predictions", "layers", "methods", "checks", "times", "parameters", "photos"}
    assert {p.stem for p in saved.tables.iterdir()} == set(done.tables) == names | {"arrays"}
    for name, table in done.tables.items():
        text = (saved.tables / f"{name}.csv").read_text("utf-8-sig")
        found = list(csv.DictReader(io.StringIO(text)))
        expected = rows(table)
        assert record["tables"][name] == expected
        assert len(found) == len(expected)
        for one, two in zip(found, expected, strict=True):
            for title, value in two.items():
                if isinstance(value, (int, float)):
                    assert float(one[title]) == pytest.approx(value)
                else:
                    assert one[title].lstrip("'") == (value or "")


def test_predictions_are_the_networks(done, model):
    with torch.no_grad():
        outputs = model(small_images())
    found = rows(done.tables["predictions"])
    assert len(found) == 6
    for row in found:
        photo = int(row["photo"].split()[1]) - 1
        assert row["output"] == pytest.approx(float(outputs[photo, row["index"]]), rel=1e-5)
        assert row["probability"] == pytest.approx(
            float(outputs[photo].softmax(0)[row["index"]]), rel=1e-5
        )
        assert (row["rank"] == 1) == (row["index"] == int(outputs[photo].argmax()))
        assert row["explained"] == ("yes" if row["rank"] == 1 else "")


def test_spreadsheets_compute_nothing():
    table = Table("", [Column("name"), Column("n", number=True)],
                  [(FORMULA, -1.5), ("@x", None), ("a,\"b\"\n", 2)])  # fmt: skip
    text = csv_bytes(table).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(text))) == [
        ["name", "n"], ["'=HYPERLINK(A1)", "-1.5"], ["'@x", ""], ['a,"b"\n', "2"],
    ]  # fmt: skip


def test_tables_need_a_name_of_their_own(model):
    def build(report):
        report.tabulate("mine", "", [Column("a")], [("x",)])
        report.tabulate("mine", "", [Column("a")], [("x",)])
        return SectionContent([])

    def path(report):
        report.tabulate("../mine", "", [Column("a")], [("x",)])
        return SectionContent([])

    for maker, wrong in ((build, "'mine'"), (path, "'../mine'")):
        done = audit(model, small_images(1), sections=[Section("s", "S", maker)],
                     show_progress=False)  # fmt: skip
        assert f"name={wrong}" in str(done.problems[0])


def test_a_large_report_has_its_images_beside_it(done, tmp_path):
    whole = done.save(tmp_path / "a.html")
    size = whole.report.stat().st_size
    assert whole.images is None
    saved = done.save(tmp_path / "a.html", inline_limit=size - 1)
    assert saved.images == tmp_path / "a.images"
    page = saved.report.read_text("utf-8")
    sources = [a["src"] for tag, a in tags_of(page) if tag == "img"]
    assert len(sources) > 10
    assert {f"a.images/{p.name}" for p in saved.images.iterdir()} == set(sources)
    for source in sources:
        with Image.open(tmp_path / source) as image:
            image.load()
    assert saved.report.stat().st_size < size / 2
    again = done.save(tmp_path / "a.html", inline_limit=size)  # what is stale goes away
    assert again.images is None
    assert not (tmp_path / "a.images").exists()


def test_folders_of_somebody_else_are_left_alone(done, tmp_path):
    (tmp_path / "a.tables").mkdir()
    (tmp_path / "a.tables" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"'thesis.txt', which no report wrote"):
        done.save(tmp_path / "a.html")
    assert [p.name for p in tmp_path.rglob("*")] == ["a.tables", "thesis.txt"]


def test_a_save_that_fails_keeps_the_earlier_report_whole(done, tmp_path, monkeypatch):
    done.save(tmp_path / "a.html", inline_limit=0)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def fails(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        done.save(tmp_path / "a.html")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".")]


@pytest.fixture(scope="module")
def hostile():
    """Class names, layer names, file names, notes, title: all of them hostile."""
    network = nn.Sequential()
    network.add_module("<script>'\"", nn.Conv2d(3, 4, 3, padding=1))
    network.add_module("b" * 300, nn.ReLU())
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flat", nn.Flatten())
    network.add_module("head", nn.Linear(4, len(HOSTILE)))
    torch.manual_seed(0)
    nn.init.normal_(network.head.weight, std=20)
    pictures = {
        name: Image.fromarray(np.random.default_rng(n).integers(0, 255, (16, 16, 3), np.uint8))
        for n, name in enumerate(HOSTILE)
    }
    loaded = LoadedModel(
        network.eval(),
        lambda picture: torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255,
        HOSTILE, (0.0,) * 3, (1.0,) * 3, (16, 16), name=SCRIPT, weights=QUOTES, notes=(SCRIPT,),
    )  # fmt: skip
    return audit(
        loaded,
        pictures,
        layers=["b" * 300],
        methods=["Saliency", "LayerHiResCam"],
        title=REVERSED + QUOTES,
        show_progress=False,
    )


def test_hostile_names_are_text_everywhere(hostile, tmp_path):
    assert hostile.problems == ()
    page = hostile.to_html()
    tags = tags_of(page)
    assert sum(tag == "script" for tag, _ in tags) == 1
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert all(a["src"].startswith("data:image/webp") for tag, a in tags if tag == "img")
    assert "\u202e" not in page
    assert "safe[U+202E]gnp.exe" in page
    assert "قطة" in page
    assert "{{ 7*7 }}" in page
    assert LONG in page.replace("<wbr>", "")
    assert not any(LONG in text for text in (*hostile.overview.saw, hostile.overview.headline))
    saved = hostile.save(tmp_path / "a.html", inline_limit=0)
    record = json.loads(saved.manifest.read_text("utf-8"))
    assert {photo["name"] for photo in record["photos"]} == set(HOSTILE)  # machines get them whole
    text = (saved.tables / "photos.csv").read_text("utf-8-sig")
    assert "'=HYPERLINK(A1)" in [row["photo"] for row in csv.DictReader(io.StringIO(text))]


def test_no_folder_of_this_machine_is_in_any_file(tmp_path, model):
    secret = tmp_path / "secret"
    loaded = LoadedModel(
        model,
        lambda p: small_images(1)[0],
        name=str(secret / "net.py"),
        notes=(f"from {secret}/w",),
    )
    done = audit(loaded, small_images(1), command=f"run {secret}/x", notes=[f"see {secret}/y"],
                 class_names=[f"{secret}/cat", "b", "c"], show_progress=False,
                 sections=["summary", "structure", "attributions", "settings"])  # fmt: skip
    done.save(tmp_path / "a.html")
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.suffix != ".npz":
            assert "secret" not in file.read_text("utf-8"), file.name


def test_quick_takes_less_and_says_so(model):
    done = audit(model, small_images(), quick=True, show_progress=False)
    assert [section.key for section, _ in done.sections] == [
        "summary", "attributions", "structure", "settings",
    ]  # fmt: skip
    assert {k.split("/")[1] for k in done.arrays if k.startswith("attributions/")} == {
        "input", "block",
    }  # fmt: skip
    assert len(done.overview.unchecked) == 3
    named = audit(model, small_images(), quick=True, layers="stem.1", methods=["LayerHiResCam"],
                  sections=["attributions", "checks"], show_progress=False)  # fmt: skip
    assert [section.key for section, _ in named.sections] == ["attributions", "checks"]
    assert [k for k in named.arrays if k.startswith("attributions/")] == [
        "attributions/stem.1/LayerHiResCam"
    ]
