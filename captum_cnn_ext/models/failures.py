"""Error texts of this part: what was asked, what there is, what to install."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from captum_cnn_ext.errors import install, nearest, nearest_file

FORMS = (
    "demo, torchvision:NAME, timm:NAME, package.module:FACTORY or path/to/file.py:FACTORY "
    "(a function without arguments that returns the model)"
)


def run_users(call: Callable[[], Any], spec: str, what: str = "its code") -> Any:
    """Run the user's code; what it raises becomes one line that names the spec."""
    try:
        return call()
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(
            f"model {spec!r}: {what} raised {type(error).__name__}: {error}"
        ) from error


def nearest_spec(spec: str) -> str:
    from torchvision import models

    options = ["demo", *(f"torchvision:{name}" for name in models.list_models())]
    return nearest(spec, options)


def no_such(file: Path, suffixes: Iterable[str]) -> str:
    if not file.parent.is_dir():
        return f"there is no folder {file.parent} (asked for {file.name})"
    names = [other.name for other in file.parent.iterdir() if other.suffix in tuple(suffixes)]
    return f"there is no file {file}{nearest_file(file.name, names)}"


def not_installed(what: str, extra: str) -> ImportError:
    return ImportError(f"{what} needs a package that is not installed: {install(extra)}")
