"""Ctrl-C at any line of what writes files: the old files or the new ones, whole, and no others.

``LINES=300`` interrupts at more lines of the long ones.
"""

import os
import random
import shutil
import warnings
from pathlib import Path

import faults
import pytest
import reports
import torch
from matplotlib.figure import Figure
from torch import nn

from captum_cnn_ext._engine.whole_files import write_figure, write_together, write_whole
from captum_cnn_ext.bench import Results
from captum_cnn_ext.evidence import layer_table, top_patches
from captum_cnn_ext.insights import audit
from captum_cnn_ext.render import save_film

MOST = int(os.environ.get("LINES", "30"))  # of a writer, a random sample of so many lines
NET = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()

pytestmark = pytest.mark.slow


def image(version, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(version))


def write_one(version):
    return lambda folder: write_whole(folder / "a.bin", bytes([version]) * 9)


def write_several(version):
    files = {"a.bin": bytes([version]), "b.bin": lambda file: file.write(bytes([version, 7]))}
    tables = {"kept": {"x.csv": bytes([version])}, "new": {}, "gone": {"y.csv": b"1"}}
    if version:
        tables |= {"new": {"z.csv": b"2"}, "gone": {}}

    def write(folder):
        write_together(
            {folder / name: content for name, content in files.items()},
            {folder / name: content for name, content in tables.items()},
        )

    return write


def write_top_patches(version):
    found = top_patches(NET, "1", [*image(version, 5, 3, 9, 9)], k=2)
    return lambda folder: found.save(folder / "top.npz")


def write_table(version):
    table = layer_table(nn.Sequential(nn.Conv2d(3, 1 + version, 3)).eval(), (3, 8, 8))
    return lambda folder: table.to_csv(folder / "layers.csv")


def write_results(version):
    results = Results({"version": version})
    return lambda folder: results.save(folder / "bench.json")


def write_audit(version):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = audit(
            reports.small(seed=version),
            reports.small_images(1),
            sections=["summary", "structure"],
            show_progress=False,
        )
    limit = 0 if version else 10**9  # the second has its images in a folder
    return lambda folder: done.save(folder / "audit.html", inline_limit=limit)


def write_film(version):
    frames = [image(version + n, 3, 8, 8) for n in range(3)]
    return lambda folder: save_film(frames, folder / "film.gif")


def write_panel(version):
    figure = Figure(figsize=(0.2, 0.2))
    figure.set_facecolor("red" if version else "blue")
    return lambda folder: write_figure(figure, folder / "panel.png")


WRITERS = [
    write_one,
    write_several,
    write_top_patches,
    write_table,
    write_results,
    write_audit,
    write_film,
    write_panel,
]


def content(folder):
    """Every file below, hidden ones too, and every folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def folders(tmp_path):
    """Three empty ones: the old state, the new one, and a place to try."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    return tmp_path / "old", tmp_path / "new", tmp_path / "trial"


def lines_of(write, old, trial):
    """The events of a whole call that replaces the old files."""
    shutil.copytree(old, trial)
    counted = faults.Counted()
    with faults.at_lines(counted):
        write(trial)
    shutil.rmtree(trial)
    return counted.count


@pytest.mark.parametrize("writer", WRITERS, ids=lambda w: w.__name__.removeprefix("write_"))
def test_an_interrupt_leaves_the_old_or_the_new_files(writer, folders):
    old, new, trial = folders
    first, second = writer(0), writer(1)
    first(old)
    shutil.copytree(old, new, dirs_exist_ok=True)
    second(new)
    before, after = content(old), content(new)
    assert before != after
    count = lines_of(second, old, trial)
    every = writer in (write_one, write_several)
    lines = range(count) if every or count <= MOST else random.Random(1).sample(range(count), MOST)
    reached = set()
    for k in lines:
        shutil.copytree(old, trial)
        with pytest.raises(KeyboardInterrupt), faults.at_lines(faults.Counted(k)):
            second(trial)
        found = content(trial)
        assert found in (before, after), f"interrupted at line {k}: {sorted(found)}"
        reached.add(found == after)
        shutil.rmtree(trial)
    assert reached == {False, True} or not every


