"""What the layers of a network give, and suggestions made of it."""

from dataclasses import dataclass

import torch
from torch import nn

from captum_cnn_ext._engine.one_line_repr import brief

INERT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity)


@dataclass(frozen=True)
class LayerSuggestion:
    """A layer worth looking at.

    Attributes:
        name: its dotted name, as every class of ``captum_cnn_ext.attr`` takes it.
        shape: of its output, ``(N, C, *positions)``.
        reason: why it is suggested, in words.
    """

    name: str
    shape: tuple[int, ...]
    reason: str

    __repr__ = brief

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class LayerOutput:
    """A call of a module, and the shape of what it gave."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]


def is_map(output: LayerOutput, kind: type = nn.Module) -> bool:
    """Whether the output is ``(N, C, *positions)`` with several positions, from such a module."""
    return isinstance(output.module, kind) and len(output.shape) > 2 and size_of(output) > 1


def size_of(output: LayerOutput) -> int:
    return int(torch.Size(output.shape[2:]).numel())


def is_in(outer: str, name: str) -> bool:
    return name == outer or holds(outer, name)


def holds(outer: str, inner: str) -> bool:
    return inner.startswith(f"{outer}.")
