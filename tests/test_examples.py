"""Every example runs as a script, offline, and writes what its docstring says."""

import re
import runpy
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    docstring = runpy.run_path(str(path), run_name="__main__")["__doc__"]
    promised = set(re.findall(r"[\w]+\.(?:png|gif|html|npz)", docstring))
    assert {file.name for file in tmp_path.iterdir()} == promised
    for file in tmp_path.glob("*.png"):
        low, high = Image.open(file).convert("L").getextrema()
        assert high - low > 100, "an empty picture"
    assert promised or capsys.readouterr().out
