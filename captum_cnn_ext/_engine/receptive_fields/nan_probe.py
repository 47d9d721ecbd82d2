"""What a unit depends on, measured: write NaN into rows of the input, see which units turn NaN."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.receptive_fields.axis import FAR
from captum_cnn_ext._engine.running.layer_recording import record
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext._engine.trace.model_copy import copy_structure
from captum_cnn_ext._engine.trace.window_arithmetic import Ints
from captum_cnn_ext.errors import ArgumentError

AT_ONCE = 8  # probes in one forward pass


def measured_edges(
    model: nn.Module, layer: str, image: tuple[int, ...], call: int | None, dims: tuple[int, int]
) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
    """The first and last row that each row of units depends on, and the same for columns.

    ``dims`` are the two dimensions of the layer's output that hold positions. About
    ``8 log2(size)`` forward passes where the layer has few positions, and never more than two for
    each row and column of the image. Runs a copy in evaluation mode that shares the weights.

    Raises:
        ArgumentError: the layer does not turn NaN anywhere, or the model refuses NaN.
    """
    with torch.no_grad(), torch.inference_mode(False):
        twin = copy_structure(model, meta=False)
    floating = [p for p in model.parameters() if p.is_floating_point()]
    like = floating[0] if floating else torch.zeros(())
    site = Site(twin.get_submodule(layer), layer, call=call)
    clean = torch.zeros(1, *image[1:], dtype=like.dtype, device=like.device)

    def touched(axis: int, ranges: list[tuple[int, int]]) -> list[Ints]:
        """For each range of rows (or columns) set to NaN, whether each position turns NaN."""
        found = []
        for start in range(0, len(ranges), AT_ONCE):
            part = ranges[start : start + AT_ONCE]
            batch = clean.repeat(len(part), 1, 1, 1)
            for row, (first, last) in enumerate(part):
                batch[row].narrow(1 + axis, first, last - first).fill_(float("nan"))
            # a fast convolution algorithm may mix what the convolution itself keeps apart
            with torch.backends.cudnn.flags(enabled=False):
                found += _nan_positions(twin, site, batch, dims[axis])
        return found

    rows, columns = (
        _edges(lambda ranges, axis=axis: touched(axis, ranges), image[2 + axis])  # type: ignore[misc]
        for axis in (0, 1)
    )
    return rows, columns


def _nan_positions(twin: nn.Module, site: Site, batch: Tensor, dim: int) -> list[Ints]:
    with record(twin, [site], (batch,)) as recording:
        (output, *_) = recording.activations(0)
    if len(output) != len(batch):
        raise ArgumentError(
            f"layer {site.name!r}: gives {len(output)} rows for {len(batch)} images, so its units "
            "cannot be told apart by image"
        )
    others = [d for d in range(1, output.ndim) if d != dim]
    return list(output.isnan().any(others).cpu().numpy()) if others else []


def _edges(
    touched: Callable[[list[tuple[int, int]]], list[Ints]], length: int
) -> tuple[Ints, Ints]:
    """First and last pixel of each position: NaN up to the first one, or from the last one, on."""
    (all_of_it,) = touched([(0, length)])
    seen = np.asarray(all_of_it, dtype=bool)
    if not seen.any():
        raise ArgumentError("NaN in the whole image reaches no unit of this layer")
    lows = _bisected(lambda cuts: touched([(0, cut + 1) for cut in cuts]), length, seen)
    backwards = _bisected(
        lambda cuts: touched([(length - 1 - cut, length) for cut in cuts]), length, seen
    )
    highs = np.where(seen, length - 1 - backwards, -FAR)
    return np.where(seen, lows, FAR), highs


def _bisected(touched: Callable[[list[int]], list[Ints]], length: int, seen: Ints) -> Ints:
    """For each position the smallest cut that touches it; positions share each other's probes."""
    low = np.zeros(len(seen), dtype=np.int64)
    high = np.full(len(seen), length - 1, dtype=np.int64)
    while (open_ := seen & (low < high)).any():
        middle = (low + high) // 2
        cuts = sorted(set(middle[open_].tolist()))
        for cut, turned in zip(cuts, touched(cuts), strict=True):
            high = np.where(open_ & turned & (cut < high), cut, high)
            low = np.where(open_ & ~turned & (cut >= low), cut + 1, low)
    return low
