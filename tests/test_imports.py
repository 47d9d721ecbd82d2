"""Imports point one way; only the engine touches models; importing stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "captum_cnn_ext"
FILES = sorted(PACKAGE.rglob("*.py"))
FAMILIES = {"attr", "synthesis", "evidence", "metrics"}
FACES = {"insights", "cli", "bench", "__main__"}
# who may import whom: faces use everything public, families only the engine
ALLOWED = {
    "_engine": {"_engine"},
    "attr": {"_engine", "attr"},  # and, in one file, synthesis
    "synthesis": {"_engine", "synthesis"},
    "evidence": {"_engine", "evidence", "photos"},
    "metrics": {"_engine", "metrics"},
    "render": {"render"},
    "targets": {"_engine", "targets"},
    "models": {"_engine", "models", "photos"},
    "photos": {"_engine", "photos"},
    "methods": {"methods", "_engine"},  # classes by their paths
    "insights": {"attr", "evidence", "metrics", "synthesis", "render", "models", "photos",
                 "methods", "insights", "targets", "_engine"},
    "cli": {"insights", "attr", "evidence", "metrics", "models", "photos", "render", "cli",
            "synthesis", "bench", "methods", "targets", "_engine"},
    "bench": {"methods", "metrics", "models", "photos", "render", "bench", "_engine"},
    "testing": {"testing"},
    "__main__": {"cli"},
    "__init__": {"insights", "_engine"},  # when `explain` is asked for; the progress bar
    "errors": set(),
    "_numbers": set(),
    "_intervals": set(),
    "_renamed": set(),
    "_notebook": set(),
}  # fmt: skip
# these import nothing heavy
EVERYONE = {"errors", "_numbers", "_intervals", "_renamed", "_notebook"}
ALSO = {"attr/pixels/activation_maximization.py": {"synthesis"}}  # one face on the other family
TOUCHES_MODEL = {
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
    "register_hook",
    "train",
    "TorchDispatchMode",
    "TorchFunctionMode",
}


def part(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    for name in imports(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] == "captum_cnn_ext" and len(parts) > 1 and parts[1] != "__version__":
            allowed = (
                ALLOWED[part(path)] | EVERYONE | ALSO.get(str(path.relative_to(PACKAGE)), set())
            )
            assert parts[1] in allowed, f"{path.name} imports {name}"
        if parts[0] == "captum" and any(p.startswith("_") for p in parts):
            assert path.name == "captum_compat.py", f"{path.name} imports {name}, private to Captum"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_engine_touches_models(path):
    if part(path) == "_engine":
        return
    names = {
        node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
        for node in ast.walk(ast.parse(path.read_text()))
    }
    assert not names & TOUCHES_MODEL


def printed_by(code):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    return run.stdout


@pytest.mark.parametrize("module", ["", *(f".{name}" for name in sorted(EVERYONE))])
def test_importing_the_package_and_its_errors_loads_nothing_heavy(module):
    heavy = {"torch", "captum", "torchvision", "matplotlib.pyplot", "gradio", "jinja2", "PIL"}
    loaded = printed_by(f"import sys, captum_cnn_ext{module}; print(*sorted(sys.modules))").split()
    assert not set(loaded) & (heavy | {"numpy", "matplotlib"})


# in an order in which the first to load a module is the one that says so
ROOMS = [
    *("render", "attr", "evidence", "metrics", "methods", "targets", "synthesis", "models"),
    *("insights", "insights.explorer.views", "bench", "testing", "cli", "cli.explore"),
]


@pytest.mark.slow
def test_faces_and_families_load_extras_only_when_used():
    lazy = {"torchvision", "gradio", "jinja2", "timm", "skimage", "safetensors"}
    code = f"""
import importlib, sys
for room in {ROOMS}:
    before = set(sys.modules)
    importlib.import_module(f"captum_cnn_ext.{{room}}")
    print(room, *sorted(set(sys.modules) - before))
"""
    lines = [line.split() for line in printed_by(code).splitlines()]
    assert [line[0] for line in lines] == ROOMS
    for room, *loaded in lines:
        assert not lazy & set(loaded), f"by {room}"
    assert "matplotlib.pyplot" not in lines[0]


# a file a command, a family of methods: lists in which a reader looks up a name
CATALOGUES = {"cli", "attr/cams", "attr/pixels"}
FOLDERS = sorted({path.parent for path in FILES if path.parent != PACKAGE})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_folder_can_be_read_at_a_glance(folder):
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    most = 16 if str(folder.relative_to(PACKAGE)) in CATALOGUES else 12
    assert len(modules) <= most, "group them, by what a reader would look for"
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), "say what it answers"


def test_no_file_is_longer_than_can_be_read_at_once():
    lengths = {str(path.relative_to(PACKAGE)): path.read_text().count("\n") for path in FILES}
    assert {name: length for name, length in lengths.items() if length > 320} == {}
