"""What a segmentation network says of a class: at a pixel, in a mask, in its own area."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.judging.probabilities import as_probabilities
from captum_cnn_ext._engine.to_device import as_tensor
from captum_cnn_ext._numbers import whole
from captum_cnn_ext.errors import ArgumentError, TargetError, choose
from captum_cnn_ext.targets.base import Target, one_point


@dataclass(frozen=True, eq=False, repr=False)
class Segment(Target):
    r"""Why is this part of the image given this class? The class's scores over an area.

    .. math:: y = \frac{1}{|M|} \sum_{p \in M} f_c(p)

    M is the area where the network predicts the class, unless a pixel or a mask is given. Where
    changed images are scored, it stays the area of the unchanged image. Of an output with one
    class, (N, 1, H, W), class 0 is predicted where its score is above 0.

    The network gives class scores (N, classes, H, W), or a dictionary or object with these
    (torchvision's ``out``); signals and volumes too. Points and masks are in pixels of this
    output, which has the size of the image in most networks.

    Reference: Vinogradova, Dibrov, Myers, *Towards Interpretable Semantic Segmentation via
    Gradient-weighted Class Activation Mapping*, 2020, arXiv:2002.11434 (which sums).

    Args:
        label: the class.
        at: one pixel (x, y); of a volume (x, y, z).
        mask: (H, W), which pixels count, or how much; or (N, H, W), one for each example.
        reduction: "mean" or "sum" over the area.
        score: "logit" (the output as the model gives it) or "probability" (its softmax over the
            classes, the sigmoid of one).

    Raises:
        TargetError: (when used) there is no such class or pixel, or the class is predicted nowhere.
        ArgumentError: (when used) the output has no positions; a pixel and a mask are given.

    Example::

        >>> import torch
        >>> from torchvision.models.segmentation import lraspp_mobilenet_v3_large
        >>> from captum_cnn_ext import attr, targets
        >>> model = lraspp_mobilenet_v3_large(weights_backbone=None).eval()
        >>> cam = attr.LayerHiResCam(model, "backbone.16")
        >>> cam.attribute(torch.rand(2, 3, 64, 64), target=targets.Segment(3, at=(40, 9))).shape
        torch.Size([2, 1, 4, 4])
    """

    label: int
    at: tuple[float, ...] | None = field(default=None, kw_only=True)
    mask: Tensor | None = field(default=None, kw_only=True)
    reduction: str = field(default="mean", kw_only=True)
    score: str = field(default="logit", kw_only=True)
    _is_own = False  # whether the mask is the area that the network predicted

    def __post_init__(self) -> None:
        if whole(self.label) is None:
            raise ArgumentError(f"label={self.label!r}: expected a class, an integer")
        choose("reduction", self.reduction, ("mean", "sum"))
        choose("score", self.score, ("logit", "probability"))
        if self.at is not None:
            point = one_point("at", self.at)
            if self.mask is not None:
                raise ArgumentError("at=, mask=: expected one of them")
            if any(value < 0 or value != int(value) for value in point):
                raise ArgumentError(f"at={self.at!r}: expected whole pixels (x, y)")
        if self.mask is not None:
            mask = as_tensor(self.mask)
            if mask.ndim < 1 or not bool(mask.any()):
                raise ArgumentError(f"mask: {tuple(mask.shape)} is empty, expected some pixels")
            object.__setattr__(self, "mask", mask)

    @property
    def is_fixed(self) -> bool:
        """Whether it means the same area in every output."""
        one = self.mask is not None and (self.mask.ndim < 3 or len(self.mask) == 1)
        return one or self.at is not None

    def fixed(self, output: Any) -> list[Any]:
        """The area that is meant in this output, for each example, as a mask."""
        maps = self._maps(output)
        if self.is_fixed:
            return [self] * len(maps)
        area = self._area(maps)
        found = [replace(self, mask=one[None]) for one in area.expand(len(maps), *area.shape[1:])]
        for one in found if self.mask is None else []:
            object.__setattr__(one, "_is_own", True)
        return found

    def area(self, output: Any) -> Tensor:
        """The area that is meant in each example of an output, (N, H, W), for pictures."""
        return self._area(self._maps(output))

    def __call__(self, output: Any) -> Tensor:
        """The score of each example, (N,)."""
        maps = self._maps(output)
        area = self._area(maps)
        if self.score == "probability":
            maps = as_probabilities(maps, given=False)
        found = maps[:, self.label]
        if area.dtype == torch.bool:  # chosen, not multiplied: nothing but sums on the way back
            rows = area.expand(found.shape)
            parts = [one[own] for one, own in zip(found, rows, strict=True)]
            return torch.stack([p.mean() if self.reduction == "mean" else p.sum() for p in parts])
        area = area.to(found).flatten(1)
        total = (found.flatten(1) * area).sum(1)
        return total / area.sum(1) if self.reduction == "mean" else total

    def said(self, class_name: Callable[[int], str]) -> str:
        """In words."""
        if self.at is not None:
            return f"{class_name(self.label)} at {', '.join(f'{v:g}' for v in self.at)}"
        where = "its own area" if self.mask is None or self._is_own else "a mask"
        return f"{class_name(self.label)} in {where}"

    def _maps(self, output: Any) -> Tensor:
        maps = output_tensor(output)
        if maps.ndim < 3:
            raise ArgumentError(
                f"target={self!r}: expected an output (N, classes, *positions), as segmentation "
                f"networks give, got {tuple(maps.shape)}"
            )
        if not 0 <= self.label < maps.shape[1]:
            raise TargetError(
                f"target={self!r}: the model's output of shape {tuple(maps.shape)} has "
                f"{maps.shape[1]} classes; expected a label from 0 to {maps.shape[1] - 1}"
            )
        return maps

    def _area(self, maps: Tensor) -> Tensor:
        """What counts: (N, *positions), or (1, *positions) for all."""
        positions = maps.shape[2:]
        if self.at is not None:
            index = tuple(int(value) for value in reversed(self.at))
            if len(index) != len(positions) or any(
                i >= size for i, size in zip(index, positions, strict=True)
            ):
                raise TargetError(
                    f"target={self!r}: the output's maps have {tuple(positions)} positions; "
                    f"expected a point below {tuple(reversed(positions))}, (x, y)"
                )
            area = torch.zeros(1, *positions, dtype=torch.bool, device=maps.device)
            area[(0, *index)] = True
            return area
        if self.mask is None:
            return self._predicted(maps.detach())
        mask = self.mask.to(maps.device)
        mask = mask[None] if mask.ndim == len(positions) else mask
        if mask.shape[1:] != positions or len(mask) not in (1, len(maps)):
            raise TargetError(
                f"target={self!r}: the output's maps are {(len(maps), *positions)}; expected a "
                f"mask of shape {tuple(positions)}, or one for each example"
            )
        return mask

    def _predicted(self, maps: Tensor) -> Tensor:
        label = self.label
        area = maps[:, 0] > 0 if maps.shape[1] == 1 else maps.argmax(1) == label
        empty = ~area.flatten(1).any(1)
        if bool(empty.any()):
            n = int(empty.nonzero()[0])
            there = [] if maps.shape[1] == 1 else sorted(set(maps[n].argmax(0).flatten().tolist()))
            raise TargetError(
                f"target={self!r}: class {label} is predicted nowhere in image {n}; predicted "
                f"are {there}. Give a pixel, at=(x, y), or a mask"
            )
        return area
