"""What the score loses when a window is blanked: through the tape, by running it, by the batch."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.incremental.changed_pass import Incremental, Recorded
from captum_cnn_ext._engine.incremental.operation_tape import Refusal
from captum_cnn_ext._engine.incremental.replaced_inputs import (
    Example,
    faint,
    incremental_model,
    judge,
    mixes,
    window_tile,
)
from captum_cnn_ext._engine.judging.captum_compat import TargetType
from captum_cnn_ext._engine.judging.output_targets import is_function
from captum_cnn_ext._engine.judging.targets import select_score
from captum_cnn_ext._engine.running.batching import (
    images_at_once,
    in_chunks,
    out_of_memory,
    rows_at_once,
)
from captum_cnn_ext._engine.running.forward import FastOrder, copies, run_for
from captum_cnn_ext._engine.to_device import as_tensor, to_device
from captum_cnn_ext._engine.wide_numbers import wide
from captum_cnn_ext.attr.pixels.sliding_windows import Grid
from captum_cnn_ext.errors import ArgumentError

# windows in one pass over the tape on a CPU: more where they are so small that its calls have too
# little to do
TILE_ROWS, TILE_POSITIONS, MOST_TILES = 16, 2**12, 128
FEWEST_WINDOWS = 8  # the recording costs six passes
FEWEST_POSITIONS = 2**19  # over all windows: small images are run sooner than recorded


class WindowLosses:
    """One call of an occlusion: whose windows are scored, and how."""

    def __init__(
        self,
        forward_func: Callable[..., Any],
        tensors: tuple[Tensor, ...],
        extra: tuple[Any, ...],
        target: TargetType,
        blanks: tuple[Tensor, ...],
        most: int | None,
        progress: dict[str, Any],
    ) -> None:
        self.forward_func, self.tensors, self.extra = forward_func, tensors, extra
        self.target, self.blanks, self.most = target, blanks, most
        self.progress, self._fast_order = progress, FastOrder()
        self.model: Incremental | None = None
        self._recorded: tuple[int, Recorded] | None = None

    def example(self, n: int) -> Example:
        return Example(self.forward_func, self.tensors, self.extra, self.target, n)

    def by_example(
        self, windows: list[Grid], clean: Any, incremental: bool | None, share: float | None
    ) -> list[Tensor] | None:
        """What each window of each example costs that example's score: (N, windows) for each input.

        None where the examples have to be run together instead: the model gives no score for each
        example, or an example's score depends on the others in the batch, or the windows are
        too few for it to be worth finding out whether it does.
        """
        count = self.tensors[0].shape[:1]
        given = isinstance(clean, Tensor) and not is_function(self.target)
        outputs = (clean,) if given else ()
        if isinstance(clean, (int, float)) or any(
            t.shape[:1] != count for t in (*self.tensors, *outputs)
        ):
            return None
        scores = wide(select_score(clean, self.target))
        if scores.shape != count:
            return None
        self.follow(windows, incremental)
        if self.model is None and self._mixes(windows, scores):
            return None
        several = isinstance(self.target, list) and len(set(map(id, self.target))) > 1
        found = []
        try:
            for n, score in enumerate(scores):
                if n and several and is_function(self.target):
                    self.follow(windows, incremental, n)  # its tape ends with its own function
                found.append(
                    [self.losses(i, n, grid, score, share) for i, grid in enumerate(windows)]
                )
        except _RowsNotIndependent:
            return None
        return [torch.stack(losses) for losses in zip(*found, strict=True)]

    def _mixes(self, windows: list[Grid], clean: Tensor) -> bool:
        if sum(len(grid) for grid in windows) * len(clean) < FEWEST_WINDOWS:
            return True
        try:
            return mixes(self.example(0), self.tensors[0][:1], self.blanks[0][:1], clean[:1])
        except Exception as error:
            # one row at a time has no others; or it counts on the user's own batch
            return not out_of_memory(error)

    def follow(self, windows: list[Grid], incremental: bool | None, n: int = 0) -> None:
        """Put the model on a tape of one example, if it can be followed and is worth it."""
        self.model, self._recorded = None, None
        maps = [i for i, tensor in enumerate(self.tensors) if tensor.ndim > 2]
        worth = sum(_is_worth_recording(self.tensors[i], windows[i]) for i in maps)
        if incremental is False or (incremental is None and not worth):
            return
        try:
            if torch.is_autocast_enabled(self.tensors[0].device.type):
                raise Refusal("autocast is on, and would cast what is on the tape once more")
            if not maps:
                raise Refusal("no input is a signal, an image or a volume: (N, C, ...)")
            if any(self.blanks[i].dtype != self.tensors[i].dtype for i in maps):
                raise Refusal("the baselines change the dtype of the input")
            place = maps[0]
            image, blank = self.tensors[place][n : n + 1], self.blanks[place][n : n + 1]
            grid, example = windows[place], self.example(n)
            middle, other = torch.tensor([len(grid) // 2], device="cpu"), faint(image, blank)
            replaced = torch.where(grid.masks(middle, image.device), blank, image)
            model = incremental_model(example, place, torch.cat([replaced, other]))
            recorded = model.recorded(example.rows())
            tile = window_tile(image, blank, grid.starts(middle), grid.window)
            judge(model, torch.cat([recorded.changed(place, part) for part in (tile, other)]))
            self.model, self._recorded = model, (n, recorded)
        except Refusal as why:
            if incremental:
                raise ArgumentError(f"incremental=True: {why}") from why

    def losses(self, place: int, n: int, grid: Grid, clean: Tensor, share: float | None) -> Tensor:
        """f(x) - f(x without the window) for every window of one example."""
        if share is None or share == 1:
            return self._losses(place, n, grid, torch.arange(len(grid), device="cpu"), clean)
        numbers, matrices = grid.coarse()
        coarse = self._losses(place, n, grid, numbers, clean)
        losses = coarse.reshape(*(len(matrix) for matrix in matrices), 1)
        with torch.autocast(losses.device.type, enabled=False):
            for matrix in matrices:  # each moves its dimension behind the others
                losses = torch.tensordot(losses, matrix.to(losses), ([0], [0]))
        losses = losses.reshape(-1)
        order = losses.abs().argsort(descending=True).cpu()
        rest = order[~torch.isin(order, numbers)][: round(share * len(grid))]
        losses[numbers.to(losses.device)] = coarse
        if len(rest):
            losses[rest.to(losses.device)] = self._losses(place, n, grid, rest, clean)
        return losses

    def _losses(self, place: int, n: int, grid: Grid, numbers: Tensor, clean: Tensor) -> Tensor:
        tensor, example = self.tensors[place], self.example(n)
        image, blank = tensor[n : n + 1], self.blanks[place][n : n + 1]
        if self.model is not None and tensor.ndim > 2:
            recorded = self._recording(n, example)
            clean = example.of_tape(recorded.output)[0]
            positions = TILE_POSITIONS // math.prod(grid.window[1:])
            on_cpu = min(max(TILE_ROWS, positions), MOST_TILES)
            size = rows_at_once(self.model.largest * image.element_size(), image.device, on_cpu)
            order = grid.by_border(numbers)
        else:
            size = images_at_once(image, image.device)
            recorded, order = None, torch.arange(len(numbers), device=numbers.device)
        ordered = numbers[order]

        def scores(part: slice) -> Tensor:
            chosen = ordered[part]
            if recorded is not None:
                tile = window_tile(image, blank, grid.starts(chosen), grid.window)
                return example.of_tape(recorded.changed(place, tile))
            replaced = torch.where(grid.masks(chosen, image.device), blank, image)
            try:
                found = self._fast_order(lambda given: example.run(place, *given), [replaced])
            except Exception as error:
                if out_of_memory(error):
                    raise
                raise _RowsNotIndependent from error  # perhaps it counts on the user's own batch
            if len(found) != len(chosen):
                raise _RowsNotIndependent
            return found

        size = min(self.most or size, len(ordered))
        if size == len(tensor) > 1:
            size -= 1  # an output of the batch would look like one for each window
        found = in_chunks(scores, len(ordered), size, **self.progress)
        return clean - torch.cat(found)[to_device(order.argsort(), tensor.device)]

    def _recording(self, n: int, example: Example) -> Recorded:
        assert self.model is not None
        if self._recorded is None or self._recorded[0] != n:
            self._recorded = None  # its memory is free before the next one takes some
            self._recorded = n, self.model.recorded(example.rows())
        return self._recorded[1]

    def of_the_batch(self, place: int, grid: Grid, clean: Any) -> Tensor:
        """(K, windows): what each of the whole batch's K numbers loses."""
        tensor, blank = self.tensors[place], self.blanks[place]
        scores = self._numbers(clean)

        def loss(part: slice) -> Tensor:
            mask = grid.masks(torch.arange(len(grid))[part], tensor.device)
            values = list(copies((*self.tensors, *self.extra)))
            values[place] = torch.where(mask, blank, tensor)
            return scores - self._numbers(run_for(self.target, self.forward_func, tuple(values)))

        return torch.stack(in_chunks(loss, len(grid), 1, **self.progress), 1)

    def _numbers(self, output: Any) -> Tensor:
        """What the target selects from an output of the whole batch, (K,)."""
        given = isinstance(output, (int, float)) or (
            isinstance(output, Tensor) and self.target is None
        )
        found = as_tensor(output) if given else select_score(output, self.target)
        found = found.reshape(-1)
        return wide(found)


def _is_worth_recording(tensor: Tensor, grid: Grid) -> bool:
    windows = len(grid) * len(tensor)
    positions = windows * math.prod(tensor.shape[2:])
    return windows >= FEWEST_WINDOWS and positions >= FEWEST_POSITIONS


class _RowsNotIndependent(Exception):
    """The forward does not give a row of its output for each row that it is given."""
