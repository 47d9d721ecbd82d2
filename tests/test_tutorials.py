"""The tutorials run from a clone as they stand, and their pictures are in them."""

import json
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "examples/notebooks").glob("*.ipynb"))
sys.path.insert(0, str(Path(__file__).parent.parent / "examples/notebooks"))


def outputs(book):
    return [output for cell in book.cells for output in cell.get("outputs", ())]


def pictures(book):
    return sum("image/png" in output.get("data", {}) for output in outputs(book))


def test_there_are_six():
    assert [path.name[0] for path in NOTEBOOKS] == list("123456")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_can_be_read_as_it_is(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert path.stat().st_size < 400_000
    assert pictures(book) >= 1
    assert all(cell.execution_count for cell in book.cells if cell.cell_type == "code")
    assert not [o for o in outputs(book) if o.output_type == "error" or o.get("name") == "stderr"]
    said = json.dumps(outputs(book))
    assert not any(place in said for place in ("/home/", "/root/", "/tmp/", "site-packages"))
    links = [word.split(")")[0] for cell in book.cells for word in cell.source.split("](")[1:]]
    assert all((path.parent / link).exists() for link in links if link.endswith(".ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_as_many_pictures(path):
    from execute import executed

    done = executed(path)
    assert pictures(done) == pictures(nbformat.read(path, as_version=4))
