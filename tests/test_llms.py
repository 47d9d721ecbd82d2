"""The summary for coding assistants: short, and every line of its code runs."""

import re
from pathlib import Path

import pytest

import captum_cnn_ext

SUMMARY = Path(captum_cnn_ext.__file__).with_name("llms.md")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # as for a user
def test_every_line_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = SUMMARY.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    names = {}
    exec(compile(code, str(SUMMARY), "exec"), names)
    files = {"map.png", "overlay.png", "both.png", "audit.html"}
    assert files <= {path.name for path in tmp_path.iterdir()}
    assert names["several"].shape[:2] == (1, 2) or len(names["several"]) == 2
    for name in re.findall(r"`(captum_cnn_ext\.[\w.]+|insights\.\w+)`", text):
        parts = name.removeprefix("captum_cnn_ext.").split(".")
        module = __import__(f"captum_cnn_ext.{parts[0]}", fromlist=[parts[-1]])
        assert hasattr(module, parts[-1]), name
