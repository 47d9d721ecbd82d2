"""Files and folders that appear together, whole or not at all, also when Ctrl-C comes."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

from captum_cnn_ext._engine.undoing import Undo

Content = bytes | Callable[[BinaryIO], object]
"""What is in a file, or what writes it into the open file."""


def write_whole(path: Path, content: Content) -> None:
    """Write one file: :func:`write_together`."""
    write_together({path: content})


def write_together(
    files: Mapping[Path, Content], folders: Mapping[Path, Mapping[str, bytes]] | None = None
) -> None:
    """Write everything under temporary names, then rename it.

    Until the first renaming any failure leaves all as it was; an interrupt after it is heard when
    everything has its name. ``folders`` are replaced as a whole, with files by name; one without
    files is removed.
    """
    folders = folders or {}
    new = {target: beside(target) for target in (*files, *folders)}
    old = {target: beside(target) for target in folders}
    cleaning, renaming = Undo(), Undo()
    with cleaning, cleaning:
        cleaning.later(partial(_remove, (*new.values(), *old.values())))
        for target, named in folders.items():
            new[target].mkdir()
            for name, data in named.items():
                _write_new(new[target] / name, data)
        for target, content in files.items():
            _write_new(new[target], content)
        with renaming, renaming:  # what is noted here is done when the block ends, come what may
            renaming.later(partial(_rename, files, folders, new, old))


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


# each of these may be run again after it was interrupted


def _rename(
    files: Iterable[Path],
    folders: Mapping[Path, Mapping[str, bytes]],
    new: Mapping[Path, Path],
    old: Mapping[Path, Path],
) -> None:
    for target, named in folders.items():
        if target.is_dir() and (new[target].is_dir() or not named):
            target.rename(old[target])
        try:
            if named and new[target].is_dir():
                new[target].rename(target)
        finally:
            if named and old[target].is_dir() and not target.exists():
                old[target].rename(target)  # the new one did not arrive
    for target in files:
        if new[target].exists():
            new[target].replace(target)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
