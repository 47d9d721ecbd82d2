"""Files and folders that appear together, whole or not at all, also when Ctrl-C comes."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from captum_cnn_ext._engine.running.undo import Undo
from captum_cnn_ext.errors import ArgumentError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS_PER_INCH = 150
PICTURES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")

Content = bytes | Callable[[BinaryIO], object]
"""What is in a file, or what writes it into the open file."""


def write_whole(path: Path, content: Content) -> None:
    """Write one file: :func:`write_together`."""
    write_together({path: content})


def write_together(
    files: Mapping[Path, Content], folders: Mapping[Path, Mapping[str, bytes]] | None = None
) -> None:
    """Write everything under temporary names, then rename it.

    After an error everything is as before. So it is after an interrupt, until the renaming begins;
    one that comes later is heard when everything has its name. ``folders`` are replaced as a
    whole, with files by name; one without files is removed.
    """
    folders = folders or {}
    swap = _Swap([*files, *folders], {target for target in folders if not folders[target]})
    cleaning, renaming = Undo(), Undo()
    with cleaning, cleaning:
        cleaning.later(swap.clear)
        for target, named in folders.items():
            if named:
                swap.new[target].mkdir()
            for name, data in named.items():
                _write_new(swap.new[target] / name, data)
        for target, content in files.items():
            _write_new(swap.new[target], content)
        with renaming, renaming:  # what is noted here is done when the block ends, come what may
            renaming.later(swap)


def writable_path(
    path: str | os.PathLike[str], suffixes: tuple[str, ...], given: str | None = None
) -> Path:
    """The path, if its name ends in one of the suffixes and it can be written.

    ``given`` is the argument as messages name it; None is ``out='path'``.

    Raises:
        ArgumentError: another ending, a folder, or a folder that is missing or not writable.
    """
    target, given = Path(path), given or f"out={str(path)!r}"
    if target.suffix.lower() not in suffixes:
        raise ArgumentError(f"{given}: expected a file name that ends in {' or '.join(suffixes)}")
    folder = target.parent
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ArgumentError(f"{given}: the folder {str(folder)!r} {what}; make it first")
    if target.is_dir():
        raise ArgumentError(f"{given}: it is a folder")
    try:
        trial = beside(target)
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise ArgumentError(
            f"{given}: cannot write into the folder {str(folder)!r} ({error.strerror})"
        ) from error
    return target


def write_figure(figure: Figure, path: Path) -> None:
    """Save a picture, whole or not at all, in the format that its name says."""
    kind = path.suffix.lower().removeprefix(".")
    write_whole(path, lambda file: figure.savefig(file, format=kind, dpi=PIXELS_PER_INCH))


def beside(target: Path) -> Path:
    """A name in the same folder that nobody has."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


def _write_new(path: Path, content: Content) -> None:
    """A file that was not there, on the disk when this returns."""
    with open(path, "xb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())


class _Swap:
    """New things for old ones: all of them, or after an error none.

    Every method may be run again after an interrupt, and goes on where it was.
    """

    def __init__(self, targets: list[Path], unwanted: set[Path]) -> None:
        self.new = {target: beside(target) for target in targets}
        self._old = {target: beside(target) for target in targets}
        self._unwanted = unwanted
        self._error: OSError | None = None
        self._lost: set[Path] = set()  # what could not be put back

    def __call__(self) -> None:
        if self._error is None:
            try:
                self._forth()
            except OSError as error:
                self._error = error
        if self._error is not None:
            self._back()
            raise self._error

    def clear(self) -> None:
        """Remove what has a temporary name, but nothing that is all there is of a target."""
        for target, new in self.new.items():
            _remove(new)
            if target not in self._lost:
                _remove(self._old[target])

    def _forth(self) -> None:
        for target, new in self.new.items():
            old = self._old[target]
            if target in self._unwanted or new.is_dir():
                if target.is_dir():
                    target.rename(old)
                if target not in self._unwanted:
                    new.rename(target)
            elif new.exists():
                if len(self.new) > 1 and target.exists() and not old.exists():
                    _keep(target, old)  # one file alone has nothing to be taken back with
                new.replace(target)

    def _back(self) -> None:
        for target, new in self.new.items():
            old = self._old[target]
            try:
                if target not in self._unwanted and not new.exists():
                    target.rename(new)
                if old.exists() and not target.exists():
                    old.rename(target)
            except OSError:
                self._lost.add(target)
        if self._lost:
            held = ", ".join(f"{self._old[target]} is {target.name}" for target in self._lost)
            raise OSError(f"what was there cannot be put back: {held}") from self._error


def _keep(file: Path, copy: Path) -> None:
    """The file under a second name; a copy of it where the disk has no links."""
    try:
        copy.hardlink_to(file)
    except OSError:
        shutil.copy2(file, copy)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
