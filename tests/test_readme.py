"""The README is true: its Python runs from top to bottom, its commands are commands."""

import ast
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from program_process import started

from captum_cnn_ext import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
METHODS = (ROOT / "examples" / "choose_a_method.md").read_text()
PHOTOS = ROOT / "examples" / "photos"
PAGES = [ROOT / "README.md", ROOT / "captum_cnn_ext" / "README.md", *ROOT.glob("examples/*.md")]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.strip().splitlines()
]
OURS = [shlex.split(c)[1:] for c in COMMANDS if c.startswith("captum-cnn-ext ")]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The repository as a stranger gets it, without what belongs to this copy alone."""
    folder = tmp_path_factory.mktemp("clone") / "captum_cnn_ext"
    mine = shutil.ignore_patterns(".*cache*", "__pycache__", ".venv", ".git", "build", "tests")
    shutil.copytree(ROOT, folder, ignore=mine)
    return folder


@pytest.mark.slow
def test_python_blocks_run_one_after_the_other(clone, monkeypatch, capsys):
    monkeypatch.chdir(clone)
    assert len(PYTHON) >= 5
    namespace = {}
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), namespace)
    assert namespace["heat"].shape == (1, 1, 7, 7)
    said = capsys.readouterr().out
    assert said.startswith("espresso (95%). LayerHiResCam at layer _swish, which ends the last")
    assert "Check undecided" in said
    assert "_swish" in said
    for name in ("espresso.png", "heat.png", "audit.html"):
        assert (clone / name).stat().st_size > 10_000


def ours(words, clone):
    """Run a command of the program as it stands, in the clone; long loops end early."""
    said = clone / "said.txt"
    process = started(words, clone, said)
    try:
        if "explore" in words:  # a page: it is served until Ctrl-C
            wait_for(lambda: "the explorer is at" in said.read_text(), process, said)
        elif "--truth" in words:  # many minutes: it begins, keeps what it has, can be interrupted
            wait_for(lambda: any(clone.glob("truth.networks/*")), process, said)
        else:
            process.join(600)
            assert process.exitcode == 0, said.read_text()
            assert "Traceback" not in said.read_text()
            return
        os.kill(process.pid, signal.SIGINT)
        process.join(120)
        assert "Traceback" not in said.read_text()
        assert process.exitcode in (0, 130)
    finally:
        process.kill()


def wait_for(what, process, said):
    until = time.monotonic() + 300
    while not (said.exists() and what()):
        assert process.is_alive(), said.read_text()
        assert time.monotonic() < until
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_works_as_it_is_written(command, clone):
    for part in command.split(" && "):
        words = shlex.split(part.removeprefix(".venv/bin/"))
        if words[0] == "captum-cnn-ext":
            ours(words[1:], clone)
        elif words[:2] == ["pip", "install"]:  # what is installed here already
            extras = re.fullmatch(r"\.\[([\w,]+)\]", words[-1])[1].split(",")
            assert words[2] == "-e"
            project = (clone / "pyproject.toml").read_text()
            assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras)
        elif words[0] == "pytest":
            chosen = [word for word in words[1:] if word not in ("-n", "auto")]
            run = [sys.executable, "-m", "pytest", "--collect-only", "-q", *chosen]
            run += ["tests/browser", "tests/test_names.py"]  # as good as all of them, and faster
            done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout
        elif words[0] == "sphinx-build":
            assert words[1:] == ["-c", "examples/pages", ".", "build/docs"]
            assert (clone / "examples" / "pages" / "conf.py").exists()
        else:
            assert words in (
                ["python", "-m", "venv", ".venv"],
                ["source", ".venv/bin/activate"],
                ["python", "-m", "webbrowser", "-t", "build/docs/index.html"],
            )


def test_the_two_lines_of_a_fresh_machine():
    audit, test = (line for line in COMMANDS if line.startswith("python -m venv"))
    assert audit == (
        "python -m venv .venv && .venv/bin/pip install -e '.[demo]' && "
        ".venv/bin/captum-cnn-ext audit"
    )
    assert test == (
        "python -m venv .venv && .venv/bin/pip install -e '.[test]' && "
        ".venv/bin/pytest -n auto -m 'not browser'"
    )
    gate = (ROOT / ".ci" / "run").read_text()
    for part in test.replace("install -e", "install -q -e").split(" && "):
        assert part in gate, ".ci/run runs the README's command"


@pytest.mark.parametrize("arguments", OURS, ids=" ".join)
def test_commands_are_understood(arguments):
    cli._parser().parse_args(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_that_are_linked_exist(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_guide_is_in_the_navigation_of_the_built_pages():
    assigned = {
        node.targets[0].id: node.value
        for node in ast.parse((ROOT / "examples" / "pages" / "conf.py").read_text()).body
        if isinstance(node, ast.Assign)
    }
    guides = {f"{guide}.md" for guide in ast.literal_eval(assigned["GUIDES"])}
    written = {page.relative_to(ROOT).as_posix() for page in ROOT.glob("examples/*.md")}
    assert guides == written | {"benchmarks/README.md"}


def test_every_public_class_is_in_the_table():
    from captum_cnn_ext import attr

    missing = [name for name in attr.__all__ if f"`{name}`" not in METHODS]
    assert not missing


def test_papers_in_the_table_are_those_of_the_methods():
    from captum_cnn_ext.insights import known_methods

    known, read = known_methods(), 0
    for row in re.findall(r"^\| .* \|$", METHODS, re.MULTILINE):
        papers = " ".join(known[n].paper for n in re.findall(r"`(\w+)`", row) if n in known)
        for number in re.findall(r"\d{4}\.\d{5}|\d{4}\.\d{4}", row) if papers else ():
            assert number in papers, row
            read += 1
    assert read > 20


def test_the_map_of_the_house_names_what_is_there():
    package = ROOT / "captum_cnn_ext"
    named = re.findall(r"`([\w/]+(?:\.\w+|/))`", (package / "README.md").read_text())
    rooms = [folder for folder in package.rglob("*") if folder.is_dir()]
    missing = [
        name
        for name in named
        if not name.startswith(("tests/", "benchmarks/", "examples/"))
        and not any((folder / name).exists() for folder in (package, *rooms))
    ]
    assert not missing
    folders = {p.parent.relative_to(package).parts[0] for p in package.glob("*/__init__.py")}
    text = (package / "README.md").read_text()
    assert all(f"`{folder}" in text or folder == "_engine" for folder in folders)


def test_the_page_about_detectors_runs_as_written(tmp_path, monkeypatch):
    """With random weights of a light network, which the page cannot have: it loads trained ones."""
    import test_targets_on_networks as networks
    from torchvision.models import detection

    from captum_cnn_ext.photos import demo_photos

    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    detector = networks.small(detection, name, **networks.TWO_STAGES, min_size=64, max_size=96)
    monkeypatch.setattr(detection, "fasterrcnn_resnet50_fpn", lambda weights: detector)
    monkeypatch.chdir(tmp_path)
    demo_photos()["coffee"].resize((96, 64)).save("street.jpg")
    page = (ROOT / "examples" / "explain_a_detector.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 5
    names = {}
    for block in blocks:
        layer = block.replace('"backbone.body.layer4"', '"backbone.body.13"')
        exec(compile(layer, "explain_a_detector.md", "exec"), names)
    assert (tmp_path / "box.png").exists()
    assert len(list((tmp_path / "overlays").iterdir())) == 1
    (box,) = names["found"].comparison.boxes
    assert names["found"].prediction.startswith("the box of ")
    assert names["box"].shape == (1, 4)
    assert names["heat"].shape == (1, 1, 10, 10)
    assert names["torch"].equal(names["same"], names["heat"])
    assert len(box) == 4
    for line in re.findall(r"```bash\n(.*?)```", page, re.DOTALL)[0].strip().splitlines():
        cli._parser().parse_args(shlex.split(line)[1:])


def test_the_sample_photos_are_the_packaged_ones():
    from captum_cnn_ext.photos import demo_photos, load_photos

    shipped, packaged = load_photos([str(PHOTOS)]), demo_photos()
    names = [Path(name).stem for name in shipped]
    assert names == sorted(packaged)
    for name, photo in zip(names, shipped.values(), strict=True):
        assert photo.size == packaged[name].size
        assert photo.tobytes() == packaged[name].tobytes()
