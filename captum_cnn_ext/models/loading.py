"""From a short spec to a model."""

import dataclasses
import os
from typing import Any

import torch
from torch import nn

from captum_cnn_ext.models.class_names import read_class_names
from captum_cnn_ext.models.factories import from_factory
from captum_cnn_ext.models.loaded import LoadedModel
from captum_cnn_ext.models.model_zoo import demo, from_timm, from_torchvision


def load_model(
    spec: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    class_names: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
) -> LoadedModel:
    """Build the model that ``spec`` names, in evaluation mode, with its preprocessing.

    Args:
        spec: ``demo`` (EfficientNet-Lite0 from installed packages), ``torchvision:NAME``,
            ``timm:NAME``, ``package.module:FACTORY`` or ``path/to/file.py:FACTORY``. The last two
            run your code. A factory returns a module, (module, preprocess) or a `LoadedModel`.
        weights: a file of tensors (.pt, .pth, .safetensors), read without running code in it. For
            torchvision also ``DEFAULT`` or a name such as ``IMAGENET1K_V2``, for timm ``DEFAULT``:
            these download. None leaves torchvision's and timm's networks untrained.
        class_names: a .txt file with one name per line, or a .json list or {index: name}.
        device: where to put the model.

    Raises:
        ValueError: an unknown spec, name, file content or device; the message says what exists.
        FileNotFoundError: a file is missing. ImportError: a package is missing. TypeError: a
        factory returns something else.

    Example:
        >>> from captum_cnn_ext.models import load_model
        >>> loaded = load_model("demo")
        >>> loaded.input_size, loaded.class_names[281]
        ((224, 224), 'tabby')
    """
    if not isinstance(spec, str):
        raise TypeError(f"model: expected a text such as 'demo', got {type(spec).__name__}")
    kind, _, name = spec.partition(":")
    weights = os.fspath(weights) if weights is not None else None
    if spec == "demo":
        loaded = demo(weights)
    elif kind == "torchvision" and name:
        loaded = from_torchvision(name, weights)
    elif kind == "timm" and name:
        loaded = from_timm(name, weights)
    else:
        loaded = from_factory(spec, weights)
    changes: dict[str, Any] = {"model": _on_device(loaded.model.eval(), device)}
    if class_names is not None:
        changes["class_names"] = read_class_names(class_names)
    return dataclasses.replace(loaded, **changes)


def _on_device(model: nn.Module, device: str | torch.device | None) -> nn.Module:
    if device is None:
        return model
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={str(device)!r}: cannot be used here: {error}") from error
