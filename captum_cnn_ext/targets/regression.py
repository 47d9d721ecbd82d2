"""A number that the network predicts: towards higher, lower, or a value."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._numbers import as_number, whole
from captum_cnn_ext.errors import ArgumentError, TargetError
from captum_cnn_ext.targets.base import Target

WAYS = ("higher", "lower")


@dataclass(frozen=True, eq=False, repr=False)
class Regression(Target):
    r"""What makes the predicted number higher, lower, or closer to a value?

    .. math:: y = f, \quad y = -f, \quad \text{or} \quad y = -|f - v|

    For networks that predict an age, a dose, a steering angle. Towards a value, what makes a
    prediction that is too low higher and one that is too high lower counts as positive.

    Args:
        towards: "higher", "lower", or the value v.
        index: which of several numbers (N, K) that the network predicts.

    Raises:
        TargetError: (when used) the network predicts several numbers and no index is given.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext import attr, targets
        >>> cam = attr.LayerHiResCam(resnet18(num_classes=1).eval(), "layer4")
        >>> cam.attribute(torch.rand(2, 3, 64, 64), targets.Regression("lower")).shape
        torch.Size([2, 1, 2, 2])
    """

    towards: str | float = "higher"
    index: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.towards, str) and self.towards not in WAYS:
            raise ArgumentError(f"towards={self.towards!r}: expected 'higher', 'lower' or a number")
        if not isinstance(self.towards, str):
            as_number("towards", self.towards)
        if self.index is not None and whole(self.index) is None:
            raise ArgumentError(f"index={self.index!r}: expected an integer")

    def __call__(self, output: Any) -> Tensor:
        """The score of each example, (N,)."""
        found = output_tensor(output)
        found = found.flatten(1) if found.ndim > 1 else found[:, None]
        index, numbers = self.index or 0, found.shape[1]
        if (self.index is None and numbers > 1) or not -numbers <= index < numbers:
            raise TargetError(
                f"target={self!r}: the network predicts {numbers} numbers; expected index= from 0 "
                f"to {numbers - 1}"
            )
        value = found[:, index]
        if isinstance(self.towards, str):
            return value if self.towards == "higher" else -value
        return -(value - self.towards).abs()

    def said(self, class_name: Callable[[int], str]) -> str:
        """In words."""
        which = "" if self.index is None else f"number {self.index} "
        way = self.towards if isinstance(self.towards, str) else f"towards {self.towards:g}"
        return f"{which}{way}"
