"""Take a patch away from the images that have it: do they leave their class, and only then?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.incremental.blanked_windows import BlankedWindows
from captum_cnn_ext.evidence.shortcuts.places import Box
from captum_cnn_ext.evidence.shortcuts.samples import Sample

Classes = Callable[[Tensor], Tensor]
"""From a model's outputs to classes."""


class Eraser:
    """Blanks windows of a sample's images with its mean colour, and asks the model each time."""

    def __init__(self, model: nn.Module, sample: Sample, classes: Classes) -> None:
        self.sample, self.classes = sample, classes
        images = sample.images
        blank = images.mean((0, 2, 3), keepdim=True).expand(1, -1, *sample.size).contiguous()
        self.windows = BlankedWindows(model, images[:1], blank)

    def erased(self, rows: Sequence[int], boxes: Sequence[Box]) -> tuple[float, float] | None:
        """How many of the images leave their class without their box; and without another one.

        Others are all of the same size that lie edge to edge and do not touch the image's own. None
        where there is no room for any.
        """
        own, elsewhere = [], []
        for row, (top, left, bottom, right) in zip(rows, boxes, strict=True):
            size = (bottom - top, right - left)
            starts = torch.cat(
                [
                    torch.tensor([[top, left]], device="cpu"),
                    _others((top, left), size, self.sample.size),
                ]
            )
            image, label = self.sample.images[row : row + 1], self.sample.labels[row]
            left_it = self.classes(self.windows.outputs(image, starts, size)) != label
            own.append(left_it[0].float())
            elsewhere += [left_it[1:].float().mean()] if len(starts) > 1 else []
        if not elsewhere:
            return None
        return float(torch.stack(own).mean()), float(torch.stack(elsewhere).mean())


def _others(start: tuple[int, int], size: Sequence[int], whole: Sequence[int]) -> Tensor:
    """Beginnings (n, 2) of windows edge to edge with the one at ``start``, without itself."""
    axes = [
        torch.arange(first % length, side - length + 1, length, device="cpu")
        for first, length, side in zip(start, size, whole, strict=True)
    ]
    found = torch.cartesian_prod(*axes)
    return found[(found != found.new_tensor(start)).any(1)]
