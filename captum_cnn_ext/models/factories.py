"""Models that the user's own code builds: package.module:FACTORY and path/to/file.py:FACTORY."""

import contextlib
import dataclasses
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from captum_cnn_ext.errors import nearest
from captum_cnn_ext.models.failures import FORMS, nearest_spec, no_such, run_users
from captum_cnn_ext.models.guessed import assumed
from captum_cnn_ext.models.loaded import LoadedModel, measured
from captum_cnn_ext.models.untrained import UNTRAINED
from captum_cnn_ext.models.weights import load_into, read_tensors, weights_file


def from_factory(spec: str, weights: str | None) -> LoadedModel:
    origin, _, attribute = spec.rpartition(":")
    if not origin or not attribute.isidentifier():
        hint = f"; name the function: {spec}:FACTORY" if spec.endswith(".py") else ""
        raise ValueError(f"model {spec!r}: expected {FORMS}{hint}{nearest_spec(spec)}")
    is_file = origin.endswith(".py")
    module = _import_file(Path(origin), spec) if is_file else _import(origin, spec)
    if not hasattr(module, attribute):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise ValueError(f"model {spec!r}: there is no {attribute!r}{nearest(attribute, names)}")
    factory = getattr(module, attribute)
    if isinstance(factory, nn.Module):
        made: Any = factory
    elif callable(factory):
        with _neighbours_importable(Path(origin)) if is_file else contextlib.nullcontext():
            made = run_users(factory, spec)
    else:
        raise TypeError(f"model {spec!r}: expected a function, got {type(factory).__name__}")
    name = f"{Path(origin).name}:{attribute}" if is_file else spec
    kept = "as the factory returned them"
    if isinstance(made, LoadedModel):
        loaded = dataclasses.replace(made, name=made.name or name, weights=made.weights or kept)
    elif isinstance(made, nn.Module):
        loaded = dataclasses.replace(assumed(made), name=name, weights=kept)
    elif (
        isinstance(made, tuple)
        and len(made) == 2
        and isinstance(made[0], nn.Module)
        and callable(made[1])
    ):
        loaded = measured(LoadedModel(*made, name=name, weights=kept))
    else:
        raise TypeError(
            f"model {spec!r}: expected the factory to return a torch.nn.Module, "
            f"(module, preprocess) or a LoadedModel, got {type(made).__name__}"
        )
    if weights is not None:
        file = weights_file(weights)
        load_into(loaded.model, read_tensors(file), file.name)
        notes = tuple(note for note in loaded.notes if note != UNTRAINED)  # is judged again
        loaded = dataclasses.replace(loaded, weights=file.name, notes=notes)
    return loaded


def _import(origin: str, spec: str) -> ModuleType:
    try:
        return importlib.import_module(origin)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{origin}.".startswith(f"{error.name}."):
            raise  # the user's module lacks something itself
        raise ImportError(
            f"model {spec!r}: no module {error.name!r} can be imported; expected {FORMS}"
            f"{nearest_spec(spec)}"
        ) from error
    except (TypeError, ValueError) as error:  # such as a leading dot
        raise ValueError(f"model {spec!r}: {error}; expected {FORMS}") from error


def _import_file(file: Path, spec: str) -> ModuleType:
    if not file.is_file():
        raise FileNotFoundError(f"model {spec!r}: {no_such(file, ('.py',))}")
    name = f"captum_cnn_ext_user_{file.stem}"
    found = importlib.util.spec_from_file_location(name, file)
    loader = found.loader if found else None
    assert found is not None
    assert loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    try:
        with _neighbours_importable(file):
            run_users(lambda: loader.exec_module(module), spec)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def _neighbours_importable(file: Path) -> Iterator[None]:
    """As for a script: ``import x`` finds x.py in the same folder."""
    folder = str(file.parent.resolve())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
