"""Which recorded example each row of a replayed batch belongs to."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from captum_cnn_ext._engine.to_device import to_device
from captum_cnn_ext.errors import ArgumentError


@dataclass(frozen=True)
class Rows:
    """Indices into a recorded batch, and the cheapest way to take them from its tensors."""

    index: tuple[int, ...]
    length: int  # of the recorded batch

    @classmethod
    def of(cls, rows: Tensor | None, length: int) -> "Rows":
        """From a tensor of indices; None means every recorded example once, in order.

        Raises:
            ArgumentError: not one-dimensional integers, or an example that was not recorded.
        """
        if rows is None:
            return cls(tuple(range(length)), length)
        if rows.ndim != 1 or rows.is_floating_point() or rows.dtype == torch.bool:
            raise ArgumentError(
                f"rows: expected one integer for each row of the activation, got "
                f"{rows.dtype} of shape {tuple(rows.shape)}"
            )
        index = tuple(rows.tolist())
        wrong = [i for i in index if not 0 <= i < length]
        if wrong:
            raise ArgumentError(
                f"rows: {wrong[0]} is not a recorded example; expected 0 to {length - 1}"
            )
        return cls(index, length)

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def is_identity(self) -> bool:
        return self.index == tuple(range(self.length))

    @cached_property
    def single(self) -> bool:
        """All rows belong to one example: its tensors are expanded, not copied."""
        return len(set(self.index)) == 1 and not self.is_identity

    def pick(self, tensor: Tensor) -> Tensor:
        """The rows of a recorded tensor; one row only where ``spread`` can repeat it."""
        if self.is_identity:
            return tensor
        if self.single:
            return tensor[self.index[0] : self.index[0] + 1]
        return tensor.index_select(0, to_device(torch.tensor(self.index), tensor.device))

    def spread(self, tensor: Tensor) -> Tensor:
        return tensor.expand(len(self), *tensor.shape[1:]) if self.single else tensor

    def take(self, tensor: Tensor) -> Tensor:
        return self.spread(self.pick(tensor))

    def groups(self) -> list[tuple[Tensor, "Rows"]]:
        """The rows example by example, where that spares copying: (positions, rows) of each."""
        examples = sorted(set(self.index))
        if self.is_identity or len(examples) == 1 or len(self) < 4 * len(examples):
            return [(torch.arange(len(self)), self)]
        places = {e: [i for i, row in enumerate(self.index) if row == e] for e in examples}
        return [
            (torch.tensor(at), Rows((example,) * len(at), self.length))
            for example, at in places.items()
        ]
