"""Seconds, and the forward pass that they are compared with."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import ArgumentError
from captum_cnn_ext._engine.judging.input_errors import explained
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext.methods import AT_ONCE

TIMED_FORWARDS = 3


def stopwatch(run: Callable[[], Tensor], like: Tensor) -> tuple[float, Tensor]:
    """Seconds and result of ``run``, with the accelerator's queue empty before and after."""

    def settle() -> None:
        if like.device.type == "cuda":
            torch.cuda.synchronize(like.device)

    settle()
    begin = time.perf_counter()
    result = run()
    settle()
    return time.perf_counter() - begin, result


def forward_seconds(model: nn.Module, inputs: Tensor) -> tuple[float, Tensor]:
    """Median seconds of a forward pass of all inputs, and its output.

    Cost: four forward passes.

    Raises:
        ArgumentError: the pass fails, or which tensor holds the scores is not certain.
    """

    def run() -> Tensor:
        with torch.no_grad():
            try:
                with explained(model, (inputs,)):
                    outputs = [model(chunk) for chunk in torch.split(inputs, AT_ONCE)]
            except ArgumentError:
                raise
            except Exception as error:
                message = " ".join(str(error).split())
                raise ArgumentError(
                    f"model: its forward pass of inputs {tuple(inputs.shape)}, {inputs.dtype}, "
                    f"raised {type(error).__name__}: {message}"
                ) from error
        return torch.cat([output_tensor(output, "model") for output in outputs])

    output = run()  # the first pass is slower: libraries choose their kernels
    times = [stopwatch(run, inputs)[0] for _ in range(TIMED_FORWARDS)]
    return sorted(times)[TIMED_FORWARDS // 2], output
