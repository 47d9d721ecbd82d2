"""Every example runs as a script, offline, and writes what its docstring says."""

import re
import runpy
from pathlib import Path

import pytest
from PIL import Image

FOLDER = Path(__file__).parent.parent / "examples"
GALLERY = runpy.run_path(str(FOLDER / "gallery.py"))
EXAMPLES = GALLERY["EXAMPLES"]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    docstring = runpy.run_path(str(path), run_name="__main__")["__doc__"]
    names = r"\w+\.(?:png|gif|svg|html|npz|(?:manifest|findings)\.json|tables)"
    promised = set(re.findall(names, docstring))
    assert {file.name for file in tmp_path.iterdir()} == promised
    for file in tmp_path.glob("*.png"):
        low, high = Image.open(file).convert("L").getextrema()
        assert high - low > 100, "an empty picture"
    assert promised or capsys.readouterr().out


def test_the_gallery_shows_every_example_as_it_is():
    assert (FOLDER / "README.md").read_text() == GALLERY["page"](), "run examples/gallery.py"
    pictures = {file.stem.split("-")[0] for file in (FOLDER / "pictures").iterdir()}
    assert pictures <= {path.stem for path in EXAMPLES}, "a picture without an example"
    for path in EXAMPLES:
        drawn = re.search(r"\w\.(?:png|gif|svg)", path.read_text())
        assert not drawn or path.stem in pictures, f"run examples/gallery.py {path.stem}"


def test_the_gallery_draws_an_example_anew(tmp_path, monkeypatch):
    page = GALLERY["draw"].__globals__
    monkeypatch.setitem(page, "PICTURES", tmp_path)
    example = tmp_path / "sub" / "small.py"
    example.parent.mkdir()
    example.write_text(
        "from PIL import Image\nImage.new('RGB', (1800, 90), 'red').save('small.png')\n"
    )
    (tmp_path / "small.gif").write_text("of an older version")
    GALLERY["draw"](example)
    (picture,) = page["pictures_of"](example)
    assert picture.name == "small.jpg"
    with Image.open(picture) as drawn:
        assert drawn.size == (900, 45)
