"""Folders as people have them: class folders, broken files, the same name twice."""

import json

import numpy as np
import pytest
from PIL import Image
from test_cli import NET

from captum_cnn_ext import cli, insights
from captum_cnn_ext.insights import audit
from captum_cnn_ext.insights.explorer import serving
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import load_photos

GOOD = ["cats/1.jpg", "cats/deep/3.png", "dogs/1.jpg", "top.png"]
BROKEN = ["cats/2.jpg", "dogs/text.jpg"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """photos/ with four pictures in class folders, one cut short, one that is a text."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(GOOD):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (18 + number, 20, 3), np.uint8)).save(file)
    data = (tmp_path / "photos" / "cats" / "1.jpg").read_bytes()
    (tmp_path / "photos" / "cats" / "2.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "photos" / "dogs" / "text.jpg").write_text("no picture")
    (tmp_path / "photos" / "notes.txt").write_text("no picture either")
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def test_folders_are_entered_and_what_cannot_be_read_is_listed(folder):
    found = load_photos(folder, on_error="skip")
    assert list(found) == GOOD
    assert [photo.size[1] for photo in found.values()] == [18, 19, 20, 21]
    assert list(found.skipped) == BROKEN
    assert found.found == 6
    words = found.skipped_words()
    assert words.startswith("2 of 6 cannot be read as pictures")
    assert "cats/2.jpg (Truncated File Read)" in words
    assert "dogs/text.jpg (cannot identify image file" in words
    assert repr(found) == "PhotoFiles(4 of 6 pictures, 2 that cannot be read)"
    with pytest.raises(ValueError, match=r"photos: 2 of 6 cannot be read .*2\.jpg.*text\.jpg"):
        load_photos(folder)


def test_only_the_first_pictures_are_read(folder):
    first = load_photos(folder, max_images=1)
    assert (list(first), first.found, first.skipped) == (GOOD[:1], 6, {})
    two = load_photos(folder, on_error="skip", max_images=2)
    assert (list(two), list(two.skipped)) == (GOOD[:2], BROKEN[:1])


def test_one_name_in_two_folders_that_are_given(folder):
    found = load_photos([folder / "cats", folder / "dogs"], on_error="skip")
    assert list(found) == ["1.jpg", "1 (2).jpg", "deep/3.png"]
    assert [photo.size[1] for photo in found.values()] == [18, 20, 19]


def test_nothing_that_can_be_read_says_what_was_found(folder):
    with pytest.raises(ValueError, match=r"1 of 1 cannot be read .*text\.jpg \(cannot identify"):
        load_photos(folder / "dogs" / "text.jpg", on_error="skip")
    for name in GOOD + BROKEN:
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"no pictures in .*photos \(it holds 1 \.txt\)"):
        load_photos(folder, on_error="skip")
    with pytest.raises(ValueError, match="on_error='ignore': expected 'raise' or 'skip'"):
        load_photos(folder, on_error="ignore")


COMMANDS = {
    "audit": ["--sections", "summary"],
    "cam": ["--methods", "Saliency"],
    "bench": ["--methods", "gaussian", "--variants", "1", "--steps", "2", "--layer", "0"],
    "deconv": ["--layer", "0"],
    "top-patches": ["--layer", "0", "--k", "1"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_skips_and_lists(folder, command, capsys):
    arguments = [command, "--model", "net.py:build", "--images", "photos", *COMMANDS[command]]
    arguments += [] if command == "deconv" else ["--no-progress"]
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    said = out if command == "top-patches" else err
    assert ("2 images skipped" if command == "top-patches" else "2 of 6 cannot be read") in said
    assert said.lower().count("truncated") == 1
    assert said.count("cannot identify image file") == 1
    assert cli.main([*arguments, "--on-error", "raise"]) == 2
    err = capsys.readouterr().err
    assert "truncated" in err.lower()
    assert err.count("\n") == 1


def test_the_explorer_shows_what_can_be_read_and_its_code_reads_it(folder, monkeypatch, capsys):
    class Page:
        url = ""

        def wait(self):
            raise KeyboardInterrupt

    given = {}

    def explore(model, photos, **more):
        given.update(more, photos=photos)
        return Page()

    monkeypatch.setattr(insights, "explore", explore)
    monkeypatch.setattr(serving, "require_gradio", lambda: None)
    assert cli.main(["explore", "--model", "net.py:build", "--images", "photos"]) == 0
    assert list(given["photos"]) == GOOD
    assert "2 of 6 cannot be read" in capsys.readouterr().err
    for name, source in given["sources"].items():
        assert eval(source, {"load_photos": load_photos}) == given["photos"][name]


def test_the_page_says_which_pictures_were_not_checked(folder):
    photos = load_photos(folder, on_error="skip")
    done = audit(load_model("net.py:build"), photos, sections=["summary"], show_progress=False)
    (text,) = (t for t in done.overview.unchecked if t.startswith("Pictures"))
    assert text == f"Pictures: {photos.skipped_words()}."
    saved = done.save("a.html")
    assert "cats/2.jpg" in saved.report.read_text()
    assert text in json.loads(saved.manifest.read_text())["not_checked"]


def test_numbers_in_names_are_sorted_as_numbers(tmp_path):
    names = ["p1.png", "p2.png", "p10.png", "p10b.png", "q.png"]
    for name in reversed(names):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    assert list(load_photos(tmp_path)) == names
    assert list(load_photos(tmp_path, max_images=3)) == names[:3]
