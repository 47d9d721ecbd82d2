"""Pictures, films, the command line and the report's section."""

import gc
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from digits import trained
from PIL import Image
from test_cli import folder  # noqa: F401  (a fixture)

from captum_cnn_ext.cli import main
from captum_cnn_ext.insights import Panels, Text, audit
from captum_cnn_ext.insights.wording import percent
from captum_cnn_ext.render import save_film, show_images


def test_images_in_a_grid():
    images = torch.rand(5, 3, 8, 12)
    figure, axes = show_images(images, list("abcde"), title="five", note="small")
    assert axes.shape == (2, 3)
    assert [cell.get_title() for cell in axes.flat[:5]] == list("abcde")
    assert not axes[1, 2].get_visible()
    drawn = torch.from_numpy(axes[1, 0].images[0].get_array())
    torch.testing.assert_close(drawn, images[3].permute(1, 2, 0))
    assert figure.get_suptitle() == "five"
    assert show_images(torch.rand(1, 4, 4))[1].shape == (1, 1)
    with pytest.raises(ValueError, match="titles: got 1 for 5 images"):
        show_images(images, ["a"])


@pytest.mark.parametrize("name", ["film.gif", "film.webp", "film.png"])
def test_a_film_holds_every_frame_and_rests_on_the_last(name, tmp_path):
    frames = [torch.full((2, 3, 8, 8), level) for level in (0.1, 0.5, 0.9)]
    path = save_film(frames, tmp_path / name, milliseconds=50)
    with Image.open(path) as film:
        assert film.n_frames == 3
        assert film.size == (16, 8)
        for place, level in enumerate((0.1, 0.5, 0.9)):
            film.seek(place)
            assert abs(film.convert("L").getpixel((3, 3)) / 255 - level) < 0.03
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.filterwarnings(  # imageio-ffmpeg closes its pipes when it is collected
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_a_film_for_players(tmp_path):
    """H.264 is lossy, and takes even sides only."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    frames = [torch.full((3, 31, 33), level) for level in (0.1, 0.5, 0.9)]
    path = save_film(frames, tmp_path / "film.mp4", milliseconds=50)
    film = ffmpeg.read_frames(str(path))
    about = next(film)
    shown = [np.frombuffer(frame, np.uint8).mean() / 255 for frame in film]
    del film
    gc.collect()
    assert (about["size"], about["fps"], about["codec"]) == ((34, 32), 20, "h264")
    assert shown == pytest.approx([0.1, 0.5, *[0.9] * 10], abs=0.03)
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_a_film_for_players_needs_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ImportError, match=r"pip install -e '.\[film\]' in the repository"):
        save_film([torch.rand(3, 8, 8)], tmp_path / "film.mp4")
    assert not list(tmp_path.iterdir())


def test_films_that_cannot_be_are_named(tmp_path):
    frame = torch.rand(3, 8, 8)
    for frames, name, message in (
        ([frame], "film.avi", r"'film.avi' ends with '.avi'; expected \('.gif', "),
        ([], "film.gif", r"frames: got shapes \[\]"),
        ([frame, frame[:, 1:]], "film.gif", r"got shapes \[\(3, 7, 8\), \(3, 8, 8\)\]"),
    ):
        with pytest.raises(ValueError, match=message):
            save_film(frames, tmp_path / name)
    assert not list(tmp_path.iterdir())


MODEL = ("--model", "net.py:build", "--no-progress")


def test_synthesize_classes_with_a_film(folder, capsys):  # noqa: F811
    arguments = ("--target", "0,2", "--steps", "3", "--size", "16", "--film", "how.gif")
    assert main(["synthesize", *MODEL, *arguments, "--class-names", "names.txt"]) == 0
    cat, bird, *files = capsys.readouterr().out.splitlines()
    assert cat.startswith("cat: ")
    assert bird.startswith("bird: ")
    assert files == ["film: how.gif", "picture: synthesis.png"]
    with Image.open("synthesis.png") as picture, Image.open("how.gif") as film:
        assert picture.width > 100
        assert film.n_frames == 4


def test_synthesize_a_class_over_the_others_by_default(folder):  # noqa: F811
    options = ("--target", "1", "--steps", "3", "--size", "16")
    for name, margin in (
        ("default", ()),
        ("half", ("--margin", "0.5")),
        ("own", ("--margin", "0")),
    ):
        assert main(["synthesize", *MODEL, *options, *margin, "--out", f"{name}.png"]) == 0
    default, half, own = (Path(f"{name}.png").read_bytes() for name in ("default", "half", "own"))
    assert default == half != own


DIGITS = """
from torchvision import transforms
from digits import trained

def build():
    steps = [transforms.Resize(28), transforms.Grayscale(), transforms.ToTensor()]
    return trained(), transforms.Compose(steps)
"""


def test_synthesize_says_what_the_network_sees_and_at_which_size(folder, capsys, monkeypatch):  # noqa: F811
    """What one step makes of noise the network does not know; what 20 do, it does."""
    Path("written.py").write_text(DIGITS)
    drawn = []
    monkeypatch.setattr(
        "captum_cnn_ext.render.show_images",
        lambda images, titles, **more: (
            drawn.append((images, titles)) or show_images(images, titles)
        ),
    )
    model = ("--model", "written.py:build", "--no-progress", "--recipe", "chollet")
    for steps, known in ("20", True), ("1", False):
        options = ("--target", "3,7", "--steps", steps, "--size", "28")
        assert main(["synthesize", *model, *options]) == 0
        (images, titles), text = drawn[-1], capsys.readouterr()
        with torch.no_grad():
            sees = trained()(images).softmax(1)
        assert text.out.splitlines() == [*titles, "picture: synthesis.png"]
        for title, row, label in zip(titles, sees, (3, 7), strict=True):
            most = int(row.argmax())
            other = "" if most == label else f", seen as class {most} ({percent(float(row[most]))})"
            assert title == f"class {label}: {percent(float(row[label]))}{other}"
        assert ("does not recognise" in text.err) is not known
        assert "have 224" not in text.err
    assert "1 of 2 images as what was asked for" in text.err or "2 of 2 images" in text.err

    monkeypatch.setattr(
        "captum_cnn_ext.synthesis.maximize", lambda *rest, **more: pytest.fail(str(rest[2]))
    )
    with pytest.raises(pytest.fail.Exception, match=r"\(224, 224\)"):
        main(["synthesize", *model, "--target", "3"])
    assert "the images have 224 × 224 pixels, because" in capsys.readouterr().err


def test_synthesize_channels_and_a_gallery(folder, capsys):  # noqa: F811
    options = ("--layer", "0", "--steps", "2", "--size", "16")
    assert main(["synthesize", *MODEL, *options, "--channels", "1,3", "--out", "two.jpg"]) == 0
    assert main(["synthesize", *MODEL, *options, "--best", "3"]) == 0
    assert {"two.jpg", "synthesis.png"} < {p.name for p in folder.iterdir()}


def test_dream(folder, capsys):  # noqa: F811
    options = ("--image", "photos/red.png", "--layer", "0", "--steps", "2", "--out", "d.png")
    assert main(["dream", *MODEL, *options]) == 0
    with Image.open("d.png") as picture:
        assert picture.size == (20, 18)
    assert main(["dream", *MODEL, "--image", "photos/red.png", "--steps", "1"]) == 0
    assert re.search(r"layer: \d", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["synthesize"], "expected either --target with classes, such as zebra,espresso"),
        (["synthesize", "--target", "1", "--layer", "0"], "expected either --target with classes"),
        (["synthesize", "--target", "1", "--channels", "0"], "--channels: expected --layer"),
        (
            ["synthesize", "--target", "one"],
            "--target 'one': the names of the classes are not known",
        ),
        (
            ["synthesize", "--target", ","],
            "--target ',': expected classes by their numbers or names",
        ),
        (["synthesize", "--target", "7", "--steps", "1", "--size", "16"], "--target 7: the model"),
        (
            ["synthesize", "--target", "1", "--margin", "2"],
            "--margin 2.0: expected a finite number",
        ),
        (["synthesize", "--layer", "9"], "--layer '9': Sequential has no such layer"),
        (["synthesize", "--layer", "0", "--film", "f.gif"], "a gallery has no film"),
        (["synthesize", "--target", "1", "--recipe", "lucyd"], "nearest: 'lucid'"),
        (["synthesize", "--target", "1", "--out", "a.bmp"], "--out a.bmp: expected a file name"),
        (["synthesize", "--target", "1", "--out", "no/a.png"], "the folder 'no' does not exist"),
        (
            ["synthesize", "--target", "1", "--film", "a.avi", "--steps", "1", "--size", "16"],
            "--film a.avi: expected a name that ends in one of",
        ),
        (["dream", "--image", "none.png"], "there is no file or folder none.png"),
        (["dream", "--image", "photos/red.png", "--layer", "x"], "--layer 'x'"),
        (
            ["dream", "--image", "photos/red.png", "--layer", "0", "--octaves", "0"],
            "--octaves: '0': expected an integer of at least 1",
        ),
        (
            ["dream", "--image", "photos/red.png", "--longest", "0"],
            "--longest: '0': expected an integer",
        ),
    ],
)
def test_wrong_arguments_give_one_line_and_no_file(folder, capsys, arguments, message):  # noqa: F811
    before = sorted(folder.iterdir())
    model = () if "--model" in arguments else MODEL
    assert main([arguments[0], *model, *arguments[1:]]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    kept = [p for p in sorted(folder.iterdir()) if p.name != "__pycache__"]
    assert kept == [p for p in before if p.name != "__pycache__"]


def test_the_reports_section(demo, monkeypatch):
    from captum_cnn_ext.insights.sections.units import synthesis
    from captum_cnn_ext.photos import demo_photos

    monkeypatch.setattr(synthesis, "CLASS_STEPS", 3)
    monkeypatch.setattr(synthesis, "CHANNEL_STEPS", 2)
    photos = {"coffee": demo_photos()["coffee"]}
    options = {"sections": ["synthesis"], "layers": ["_blocks.2"], "show_progress": False}
    done = audit(demo, photos, **options)
    assert not done.problems
    ((_, content),) = done.sections
    words, panels = content.blocks
    assert isinstance(panels, Panels)
    assert "The class is the one explained for coffee" in words.text
    titles = [picture.title for picture in panels.pictures]
    assert titles[0].startswith("espresso: ")
    assert titles[1].startswith("_blocks.2, channel ")
    assert len(titles) == 2
    again = audit(demo, photos, **options)
    assert again.to_html().count("_blocks.2, channel ") == done.to_html().count(
        "_blocks.2, channel "
    )


def test_the_reports_section_says_why_nothing_was_drawn():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(5, 3, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ).eval()
    done = audit(model, torch.rand(1, 5, 8, 8), sections=["synthesis"], show_progress=False)
    ((_, content),) = done.sections
    assert isinstance(content.blocks[0], Text)
    assert "no pictures of one or three channels" in content.blocks[0].text
