"""Scores of a model with parts of its input replaced: through the tape, or by running it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_cnn_ext._engine.incremental.changed_pass import Incremental
from captum_cnn_ext._engine.incremental.operation_tape import Refusal
from captum_cnn_ext._engine.incremental.tiles import Span, Tile, cut
from captum_cnn_ext._engine.judging.output_targets import check_length, is_function
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.judging.probabilities import Scale
from captum_cnn_ext._engine.judging.targets import as_target, select_score
from captum_cnn_ext._engine.running.batching import choices_of, rows_of
from captum_cnn_ext._engine.running.forward import fixed_by_run, run_model
from captum_cnn_ext._engine.to_device import to_device
from captum_cnn_ext._engine.wide_numbers import wide

# Deviation of the tape's output from the model's, in units of rounding of its largest value, that
# is still another order of summation. Networks with a hundred layers reach 100; of the short types,
# whose kernels sum in float32 and round once, 6 in float16 and 1.3 in bfloat16.
_ROUNDING = {torch.float16: 16, torch.bfloat16: 4}
_ROUNDING_ELSE = 1000


class Example:
    """Example ``n`` of a batch, repeated for as many rows as are scored at once.

    Args:
        forward_func: the model.
        inputs, extra: the batch's; tensors with a row for each example are cut to the example's.
        target: of the batch.
        n: which example.
        scale: what is scored; None is the output itself.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        inputs: Sequence[Tensor],
        extra: Sequence[Any],
        target: Any,
        n: int,
        scale: Scale | None = None,
    ) -> None:
        self.forward_func, self.scale = forward_func, scale or Scale()
        length, rows = len(inputs[0]), slice(n, n + 1)
        values = (*inputs, *extra)
        self.by_row = [isinstance(v, Tensor) and v.shape[:1] == (length,) for v in values]
        self.values = [rows_of(v, rows, length) for v in values]
        target = as_target(target)
        several = isinstance(target, list) or (isinstance(target, Tensor) and target.ndim)
        if several and len(target) != 1:
            check_length(target, length)
        own = choices_of(target, rows, length)
        own = fixed_by_run(own, forward_func, self.values)
        self.target = own[0] if isinstance(own, list) and len(own) == 1 else own

    def rows(self) -> list[Tensor]:
        """The tensors with one row for each example: the inputs of a tape."""
        return [v for v, mine in zip(self.values, self.by_row, strict=True) if mine]

    def arguments(self, rows: Sequence[Tensor]) -> tuple[Any, ...]:
        """All arguments of the model, given those with rows."""
        given = iter(rows)
        return tuple(
            next(given) if mine else v.clone() if isinstance(v, Tensor) else v
            for v, mine in zip(self.values, self.by_row, strict=True)
        )

    def run(self, place: int, replaced: Tensor) -> Tensor:
        """The scores when input ``place`` is each row of ``replaced``."""
        count = len(replaced)
        rows = [  # copies of the others, because a model may write into its input
            replaced if i == place else row.expand(count, *row.shape[1:]).clone()
            for i, row in enumerate(self.rows())
        ]
        return self.scores(self.output(self.arguments(rows)))

    def output(self, arguments: tuple[Any, ...]) -> Any:
        """What the model gives."""
        return self.scale.watched(partial(run_model, self.forward_func, arguments), self.target)

    def scores(self, output: Any) -> Tensor:
        """What the target selects, wide enough for differences."""
        return wide(self.scale.scores(output, self.target))

    def of_tape(self, output: Tensor) -> Tensor:
        """The same from the end of a tape, which is the score itself where the target is a
        function of the model's output."""
        return wide(output) if is_function(self.target) else self.scores(output)


def incremental_model(example: Example, place: int, replaced: Tensor) -> Incremental:
    """The example's model on a tape, judged by two other inputs (2, ...) in place of one.

    Raises:
        Refusal: the model cannot be run from a tape.
    """
    one = example.rows()
    two = [row.expand(2, *row.shape[1:]).clone() for row in one]
    two[place] = replaced
    read = partial(select_score, target=example.target) if is_function(example.target) else None
    return Incremental(example.forward_func, one, two, example.arguments, read or output_tensor)


def faint(image: Tensor, blank: Tensor) -> Tensor:
    """Another image of the same values: blank where the image is most unlike the baseline.

    A number that was taken out of the image (its maximum, a percentile) is another one here.
    """
    far = (image.double() - blank).abs()
    return torch.where(far > far.mean(), blank, image)


def mixes(example: Example, image: Tensor, blank: Tensor, clean: Tensor) -> bool:
    """Whether an example's score depends on the others in its batch.

    Two passes of one row and one of two. ``clean`` is the example's score within its batch.
    """
    two = torch.cat([faint(image, blank), image])
    alone = torch.cat([example.run(0, row) for row in (two[:1], two[1:])])
    together, alone = torch.cat([example.run(0, two), clean]), torch.cat([alone, alone[1:]])
    exact = image.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    exact = exact and image.dtype in (torch.float32, torch.float64)
    # other kernels for other numbers of rows
    most = tolerance(alone[alone.isfinite()]) * (1 if exact else 100)
    return not torch.allclose(together, alone, rtol=0, atol=most, equal_nan=True)


def tolerance(values: Tensor) -> float:
    """What is still another order of summation."""
    largest = float(values.abs().max()) if values.numel() else 0.0
    return largest * torch.finfo(values.dtype).eps * _ROUNDING.get(values.dtype, _ROUNDING_ELSE)


def judge(model: Incremental, found: Tensor) -> None:
    """Compare the tape's outputs with the model's own for the rows it was judged by.

    Raises:
        Refusal: they differ by more than rounding.
    """
    own = model.outputs
    difference = float((found - own).abs().max())
    if not difference <= tolerance(own):
        raise Refusal(f"the tape gives other values than the model, by {difference:.1e}")


def window_tile(image: Tensor, baseline: Tensor, starts: Tensor, size: Sequence[int]) -> Tile:
    """Windows (c, ...) of an input (1, C, ...) replaced by the baseline, as tiles.

    ``starts`` is (W, 1 + axes). A window that is cut off at the border is moved inwards, and keeps
    the input where it is new.
    """
    begin = starts.cpu().numpy()
    spans = tuple(
        Span(np.minimum(begin[:, d], image.shape[d + 1] - size[d]), size[d])
        for d in range(1, len(size))
    )
    channels = np.broadcast_to(np.arange(image.shape[1]), (len(begin), image.shape[1]))
    places = [channels, *(span.starts[:, None] + np.arange(span.length) for span in spans)]
    mask = torch.ones((1,) * (len(size) + 1), dtype=torch.bool, device=image.device)
    for d, place in enumerate(places):
        inside = (place >= begin[:, d, None]) & (place < begin[:, d, None] + size[d])
        form = [len(begin), *[1] * len(size)]
        form[d + 1] = place.shape[1]
        mask = mask & to_device(torch.from_numpy(inside.reshape(form)), image.device)
    return Tile(torch.where(mask, cut(baseline, spans), cut(image, spans)), spans)
