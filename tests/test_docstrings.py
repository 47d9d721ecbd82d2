"""Every example in a docstring runs as written."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import captum_cnn_ext

MODULES = [
    module.name
    for module in pkgutil.walk_packages(captum_cnn_ext.__path__, "captum_cnn_ext.")
    if not module.name.endswith("__main__")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name.endswith("partners.lightning"):  # its class is a subclass of Lightning's
        pytest.importorskip("lightning")
    module = importlib.import_module(name)
    # each example brings its own imports, as a reader who copies it must
    failures, _ = doctest.testmod(module, globs={}, optionflags=doctest.ELLIPSIS)
    assert failures == 0


def test_the_api_pages_hold_every_public_package():
    folder = Path(__file__).parent.parent / "examples" / "pages"
    pages = {path.stem for path in folder.glob("*.rst")}
    package = Path(captum_cnn_ext.__file__).parent
    public = {path.parent.name for path in package.glob("[a-z]*/__init__.py")} - {"cli"}
    assert pages == public
