"""What is promised about the package as a product: its surface, its imports, its built forms."""

import importlib
import inspect
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SURFACE = Path(__file__).parent / "public_surface.txt"
MODULES = ["attr", "bench", "bench.truths", "evidence", "insights",
           "methods", "metrics", "models", "photos", "render", "synthesis",
           "targets", "testing"]  # fmt: skip


def signature(value):
    """Names, kinds and defaults; no annotations, and nothing that has an address."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return ""
    texts = []
    star = False
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and not star:
            texts.append("*")
        star = star or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        mark = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        default = ""
        if p.default is not p.empty:
            plain = isinstance(p.default, (int, float, str, tuple, bool, type(None)))
            default = f"={p.default!r}" if plain else "=..."
        texts.append(f"{mark}{p.name}{default}")
    return f"({', '.join(texts)})"


def surface():
    """Every public name with its signature, and the public methods that the package defines."""
    lines = []
    for module in MODULES:
        found = importlib.import_module(f"captum_cnn_ext.{module}")
        names = getattr(found, "__all__", None) or [
            n
            for n, v in vars(found).items()
            if getattr(v, "__module__", "") == found.__name__ and not n.startswith("_")
        ]
        for name in sorted(names):
            value = getattr(found, name)
            lines.append(f"{module}.{name}{signature(value) if callable(value) else ''}")
            if inspect.isclass(value):
                for method in sorted(dir(value)):
                    member = inspect.getattr_static(value, method)
                    own = getattr(inspect.unwrap(getattr(value, method)), "__module__", "") or ""
                    if not method.startswith("_") and own.startswith("captum_cnn_ext"):
                        shown = (
                            ""
                            if isinstance(member, property)
                            else signature(getattr(value, method))
                        )
                        lines.append(f"{module}.{name}.{method}{shown}")
    return lines


def test_the_surface_is_the_written_one():
    """Changed on purpose? ``python tests/test_surface_and_wheel.py`` writes it; read its diff.

    A line that goes away, or an argument that goes or changes its default, needs the
    deprecation rule of examples/changes.md; a line or a keyword that is new does not.
    """
    written = [line for line in SURFACE.read_text().splitlines() if line and line[0] != "#"]
    found = surface()
    gone = sorted(set(written) - set(found))
    new = sorted(set(found) - set(written))
    assert (gone, new) == ([], []), "gone or changed, and new"


def modules_of(statement):
    code = f"import sys; {statement}; print(*sorted(sys.modules))"
    run = [sys.executable, "-W", "error", "-c", code]
    return set(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.slow
def test_importing_costs_no_more_modules_than_captum():
    """Half of what ``import captum.attr`` loads may come on top; it was 1.5 of the time."""
    ours, theirs = modules_of("import captum_cnn_ext"), modules_of("import captum.attr")
    assert len(ours) < 0.5 * len(theirs)
    everything = modules_of("import captum_cnn_ext.attr")
    assert len(everything) < 1.5 * len(theirs)


def test_versions_are_said_once():
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()
    version = importlib.import_module("captum_cnn_ext").__version__
    changes = (ROOT / "examples" / "changes.md").read_text()
    assert f"## {version}" in changes, "the changes name it"


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path):
    builder = pytest.importorskip("hatchling.builders.wheel")
    (path,) = builder.WheelBuilder(str(ROOT)).build(directory=str(tmp_path))
    names = zipfile.ZipFile(path).namelist()
    assert {n.split("/")[0].split("-")[0] for n in names} == {"captum_cnn_ext"}
    assert "captum_cnn_ext/py.typed" in names
    ours = ("/tests/", "/test_")  # captum_cnn_ext.testing is for users
    assert not [n for n in names if any(t in f"/{n}" for t in ours)]
    assert not [n for n in names if n.endswith((".pyc", ".pt"))]
    assert any(n.endswith(".html") or ".j2" in n for n in names), "the report's templates"


@pytest.mark.slow
def test_the_wheel_of_the_source_distribution_is_the_same(tmp_path):
    """Who builds from the archive, as distributions do, gets the same files."""
    wheels = pytest.importorskip("hatchling.builders.wheel").WheelBuilder
    archives = importlib.import_module("hatchling.builders.sdist").SdistBuilder
    (archive,) = archives(str(ROOT)).build(directory=str(tmp_path))
    with tarfile.open(archive) as packed:
        assert not [n for n in packed.getnames() if n.endswith((".pyc", ".pt", ".pth"))]
        packed.extractall(tmp_path / "unpacked", filter="data")
    (root,) = (tmp_path / "unpacked").iterdir()
    assert {"README.md", "LICENSE", "tests", "examples"} <= {f.name for f in root.iterdir()}
    found = []
    for place in (ROOT, root):
        (wheel,) = wheels(str(place)).build(directory=str(tmp_path / place.name))
        with zipfile.ZipFile(wheel) as packed:
            found.append(
                {i.filename: i.CRC for i in packed.infolist() if "RECORD" not in i.filename}
            )
    assert found[0] == found[1]


if __name__ == "__main__":
    head = [
        "# The public names and their arguments. tests/test_surface_and_wheel.py compares them; to",
        "# write this file anew: python tests/test_surface_and_wheel.py",
    ]
    SURFACE.write_text("\n".join([*head, *surface()]) + "\n")
