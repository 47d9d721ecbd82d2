"""Which of the suggested layers a score depends on, and what a detector reads its boxes off."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from captum_cnn_ext._engine.backward.dependence import dependence
from captum_cnn_ext.attr.layers.layer_outputs import (
    INERT,
    LayerOutput,
    LayerSuggestion,
    is_in,
    is_map,
)
from captum_cnn_ext.errors import ArgumentError


def before_the_head(outputs: Sequence[LayerOutput], dimensions: int) -> Sequence[LayerOutput]:
    """What a detector computes before the part that makes boxes of it; empty for other models."""
    if outputs[-1].name or len(outputs[-1].shape) in (2, dimensions):
        return []
    last = max(i for i, out in enumerate(outputs) if isinstance(out.module, _ConvNd))
    kinds = (nn.Linear, nn.MultiheadAttention)
    start = next((i for i in range(last, len(outputs)) if isinstance(outputs[i].module, kinds)), 0)
    if not start:  # convolutions make the boxes: the outermost part with the last of them
        names = [out.name for out in outputs if isinstance(out.module, _ConvNd)]
        inner = names[-1].split(".")
        around = [".".join(inner[:n]) for n in range(1, len(inner) + 1)]
        small = [m for m in around if sum(is_in(m, n) for n in names) <= len(names) / 2]
        start = next((i for i, o in enumerate(outputs) if small and is_in(small[0], o.name)), 0)
    ahead = [
        out
        for i, out in enumerate(outputs[:start])  # pools of regions are no maps of the image
        if i <= last or out.shape[2:] == outputs[last].shape[2:]
    ]
    return ahead if any(is_map(out, _ConvNd) for out in ahead) else []


def of_target(
    root: nn.Module,
    inputs: tuple[Tensor, ...],
    target: Any,
    found: list[LayerSuggestion],
    ahead: Sequence[LayerOutput],
) -> list[LayerSuggestion]:
    """The suggestions that a score depends on; first the last of the maps before the head."""
    whole = [o for o in ahead if o.shape[:1] == inputs[0].shape[:1]]
    maps = {o.name: o for o in whole if o.name and is_map(o) and not isinstance(o.module, INERT)}
    names = [*maps, *(layer.name for layer in found if layer.name not in maps)]
    rows = dependence(root, [root.get_submodule(name) for name in names], inputs, target)
    counts = {name: sum(row[n] for row in rows) for n, name in enumerate(names)}
    kept = [layer for layer in found if rows and counts[layer.name] == len(rows)]
    last = {max((n for n in range(len(maps)) if row[n]), default=-1) for row in rows}
    everywhere = [name for name in maps if counts[name] == len(rows)]
    if everywhere and (len(last) == 1 or not kept):
        read = maps[everywhere[-1]]
        grid = " x ".join(map(str, read.shape[2:]))
        what = f"{read.shape[1]} channels on {grid} positions"
        reason = f"is the last map before the head that the score depends on: {what}"
        first = LayerSuggestion(read.name, read.shape, reason)
        kept = [first, *(layer for layer in kept if layer.name != read.name)]
    if not kept:
        raise ArgumentError(
            f"target={target!r}: its score has no gradient at any of {', '.join(names[:8])}, or "
            "boxes of it have none in common. A score that is 0 or 1 to within rounding has none, "
            "nor has one that is computed under torch.no_grad() or outside of PyTorch; Occlusion, "
            "Rise and DRise need none"
        )
    return kept
