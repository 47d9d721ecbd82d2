"""Units of a layer back to pixels: many backward passes through one graph, or many small cuts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.backward.coverage import Coverage
from captum_cnn_ext._engine.backward.rules import ruled_backward
from captum_cnn_ext._engine.receptive_fields.crops import Crops
from captum_cnn_ext._engine.running.batching import in_chunks, out_of_memory
from captum_cnn_ext._engine.running.layer_recording import record
from captum_cnn_ext._engine.running.layer_sites import Site

# So many seeds share a vectorised backward pass, and so many images' worth of pixels the small cuts
# of one pass. A CPU gains nothing from vectorised passes over large images (benchmarks/README.md).
_SEEDS_AT_ONCE = 16
_CPU_PIXELS_AT_ONCE = 16 * 64**2


@dataclass(frozen=True)
class Units:
    """Which units are reconstructed, N examples with K each.

    Args:
        channels: (N, K).
        seeds: (N, K, *positions), what starts the way back in each unit's map.
        positions: (N, K, 2) where each seed has one position, else None.
        values: (N, K), the activations there.
    """

    channels: Tensor
    seeds: Tensor
    positions: Tensor | None
    values: Tensor


@dataclass(frozen=True)
class Pass:
    """How the passes are run."""

    rule: str
    smooth: str
    chunk: int | None = None
    show_progress: bool = False
    description: str = ""


def through_the_graph(
    image: Tensor, layer: Tensor, units: Units, how: Pass
) -> tuple[Tensor, Coverage]:
    """All units by backward passes through the graph from ``image`` to ``layer``, (N, K, *image).

    K backward passes over the N examples, in vectorised chunks where the graph allows.
    """
    chunk = how.chunk or _seeds_at_once(image)

    with ruled_backward([image], layer, how.rule, how.smooth) as backward:

        def run(rows: slice) -> Tensor:
            channels, seeds = units.channels[:, rows].T, units.seeds[:, rows].transpose(0, 1)
            seed = layer.new_zeros(len(channels), *layer.shape)
            index = channels.reshape(*channels.shape, 1, *[1] * (layer.ndim - 2))
            seed.scatter_(2, index.expand(*channels.shape, 1, *layer.shape[2:]), seeds.unsqueeze(2))
            if backward.batchable and len(seed) > 1:
                return backward.gradients(seed, batched=True, keep_graph=True)[0]
            return torch.stack([backward.gradients(s, keep_graph=True)[0] for s in seed])

        parts = in_chunks(
            run,
            units.channels.shape[1],
            chunk,
            show_progress=how.show_progress,
            description=how.description,
        )
        return torch.cat(parts).transpose(0, 1), backward.coverage


def _seeds_at_once(image: Tensor) -> int:
    seeds = _SEEDS_AT_ONCE // len(image)
    if image.device.type == "cpu":
        seeds = min(seeds, _CPU_PIXELS_AT_ONCE // (len(image) * image[0, 0].numel()))
    return max(1, seeds)


def through_cuts(
    forward_func: Callable[..., Any],
    site: Site,
    extra: tuple[Any, ...],
    image: Tensor,
    cuts: Crops,
    units: Units,
    how: Pass,
) -> tuple[Tensor, Coverage] | None:
    """Each unit on its own cut of the image, many cuts in one forward and one backward pass.

    None where a cut does not give back the unit's activation or field, or the network does not run
    on it: then it depends on the size of its input, and the whole image has to be used.
    """
    assert units.positions is not None
    positions, channels = units.positions.flatten(0, 1).tolist(), units.channels.flatten()
    values = units.values.flatten()
    count, (height, width) = units.channels.shape[1], cuts.size
    starts = [cuts.starts(position) for position in positions]
    # what differs is rounding: other sizes may take other convolution kernels
    tolerance = 4 * torch.finfo(values.dtype).eps ** 0.5 * float(values.abs().max())
    result = image.new_zeros(len(positions), *image.shape[1:])

    def run(rows: slice) -> Coverage | None:
        wanted = range(rows.start, rows.stop)
        batch = torch.stack(
            [
                image[u // count, :, top : top + height, left : left + width]
                for u in wanted
                for top, left in (starts[u],)
            ]
        )
        with record(
            forward_func, [site], (batch,), extra, from_inputs=True, follow=True
        ) as recording:
            (layer, *_), (leaf,) = recording.outputs(0), recording.inputs
            places = torch.tensor([cuts.position(positions[u]) for u in wanted]).to(layer.device)
            index = (torch.arange(len(batch), device=layer.device), channels[rows], *places.T)
            ends = torch.tensor(layer.shape[2:], device=layer.device)
            if recording.cut_field(layer) != cuts.field or bool((places >= ends).any()):
                return None
            if (layer.detach()[index] - values[rows]).abs().max() > tolerance:
                return None
            with ruled_backward([leaf], layer, how.rule, how.smooth) as backward:
                seed = torch.zeros_like(layer)
                seed[index] = values[rows]
                (found,) = backward.gradients(seed)
                for u, part in zip(wanted, found, strict=True):
                    top, left = starts[u]
                    result[u, :, top : top + height, left : left + width] = part
                return backward.coverage

    try:
        found = in_chunks(
            run,
            len(positions),
            how.chunk or max(1, int(_SEEDS_AT_ONCE / cuts.share)),
            show_progress=how.show_progress,
            description=how.description,
        )
    except Exception as error:  # what follows the layer may not run on so small an image
        if out_of_memory(error):
            raise
        return None
    if found[0] is None or None in found:
        return None
    return result.reshape(*units.channels.shape, *image.shape[1:]), found[0]
