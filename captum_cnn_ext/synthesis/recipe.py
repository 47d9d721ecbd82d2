"""Everything that an ascent needs beside the network and the objective, in one object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.synthesis.images.parameterizations import Fourier, MakeImage
from captum_cnn_ext.synthesis.regularizers import Regularizer
from captum_cnn_ext.synthesis.transforms import Transform

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Recipe:
    """How images are made; ``dataclasses.replace`` changes a part of it.

    Args:
        parameterization: from (shape, generator=, device=, dtype=) to an :class:`ImageParam`.
        steps: how many.
        optimizer: from parameters to a torch optimiser, which minimises the negative objective.
        transforms: what the network sees of the image, one after another.
        regularizers: what is held against the image, each a :class:`Regularizer`.
        finish: what becomes of the last images, to look at.
        name: for reports.

    Raises:
        ArgumentError: less than one step; a regularizer that does not inherit from
            :class:`Regularizer`.

    Example::

        >>> from dataclasses import replace
        >>> from captum_cnn_ext.synthesis import presets
        >>> quick = replace(presets.lucid(), steps=64)
    """

    parameterization: MakeImage = Fourier
    steps: int = 256
    optimizer: MakeOptimizer = field(default=partial(torch.optim.Adam, lr=0.05))
    transforms: Sequence[Transform] = ()
    regularizers: Sequence[Regularizer] = ()
    finish: Callable[[Tensor], Tensor] | None = None
    name: str = "own recipe"

    __repr__ = brief

    def __post_init__(self) -> None:
        as_count("steps", self.steps)
        for index, one in enumerate(self.regularizers):
            if not isinstance(one, Regularizer):
                raise ArgumentError(
                    f"regularizers: got {one!r} at {index}, expected an object whose class "
                    "inherits from captum_cnn_ext.synthesis.regularizers.Regularizer"
                )

    def overridden(self, **changes: Any) -> Recipe:
        """This recipe with what is not None in ``changes``."""
        return replace(self, **{k: v for k, v in changes.items() if v is not None})
