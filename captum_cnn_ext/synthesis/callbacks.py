"""What may happen after each step: snapshots, keeping the best, stopping early."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._numbers import as_count, as_indices, as_number


@dataclass(frozen=True)
class Step:
    """One step of an ascent: the images before it, and what they reached.

    Args:
        index: 0, 1, ...
        total: how many steps there will be at most.
        images: (N, C, H, W) in [0, 1], detached.
        values: the objective of each, (N,), detached, as the network saw it (transformed).
    """

    index: int
    total: int
    images: Tensor
    values: Tensor

    __repr__ = brief


Callback = Callable[[Step], bool | None]
"""Gets each step; a true answer ends the ascent after it."""


class Snapshots:
    """Keeps the images at some steps, for a film or a row of pictures.

    Args:
        every: at steps 0, every, 2 every, ...
        steps: at these instead.

    Example::

        >>> from captum_cnn_ext.synthesis import Snapshots
        >>> snapshots = Snapshots(steps=[1, 4, 16, 64])
        >>> snapshots.steps
        []
    """

    def __init__(self, every: int = 16, steps: Collection[int] | None = None) -> None:
        self._wanted = (
            None
            if steps is None
            else frozenset(as_count("steps", step, 0) for step in as_indices("steps", steps))
        )
        self._every = as_count("every", every)
        self.images: list[Tensor] = []
        self.steps: list[int] = []

    def __call__(self, step: Step) -> None:
        wanted = (
            step.index % self._every == 0 if self._wanted is None else step.index in self._wanted
        )
        if wanted:
            self.images.append(step.images)
            self.steps.append(step.index)


class Best:
    """Keeps each image at its highest objective, which is seldom the last.

    ``images`` (N, C, H, W), ``values`` (N,), ``steps`` (N,). Under random transforms a value is
    that of one view, and the highest is partly luck.

    Example::

        >>> from captum_cnn_ext.synthesis import Best
        >>> best = Best()
    """

    images: Tensor
    values: Tensor
    steps: Tensor

    def __call__(self, step: Step) -> None:
        if step.index == 0:
            self.images, self.values = step.images.clone(), step.values.clone()
            self.steps = torch.zeros_like(step.values, dtype=torch.long)
            return
        better = step.values > self.values
        self.images = torch.where(better[:, None, None, None], step.images, self.images)
        self.values = torch.where(better, step.values, self.values)
        self.steps = torch.where(better, step.index, self.steps)


class Plateau:
    """Ends the ascent when no image gains any more.

    Compares the mean objective of the last ``window`` steps with that of the window before.

    Args:
        window: how many steps.
        gain: the least relative rise that counts.

    Example::

        >>> from captum_cnn_ext.synthesis import Plateau
        >>> patient = Plateau(window=64, gain=0.001)
    """

    def __init__(self, window: int = 32, gain: float = 0.01) -> None:
        self.window, self.gain = as_count("window", window), as_number("gain", gain)
        self._values: list[Tensor] = []

    def __call__(self, step: Step) -> bool:
        self._values = (
            [*self._values, step.values][-2 * self.window :] if step.index else [step.values]
        )
        if len(self._values) < 2 * self.window:
            return False
        before = torch.stack(self._values[: self.window]).mean(0)
        after = torch.stack(self._values[self.window :]).mean(0)
        return bool((after - before <= self.gain * before.abs()).all())