def full(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("failing", ["fsync", "mkdir"])
def test_a_full_disk_leaves_the_old_files(failing, folders, monkeypatch):
    old, _, _ = folders
    write_several(0)(old)
    before = content(old)

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        write_several(1)(old)
    assert content(old) == before


class Renames:
    """Every way in which a path is renamed; the k-th call fails, or all that ``refused`` names."""

    def __init__(self, monkeypatch, k=None, refused=lambda target: False):
        self.count, self.k, self.refused = 0, k, refused
        for name in ("rename", "replace"):
            whole = getattr(Path, name)
            monkeypatch.setattr(Path, name, lambda path, to, whole=whole: self.go(whole, path, to))

    def go(self, whole, path, target):
        self.count += 1
        if self.count - 1 == self.k or self.refused(target):
            raise PermissionError(13, "Permission denied")
        return whole(path, target)


@pytest.mark.parametrize("links", [True, False])
def test_after_any_failing_rename_everything_is_as_before(links, folders, monkeypatch):
    old, new, trial = folders
    write_several(0)(old)
    if not links:
        monkeypatch.setattr(os, "link", lambda *_, **__: full())
    with monkeypatch.context() as patch:
        counted = Renames(patch)
        shutil.copytree(old, new, dirs_exist_ok=True)
        write_several(1)(new)
    assert counted.count == 6
    for k in range(counted.count):
        shutil.copytree(old, trial)
        with monkeypatch.context() as patch:
            Renames(patch, k)
            with pytest.raises(PermissionError):
                write_several(1)(trial)
        assert content(trial) == content(old), k
        shutil.rmtree(trial)


def test_what_cannot_be_put_back_is_kept_and_named(folders, monkeypatch):
    old, _, _ = folders
    write_several(0)(old)
    with monkeypatch.context() as patch:
        Renames(patch, refused=lambda target: target.name == "kept")
        with pytest.raises(OSError, match=r"cannot be put back: .*\.kept\..*\.part is kept"):
            write_several(1)(old)
    (hidden,) = [path for path in old.iterdir() if path.name.startswith(".")]
    assert (hidden / "x.csv").read_bytes() == b"\x00"


def test_a_file_whose_name_a_folder_has(tmp_path):
    (tmp_path / "top.json").mkdir()
    with pytest.raises(OSError, match=r"top\.json"):
        write_top_patches(1)(tmp_path)
    assert os.listdir(tmp_path) == ["top.json"]


def test_an_interrupted_ranking_goes_on_from_its_checkpoint(tmp_path):
    images = [*image(3, 12, 3, 9, 9)]
    place = tmp_path / "job.npz"
    batches = []

    def job():
        with NET[0].register_forward_hook(lambda *_: batches.append(1)):
            return top_patches(
                NET, "1", images, k=2, batch_size=3, checkpoint=place, checkpoint_every=1
            )

    whole, counted = top_patches(NET, "1", images, k=2, batch_size=3), faults.Counted()
    with faults.at_lines(counted):
        job()
    resumed, whole_job = 0, len(batches)
    for k in random.Random(0).sample(range(counted.count), MOST):
        place.unlink(missing_ok=True)
        with pytest.raises(KeyboardInterrupt), faults.at_lines(faults.Counted(k)):
            job()
        assert os.listdir(tmp_path) in ([], ["job.npz"])
        there = place.exists()
        resumed += there
        batches.clear()
        found = job()
        assert len(batches) < whole_job if there else len(batches) == whole_job
        for name in ("values", "images", "boxes"):
            torch.testing.assert_close(getattr(found, name), getattr(whole, name), equal_nan=True)
    assert resumed
