"""Every example runs as a script, offline, and writes what its docstring says."""

import re
import runpy
from pathlib import Path

import pytest
from PIL import Image
from program_process import do_less_of_the_same

FOLDER = Path(__file__).parent.parent / "examples"
GALLERY = runpy.run_path(str(FOLDER / "gallery.py"))
EXAMPLES = GALLERY["EXAMPLES"]

pytestmark = pytest.mark.slow


BY_ITSELF = "audit_a_data_set"  # as long as it takes: what it finds is in test_dataset_audit.py


def run_as_it_is(path, folder, monkeypatch, capsys):
    """What an example's names are after it ran in an empty folder."""
    monkeypatch.chdir(folder)
    found = runpy.run_path(str(path), run_name="__main__")
    names = r"\w+\.(?:png|gif|svg|html|npz|(?:manifest|findings)\.json|tables)"
    promised = set(re.findall(names, found["__doc__"]))
    assert {file.name for file in folder.iterdir()} == promised
    for file in folder.glob("*.png"):
        low, high = Image.open(file).convert("L").getextrema()
        assert high - low > 100, "an empty picture"
    assert promised or capsys.readouterr().out
    return found


@pytest.mark.parametrize("path", [p for p in EXAMPLES if p.stem != BY_ITSELF], ids=lambda p: p.stem)
def test_example(path, tmp_path, monkeypatch, capsys):
    do_less_of_the_same(monkeypatch.setattr, few_photos=False)
    run_as_it_is(path, tmp_path, monkeypatch, capsys)


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
