"""How the work runs: progress, seconds, and warnings that are kept for the report."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.input_errors import input_errors_explained
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.progress import tqdm
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.methods import AT_ONCE

TIMED_FORWARDS = 3
CALLED_OFTEN = r"layer .* is called \d+ times"


@dataclass(frozen=True)
class Timing:
    """How long one method took for all photos."""

    method: str
    origin: str
    layer: str
    seconds: float


@dataclass
class Work:
    """Runs what sections ask for, showing progress; keeps times and warnings.

    ``forward_seconds`` is what a forward pass of all photos takes, ``remarks`` are the warnings
    that were given, each after where.
    """

    audited: Audited
    bar: tqdm[Any]
    on_step: Callable[[str], object]
    forward_seconds: float
    timings: list[Timing] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)

    __repr__ = brief

    def begin(self, name: str) -> None:
        """Show ``name`` in the progress bar."""
        self.bar.set_description_str(name[:34].ljust(34))
        self.on_step(name)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show ``name`` in the progress bar while the block runs, and count one step after it."""
        self.begin(name)
        yield
        self.bar.update(1)

    def timed(
        self, method: str, origin: str, layer: str, run: Callable[[Tensor, Any], Tensor]
    ) -> Tensor:
        """``run(inputs, targets)`` over the photos, a few at once; its results joined.

        Each batch is seeded, the time is kept, and warnings become remarks.
        """

        def seeded(inputs: Tensor, targets: Any) -> Tensor:
            torch.manual_seed(self.audited.seed)
            return run(inputs, targets)

        with self.listening(f"{method} at {layer}" if layer else method):
            seconds, result = stopwatch(
                lambda: self.audited.in_batches(seeded), self.audited.inputs
            )
        self.timings.append(Timing(method, origin, layer, seconds))
        return result

    def passes(self, method: str, layer: str) -> float | None:
        """What a method cost at a layer, "" for the input, in forward passes of the photos."""
        found = [t.seconds for t in self.timings if (t.method, t.layer) == (method, layer)]
        return found[0] / self.forward_seconds if found else None

    @contextmanager
    def listening(self, where: str) -> Iterator[None]:
        """Keep the block's warnings for the report instead of printing them."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            finally:
                texts = [" ".join(str(warning.message).split()) for warning in caught]
                if self.audited.layers_suggested:  # a layer is suggested for its last call
                    texts = [text for text in texts if not re.match(CALLED_OFTEN, text)]
                self.remarks += [(where, text) for text in dict.fromkeys(texts)]


T = TypeVar("T")


def stopwatch(run: Callable[[], T], like: Tensor) -> tuple[float, T]:
    """Seconds and result of ``run``, with the accelerator's queue empty before and after."""

    def settle() -> None:
        if like.device.type == "cuda":
            torch.cuda.synchronize(like.device)

    settle()
    begin = time.perf_counter()
    result = run()
    settle()
    return time.perf_counter() - begin, result


def forward_wall_seconds(model: nn.Module, inputs: Tensor) -> float:
    """Median seconds on the clock on the wall of a forward pass of all inputs.

    Cost: four forward passes.

    Raises:
        ArgumentError: the pass fails.
    """

    def run() -> None:
        with torch.no_grad():
            try:
                with input_errors_explained(model, (inputs,)):
                    for chunk in torch.split(inputs, AT_ONCE):
                        model(chunk)
            except ArgumentError:
                raise
            except Exception as error:
                message = " ".join(str(error).split())
                raise ArgumentError(
                    f"model: its forward pass of inputs {tuple(inputs.shape)}, {inputs.dtype}, "
                    f"raised {type(error).__name__}: {message}"
                ) from error

    run()  # the first pass is slower: libraries choose their kernels
    times = [stopwatch(run, inputs)[0] for _ in range(TIMED_FORWARDS)]
    return sorted(times)[TIMED_FORWARDS // 2]


def expected_seconds(forward: float, photos: int, quick: bool) -> float:
    """Roughly how long a report takes, from the seconds of one forward pass of all photos.

    Counted on the packaged network: forward passes for each photo, and in a full report those of
    the synthesised images, which are made for one photo; the rest is drawing.
    """
    each = forward / photos
    if quick:
        return 3 + 8 * forward  # its methods take as many passes; the rest is drawing
    return 8 + 100 * forward + 400 * each
