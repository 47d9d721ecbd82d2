"""Which layers does a score depend on? Read off its gradient at what they give."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.output_targets import parts_of
from captum_cnn_ext._engine.judging.targets import as_target, select_score
from captum_cnn_ext._engine.running.batching import choices_of, rows_of
from captum_cnn_ext._engine.running.layer_recording import record
from captum_cnn_ext._engine.running.undo import Undo

MOST_PARTS = 10


def dependence(
    forward_func: Callable[..., Any],
    layers: Sequence[nn.Module],
    inputs: tuple[Tensor, ...],
    target: Any,
) -> list[list[bool]]:
    """Whether a score has a gradient other than 0 at each layer's last output.

    A row for each example, and for each part of its score, such as each of several boxes (the
    first ten): a layer on which one of them depends may know nothing of another. Costs a forward
    pass for each example and a backward pass for each row.

    Raises:
        TargetError: the output has no such target.
    """
    length, found = len(inputs[0]), list[list[bool]]()
    for n in range(length):
        rows = slice(n, n + 1)
        one = tuple(rows_of(x, rows, length) for x in inputs)
        found += _of_example(forward_func, layers, one, choices_of(as_target(target), rows, length))
    return found


def _of_example(
    forward_func: Callable[..., Any],
    layers: Sequence[nn.Module],
    inputs: tuple[Tensor, ...],
    target: Any,
) -> list[list[bool]]:
    given: dict[int, Tensor] = {}

    def see(number: int, _: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            given[number] = output

    undo = Undo()
    with undo, undo:
        for number, layer in enumerate(layers):
            undo.hook(layer, partial(see, number))
        with record(forward_func, [], inputs, from_inputs=True, need_output=True) as recording:
            numbers = [n for n, tensor in given.items() if tensor.requires_grad]
            parts = parts_of(target, recording.output)[:MOST_PARTS]
            found = []
            for part in parts:
                score = select_score(recording.output, part).sum()
                row = [False] * len(layers)
                if score.requires_grad and numbers:
                    gradients = torch.autograd.grad(
                        score, [given[n] for n in numbers], retain_graph=True, allow_unused=True
                    )
                    for n, gradient in zip(numbers, gradients, strict=True):
                        row[n] = gradient is not None and bool(gradient.any())
                found.append(row)
            return found
