"""Stored values of a top-patches job against what a model gives now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.fingerprints import fingerprint
from captum_cnn_ext._engine.judging.arguments import find_layer
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.running.layer_sites import layer_sites
from captum_cnn_ext._engine.running.streaming import streamed

if TYPE_CHECKING:
    from captum_cnn_ext.evidence.patches.patch_result import TopPatches


@dataclass(frozen=True)
class Recheck:
    """Stored values against a model's of now."""

    checked: int
    differing: int
    largest_difference: float
    tolerance: float
    same_weights: bool

    __repr__ = brief

    @property
    def same(self) -> bool:
        """Whether the model still gives the stored values."""
        return self.differing == 0

    def __str__(self) -> str:
        weights = "the same weights" if self.same_weights else "other weights"
        return (
            f"{self.differing} of {self.checked} stored values differ by more than "
            f"{self.tolerance:.2g}, the most by {self.largest_difference:.3g} ({weights})"
        )


def rechecked(
    top: TopPatches,
    model: nn.Module,
    image: Callable[[int], Tensor],
    most: int,
    reshape_transform: Any,
) -> Recheck:
    """The values of up to ``most`` images once more; see `TopPatches.recheck`."""
    numbers = sorted(n for n in set(top.images.flatten().tolist()) if n >= 0)
    step = max(1, -(-len(numbers) // most))
    (site,) = layer_sites(model, find_layer(model, top.layer), False, top.settings.get("call"))
    kind = getattr(torch, top.settings.get("autocast") or "", None)
    eps = torch.finfo(kind or top.values.dtype).eps
    tolerance = eps**0.5 * float(top.values.nan_to_num().abs().max())
    differences: list[float] = []
    with streamed(model, site, kind) as run:
        for number in numbers[::step]:
            maps = run(image(number)[None])
            maps = reshape_transform(maps) if reshape_transform else maps
            rows, places = (top.images == number).nonzero().T
            found = maps[0].to(top.values)[top.channels[rows]]
            if top.unit == "mean":
                found = found.flatten(1).mean(1)
            elif found.ndim > 1:
                row, column = top.positions[rows, places].T
                found = found[torch.arange(len(rows), device=row.device), row, column]
            differences += (found - top.values[rows, places]).abs().tolist()
    return Recheck(
        len(differences),
        sum(not value <= tolerance for value in differences),
        max(differences, default=0.0),
        tolerance,
        fingerprint(model.state_dict()) == top.settings.get("model"),
    )
