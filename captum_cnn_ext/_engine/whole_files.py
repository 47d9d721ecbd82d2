"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

Writer = Callable[[BinaryIO], object]


def beside(target: Path) -> Path:
    """A name in the same folder that nobody has."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


def write_new(path: Path, write: Writer) -> None:
    """A file that was not there, on the disk when this returns."""
    with open(path, "xb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, content: bytes | Writer) -> None:
    """Write a file under a temporary name, then rename it."""
    partial = beside(path)
    try:
        write_new(partial, content if callable(content) else lambda file: file.write(content))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
