"""A network's output after part of an image changed, from what the change reaches only.

The clean pass is recorded once. A changed window then goes through the operations as a tile that
holds every position it can reach (tile_rules.py); where the tile covers the map, or an operation
has no rule, whole maps go on from there. Nothing is approximated: the values are those of the full
forward, up to the rounding of other kernels.

Idea: Nakandala, Kumar, Papakonstantinou, *Incremental and Approximate Inference for Faster
Occlusion-based Deep CNN Explanations*, SIGMOD 2019.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import fuse_conv_bn_weights

from captum_cnn_ext._engine.incremental.operation_tape import (
    Ref,
    Refusal,
    Step,
    Tape,
    record_tape,
)
from captum_cnn_ext._engine.incremental.tile_rules import Change, needs_recorded, through
from captum_cnn_ext._engine.incremental.tiles import Tile, fastest_format, in_fastest_format, whole
from captum_cnn_ext._engine.judging.arguments import root_module, runnable
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.module_walk import in_training, modules_in
from captum_cnn_ext._engine.nested_tensors import tensors_in
from captum_cnn_ext._engine.replay.patching import unfollowable
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext._engine.trace.operation_follower import random_state

_CACHED = 2**17  # numbers in double precision


class Incremental:
    """A model whose forward pass is on a tape.

    Args:
        forward_func: the model.
        one: its tensor arguments for one example, each with one row.
        two: the same for two rows, with other values: the tape is compared with the model there.
        arguments: from these tensors to the positional arguments of ``forward_func``.
        read: from the model's output to the tensor that the tape ends with.

    Attributes:
        outputs: the model's own output for ``two``, as it is read.
        largest: numbers in the largest tensor of a pass, for one row.

    Raises:
        Refusal: the model cannot be run from a tape.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        one: Sequence[Tensor],
        two: Sequence[Tensor],
        arguments: Callable[[Sequence[Tensor]], tuple[Any, ...]],
        read: Callable[[Any], Tensor] = output_tensor,
    ) -> None:
        root = root_module(forward_func)
        if why := unfollowable(root) if root is not None else "":
            raise Refusal(why)
        if any(in_training(module) for module in modules_in(root)):
            raise Refusal("the model is in training mode")
        function, numbers = runnable(forward_func), random_state()
        with torch.no_grad(), state_as_found(root, one):
            tape, _, self.outputs = record_tape(
                lambda *tensors: read(function(*arguments(tensors))),
                [tensor.clone() for tensor in one],
                [tensor.clone() for tensor in two],
            )
            if random_state() != numbers:
                raise Refusal("the model draws random numbers")
        self.tape = folded(tape)
        self.largest = max(math.prod(shape) for shape in self.tape.shapes.values())
        self.device_type = one[0].device.type
        self.last_use = {n: i for i, step in enumerate(self.tape.steps) for n in step.reads}
        self.last_use[self.tape.output] = len(self.tape.steps)  # also where other steps read it
        self.kept = {
            n for s in self.tape.steps if needs_recorded(s, self.tape.shapes) for n in s.reads
        }
        self.kept |= set(range(self.tape.inputs)) | {self.tape.output}

    def recorded(self, inputs: Sequence[Tensor]) -> "Recorded":
        """One example's clean pass."""
        return Recorded(self, inputs)


class Recorded:
    """The clean pass of one example, from which changed ones are computed.

    Attributes:
        output: the clean output, one row.
    """

    def __init__(self, model: Incremental, inputs: Sequence[Tensor]) -> None:
        self._model, self._tape = model, model.tape
        self.count = 1
        self._changes: dict[int, Change] = {}
        self._padded: dict[tuple[Any, ...], Tensor] = {}
        self._base = {i: in_fastest_format(tensor) for i, tensor in enumerate(inputs)}
        self._base |= self._tape.constants
        with torch.inference_mode(), torch.autocast(model.device_type, enabled=False):
            for place, step in enumerate(self._tape.steps):
                result = step.call(self._base.__getitem__, 1)
                for number, value in _numbered(step, result):
                    self._base[number] = value
                for number in step.reads:
                    if model.last_use[number] == place and number not in model.kept:
                        self._base.pop(number, None)
        self.output = self._base[self._tape.output]

    def changed(self, place: int, change: Change) -> Tensor:
        """The output for each row of a change of input ``place``."""
        self.count = len(change.data)
        self._changes = {place: change}
        try:
            with torch.inference_mode(), torch.autocast(self._model.device_type, enabled=False):
                for number, step in enumerate(self._tape.steps):
                    self._run(number, step)
                found = self._whole(self._tape.output)
        finally:
            self._changes = {}
        return found

    def _run(self, place: int, step: Step) -> None:
        reads = step.reads
        if not any(number in self._changes for number in reads):
            return  # nothing changed here: the recorded output stands
        results = through(step, self)
        if results is None:
            results = [*tensors_in(step.call(self._whole, self.count))]
        for number, value in zip(step.outputs, results, strict=False):
            if number >= 0:
                self._changes[number] = value
        for number in reads:
            if self._model.last_use[number] == place:
                self._changes.pop(number, None)

    # --- what the rules see (tile_rules.Frame) ------------------------------------------------

    def shape(self, number: int) -> torch.Size:
        return self._tape.shapes[number]

    def base(self, number: int) -> Tensor:
        return self._base[number]

    def change(self, number: int) -> Change | None:
        return self._changes.get(number)

    def padded(self, number: int, pads: tuple[int, ...], value: float) -> Tensor:
        """The recorded map with a border."""
        if not any(pads):
            return self._base[number]
        key = (number, pads, value)
        if key not in self._padded:
            self._padded[key] = in_fastest_format(F.pad(self._base[number], pads, value=value))
        return self._padded[key]

    def _whole(self, number: int) -> Tensor:
        """The changed maps of all rows; recorded maps once for each."""
        change = self._changes.get(number)
        if isinstance(change, Tile):
            change = whole(self._base[number], change)
            self._changes[number] = change
        if change is not None:
            return change
        base = self._base[number]
        if len(base) == 1:
            return base.expand(self.count, *base.shape[1:])
        return base.repeat(self.count, *[1] * (base.ndim - 1))


