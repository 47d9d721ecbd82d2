"""Twelve letters that tell values apart: of tensors, and of the code that made a result."""

import ast
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable
from linecache import getlines
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from captum_cnn_ext.methods import known_methods

PACKAGE = Path(__file__).parents[2]
HERE = Path(__file__).parent
# what a score depends on besides its task: methods, metrics, and the loop that calls them
COMPUTING = ("_engine", "attr", "methods", "metrics", "bench/run.py", "bench/methods.py")
# what reads results: a change of it changes no score
READING = ("__init__.py", "fingerprints.py", "ranks.py", "table.py", "trust.py")


def fingerprint(*tensors: Tensor) -> str:
    """Of images, or of a network's parameters."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def code_fingerprint(files: Iterable[Path], *more: object) -> str:
    """Of what the files do: comments, docstrings, imports and the file that it is in count not."""
    found = sorted({one for file in set(files) for one in _statements(_text(file))})
    return hashlib.sha256("\n".join([*found, *map(repr, more)]).encode()).hexdigest()[:12]


def _text(file: Path) -> bytes:
    if file.exists():
        return file.read_bytes()
    return "".join(getlines(str(file))).encode()  # a notebook's cell is a file only for linecache


@functools.cache
def _statements(text: bytes) -> tuple[str, ...]:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [one for one in body if not _says_nothing(one)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return tuple(ast.unparse(one) for one in tree.body)


def _says_nothing(statement: ast.stmt) -> bool:
    alone = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return alone or isinstance(statement, ast.Import | ast.ImportFrom)


def files_of(function: Callable[..., Any]) -> set[Path]:
    """Where a function is written, and the tasks whose pictures it takes."""
    try:
        file = Path(inspect.getfile(inspect.unwrap(function)))
    except TypeError:  # an object that can be called
        file = Path(inspect.getfile(type(function)))
    name = getattr(inspect.unwrap(function), "__module__", "")
    used = vars(sys.modules[name]).values() if name in sys.modules else ()
    files = {Path(m.__file__ or "") for m in used if isinstance(m, ModuleType) and _is_task(m)}
    return {file, *files}


def _is_task(module: ModuleType) -> bool:
    return module.__name__.startswith(__package__ or "") and hasattr(module, "TASK")


def result_code(trials: Callable[..., Any], method: Callable[..., Any]) -> str:
    """Of everything that a method's scores on a task depend on."""
    return code_fingerprint((files_of(trials) | files_of(method)) - _computing(), _package())


@functools.cache
def _package() -> str:
    """Of what all scores depend on. Of the registry: how a method is called; words count not."""
    calls = [
        (k.name, k.at, k.path, k.noisy, k.absolute, dict(k.creation), k.settings)
        for k in known_methods().values()
    ]
    return code_fingerprint(_computing(), calls)


@functools.cache
def _computing() -> frozenset[Path]:
    parts = [PACKAGE / part for part in COMPUTING]
    found = {f for part in parts for f in ([part] if part.suffix else part.rglob("*.py"))}
    found |= {file for file in HERE.glob("*.py") if file.name not in READING}
    return frozenset(found)
