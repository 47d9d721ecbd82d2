"""A model's outputs for an image without one window or another: exact, as in occlusion."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.incremental.changed_pass import Incremental
from captum_cnn_ext._engine.incremental.operation_tape import Refusal
from captum_cnn_ext._engine.incremental.replaced_inputs import faint, judge
from captum_cnn_ext._engine.incremental.tiles import Span, Tile, cut
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.running.batching import images_at_once, in_chunks
from captum_cnn_ext._engine.running.forward import run_model

ROWS = {"cpu": 16, "cuda": 128}  # windows in one pass over the tape
MOST = 64  # windows in one run of the model
SMALLEST = 2**13  # positions of an image, below which running the model is as quick


class BlankedWindows:
    """A model that is asked about images (1, C, H, W) of one size with a window blanked.

    What a window reaches is computed from the clean pass, where the model can be followed and its
    images are large; else the model is run.

    Args:
        model: in evaluation mode, takes one tensor.
        image: the first of the images, by which the tape is judged.
        blank: what is put into windows, (1, C, H, W).
    """

    def __init__(self, model: nn.Module, image: Tensor, blank: Tensor) -> None:
        self.model, self.blank = model, blank
        self.tape: Incremental | None = None
        if math.prod(image.shape[2:]) < SMALLEST:
            return
        side = [max(1, length // 4) for length in image.shape[2:]]
        corner, other = torch.zeros(1, 2, dtype=torch.long, device="cpu"), faint(image, blank)
        window = blanked(image, blank, corner, side)
        try:
            tape = Incremental(model, [image], [torch.cat([window, other])], tuple)
            recorded = tape.recorded([image])
            found = (_tile(blank, corner, side), other)
            judge(tape, torch.cat([recorded.changed(0, part) for part in found]))
            self.tape = tape
        except Refusal:  # nothing is lost but time
            self.tape = None

    def outputs(self, image: Tensor, starts: Tensor, size: Sequence[int]) -> Tensor:
        """(W, ...) for windows of ``size`` (height, width) that begin at ``starts`` (W, 2)."""
        if self.tape is not None:
            recorded = self.tape.recorded([image])

            def through(part: slice) -> Tensor:
                return recorded.changed(0, _tile(self.blank, starts[part], size))

            rows = ROWS.get(image.device.type, ROWS["cuda"])
            return torch.cat(in_chunks(through, len(starts), rows))

        def run(part: slice) -> Tensor:
            with torch.no_grad():
                given = blanked(image, self.blank, starts[part], size)
                return output_tensor(run_model(self.model, (given,)))

        given = image.expand(MOST, *image.shape[1:])
        return torch.cat(
            in_chunks(run, len(starts), min(MOST, images_at_once(given, image.device)))
        )


def blanked(image: Tensor, blank: Tensor, starts: Tensor, size: Sequence[int]) -> Tensor:
    """Copies (W, C, H, W) of an image with a window of each blanked."""
    found = image.repeat(len(starts), 1, 1, 1)
    for row, (top, left) in zip(found, starts.tolist(), strict=True):
        rows, columns = slice(top, top + size[0]), slice(left, left + size[1])
        row[:, rows, columns] = blank[0, :, rows, columns]
    return found


def _tile(blank: Tensor, starts: Tensor, size: Sequence[int]) -> Tile:
    corners = starts.cpu().numpy()
    spans = tuple(Span(corners[:, axis], length) for axis, length in enumerate(size))
    return Tile(cut(blank, spans), spans)