def _numbered(step: Step, result: Any) -> list[tuple[int, Tensor]]:
    pairs = zip(step.outputs, tensors_in(result), strict=False)
    return [(number, value) for number, value in pairs if number >= 0]


# --- batch norms into the convolutions before them ----------------------------------------------


def folded(tape: Tape) -> Tape:
    """The same pass with each batch norm that follows a convolution inside its weights."""
    readers: dict[int, int] = {tape.output: 1}
    needed: list[Step] = []  # the last first, without what nothing reads
    for step in reversed(tape.steps):
        if any(number in readers for number in step.outputs):
            needed.append(step)
            for number in step.reads:
                readers[number] = readers.get(number, 0) + 1
    makers: dict[int, int] = {}  # where in ``steps`` a value is made
    steps: list[Step] = []
    for step in reversed(needed):
        step = Step(step.func, step.args, tuple(n if n in readers else -1 for n in step.outputs))
        source = step.args.get("input")
        before = makers.get(source.index) if isinstance(source, Ref) else None
        if before is not None and isinstance(source, Ref) and readers[source.index] == 1:
            joined = _norm_in_convolution(steps[before], step)
            if joined is not None:
                steps[before] = joined
                makers[joined.outputs[0]] = before
                continue
        makers |= dict.fromkeys(step.outputs, len(steps))
        steps.append(step)
    return Tape(
        list(map(_with_fast_weights, steps)), tape.inputs, tape.output, tape.shapes, tape.constants
    )


def _with_fast_weights(step: Step) -> Step:
    weight = step.args.get("weight")
    if step.name != "convolution" or not isinstance(weight, Tensor):
        return step
    return Step(step.func, {**step.args, "weight": in_fastest_format(weight)}, step.outputs)


def _norm_in_convolution(convolution: Step, norm: Step) -> Step | None:
    names = ("running_mean", "running_var", "weight", "bias")
    if convolution.name != "convolution" or "batch_norm" not in norm.name:
        return None
    weight, bias = convolution.args["weight"], convolution.args["bias"]
    statistics = [norm.args.get(name) for name in names]
    tensors = [value for value in (weight, bias, *statistics) if value is not None]
    plain = all(
        isinstance(v, Tensor) and v.dtype in (torch.float32, torch.float64) for v in tensors
    )
    if (
        not plain
        or any(value is None for value in statistics[:2])
        or convolution.args["transposed"]
        or any(number >= 0 for number in norm.outputs[1:])
    ):
        return None
    eps = norm.args["eps" if "eps" in norm.args else "epsilon"]  # the second is cuDNN's name
    exact: list[Any] = [v if v is None else v.detach().double() for v in (bias, *statistics)]
    b, mean, variance, scale, shift = exact
    one = mean.new_ones(len(mean), *[1] * (weight.ndim - 1))  # becomes what scales each channel
    factors, bias = fuse_conv_bn_weights(one, b, mean, variance, eps, scale, shift)
    weight = _scaled(weight.detach(), factors.detach())
    args = {**convolution.args, "weight": weight, "bias": bias.detach().to(weight.dtype)}
    return Step(convolution.func, args, (norm.outputs[0],))


def _scaled(weight: Tensor, factors: Tensor) -> Tensor:
    """The product in double precision, rounded; a CPU takes it in parts that stay in its cache."""
    found = torch.empty_like(weight, memory_format=fastest_format(weight))
    rows = len(weight) if weight.is_cuda else max(1, _CACHED // weight[0].numel())
    parts = (torch.split(tensor, rows) for tensor in (found, weight, factors))
    for into, part, factor in zip(*parts, strict=True):
        into.copy_(part * factor)
    return found
