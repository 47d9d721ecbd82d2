"""Scores of changed versions of each image, a few at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.incremental.replaced_inputs import Example
from captum_cnn_ext._engine.judging.captum_compat import format_additional_forward_args
from captum_cnn_ext._engine.judging.probabilities import Scale
from captum_cnn_ext._engine.running.batching import images_at_once, in_chunks
from captum_cnn_ext._engine.running.forward import FastOrder
from captum_cnn_ext._numbers import as_count_or_none


@dataclass(frozen=True)
class Scoring:
    """A model, what of it is scored, and how many images at once."""

    forward_func: Callable[..., Any]
    image: Tensor
    target: Any
    additional_forward_args: Any = None
    score: str = "probability"
    internal_batch_size: int | None = None
    show_progress: bool = False
    description: str = ""

    def __post_init__(self) -> None:
        Scale(self.score)  # judges it
        as_count_or_none("internal_batch_size", self.internal_batch_size)

    def versions(self, count: int, version: Callable[[int, slice], Tensor]) -> Tensor:
        """The scores (N, count) of ``version(n, part)``: versions ``part`` of image n."""
        extra = format_additional_forward_args(self.additional_forward_args)
        chosen = self.internal_batch_size
        rows = chosen or images_at_once(self.image, self.image.device)
        found, scale, order = [], Scale(self.score), FastOrder()
        for n in range(len(self.image)):
            example = Example(self.forward_func, (self.image,), extra, self.target, n, scale)

            def run(part: slice, n: int = n, example: Example = example) -> Tensor:
                with torch.no_grad():
                    return order(lambda given: example.run(0, *given), [version(n, part)])

            chunks = in_chunks(
                run,
                count,
                rows,
                show_progress=self.show_progress,
                description=self.description,
            )
            found.append(torch.cat(chunks))
        return torch.stack(found)
