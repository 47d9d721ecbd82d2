"""Weights from files, without running code in them, into networks that they fit."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext.errors import nearest
from captum_cnn_ext.models.failures import no_such, not_installed

_WEIGHT_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def weights_file(weights: str, names: Iterable[str] = ()) -> Path:
    file = Path(weights)
    if not file.is_file():
        if file.suffix in _WEIGHT_SUFFIXES or len(file.parts) > 1:
            raise FileNotFoundError(f"weights: {no_such(file, _WEIGHT_SUFFIXES)}")
        names = list(names)
        known = f"one of {', '.join(names)} or " if names else ""
        raise ValueError(
            f"weights={weights!r}: expected {known}a file ({', '.join(_WEIGHT_SUFFIXES)})"
            f"{nearest(weights, names)}"
        )
    return file


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, wrappers removed; no code in the file is run."""
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise not_installed("safetensors", "models") from error
    except Exception as error:  # damaged files raise many kinds
        unsafe = re.search(r"GLOBAL (\S+)|TorchScript", str(error))
        if unsafe:
            raise ValueError(
                f"weights {file.name}: holds more than tensors ({unsafe[1] or unsafe[0]}), and "
                "reading that can run code, so it was not read. If you trust it, convert it once "
                "where you do: torch.save(model.state_dict(), 'weights.pt')"
            ) from error
        reason = next(iter(str(error).splitlines()), "")[:120]
        raise ValueError(
            f"weights {file.name}: cannot be read; it is damaged, incomplete or not a file of "
            f"tensors ({type(error).__name__}: {reason})"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f"weights {file.name}: expected named tensors, got {type(content).__name__}"
        )
    wrapped = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
    state = content[wrapped[0]] if wrapped else content
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(map(str, list(content)[:5]))
        raise ValueError(f"weights {file.name}: expected named tensors, got the keys {keys}")
    return tensors


def build_to_fit(build: Callable[..., nn.Module], file: Path) -> tuple[nn.Module, tuple[str, ...]]:
    """A network with the number of classes that the weights have, and the weights in it."""
    model, state = build(), read_tensors(file)
    head, size = list(model.state_dict().items())[-1]
    found = _without_prefix(state, model).get(head)
    notes: tuple[str, ...] = ()
    if found is not None and found.ndim and found.shape[0] != size.shape[0]:
        model = build(num_classes=found.shape[0])
        notes = (f"{found.shape[0]} classes, as the weights have",)
    load_into(model, state, file.name)
    return model, notes


def _without_prefix(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Drop what wrappers put before every name: module. (DataParallel), _orig_mod., model. ..."""
    wanted = list(model.state_dict())
    while not any(key in state for key in wanted):
        first = {key.partition(".")[0] for key in state}
        if len(first) != 1 or not all("." in key for key in state):
            break
        state = {key.partition(".")[2]: value for key, value in state.items()}
    # Torchvision's published DenseNets spell norm.1 for what is now norm1.
    return {re.sub(r"(denselayer\d+\.[a-z]+)\.(?=[12]\.)", r"\1", k): v for k, v in state.items()}


def load_into(model: nn.Module, state: dict[str, Tensor], file_name: str) -> None:
    state = _without_prefix(state, model)
    own = model.state_dict()
    other = [
        f"{key} ({'x'.join(map(str, value.shape))} in the file, "
        f"{'x'.join(map(str, own[key].shape))} in the model)"
        for key, value in state.items()
        if key in own and own[key].shape != value.shape
    ]
    fitting = {key: v for key, v in state.items() if key not in own or own[key].shape == v.shape}
    result = model.load_state_dict(fitting, strict=False)
    missing = [key for key in result.missing_keys if key not in state]
    problems = [
        f"{len(keys)} {what}: {', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}"
        for keys, what in (
            (missing, "missing from the file"),
            (result.unexpected_keys, "unknown to the model"),
            (other, "of another shape"),
        )
        if keys
    ]
    if problems:
        raise ValueError(
            f"weights {file_name}: do not fit {type(model).__name__}; {'; '.join(problems)}"
        )
