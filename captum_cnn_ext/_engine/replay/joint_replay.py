"""What would the model's output be if several layers gave these tensors? The whole forward runs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.backward.batch_norm_of_one_image import one_image_norms
from captum_cnn_ext._engine.backward.lost_gradient import OF_QUANTISED
from captum_cnn_ext._engine.judging.arguments import observed_module, root_module, runnable
from captum_cnn_ext._engine.judging.input_errors import input_errors_explained
from captum_cnn_ext._engine.judging.inputs import check_devices, check_examples
from captum_cnn_ext._engine.replay.batch_rows import Rows
from captum_cnn_ext._engine.replay.patching import layer_hook
from captum_cnn_ext._engine.running.forward import copies
from captum_cnn_ext._engine.running.layer_recording import record
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext.errors import ArgumentError


class RecordedLayers(ABC):
    """A model with the tensors of layers recorded, ready to be run with others.

    Attributes:
        activation: the layers' tensors in the recorded pass, one layer after another; copies.
        output: the model's output in the recorded pass.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        sites: Sequence[Site],
        inputs: tuple[Tensor, ...],
        additional_forward_args: tuple[Any, ...] = (),
        device_ids: Sequence[int] | None = None,
    ) -> None:
        if isinstance(forward_func, nn.DataParallel):  # one device is enough for what follows
            forward_func, device_ids = forward_func.module, None
        check_examples(inputs)
        self._forward, self._model = runnable(forward_func), observed_module(forward_func)
        self._root = root_module(forward_func)
        check_devices(self._model, inputs)
        self._sites, self._device_ids = list(sites), device_ids
        self.length = len(inputs[0]) if inputs[0].ndim else 1
        with torch.inference_mode(False):
            self._args = copies((*inputs, *additional_forward_args))
        self._record()
        for tensor in self.activation:
            if tensor.is_quantized:
                raise ArgumentError(
                    f"layer {sites[0].name!r}: gives quantised numbers ({tensor.dtype}), in whose "
                    f"place no others are put; {OF_QUANTISED}."
                )

    @abstractmethod
    def __call__(self, activation: Sequence[Tensor], rows: Tensor | None = None) -> Any:
        """The model's output when the layers give ``activation``.

        ``rows[i]`` is the recorded example that row i of the activation belongs to; None means
        the recorded batch itself. Gradients flow from the output to the activation.
        """

    def _record(self) -> None:
        """The layers' tensors and the output."""
        sites, devices = self._sites, self._device_ids
        with record(self._forward, sites, self._args, need_output=True, device_ids=devices) as run:
            each = [run.activations(i) for i in range(len(sites))]
            self.activation = tuple(t.clone() for tensors in each for t in tensors)
            self.output = run.output
            self._sites = [
                replace(site, call=run.calls(i) - 1) if site.call is None else site
                for i, site in enumerate(sites)
            ]
        self._counts = [len(tensors) for tensors in each]

    def _run_whole(self, activation: Sequence[Tensor], rows: Rows) -> Any:
        given = iter(activation)
        each = [[next(given) for _ in range(count)] for count in self._counts]
        args = gathered(self._args, rows)
        return run_replaced(self._forward, self._model, self._sites, each, args)


class JointReplay(RecordedLayers):
    """The whole forward runs, each layer's output replaced by a hook."""

    def __call__(self, activation: Sequence[Tensor], rows: Tensor | None = None) -> Any:
        return self._run_whole(activation, Rows.of(rows, self.length))


def gathered(args: Sequence[Any], rows: Rows) -> list[Any]:
    """Copies of a recorded batch's arguments, with ``rows`` of what has one for each example."""
    return [
        (rows.take(arg) if arg.shape[:1] == (rows.length,) else arg).clone()
        if isinstance(arg, Tensor)
        else arg
        for arg in args
    ]


def run_replaced(
    forward_func: Callable[..., Any],
    model: nn.Module | None,
    sites: Sequence[Site],
    activations: Sequence[Sequence[Tensor]],
    args: Sequence[Any],
) -> Any:
    """``forward_func(*args)``, where the layer of each site gives, at its call, other tensors.

    Raises:
        ArgumentError: a call was not reached, or gave tensors of other shapes.
    """
    calls, replaced = [0] * len(sites), [False] * len(sites)

    def give(i: int, leaves: list[Tensor]) -> list[Tensor]:
        calls[i] += 1
        if calls[i] - 1 != sites[i].call:
            return leaves
        replaced[i] = True
        if [leaf.shape for leaf in leaves] != [given.shape for given in activations[i]]:
            raise ArgumentError(
                f"layer {sites[i].name!r}: gives {[tuple(t.shape) for t in leaves]} where "
                f"{[tuple(t.shape) for t in activations[i]]} is put; a DataParallel model must be "
                "passed itself, not inside a function"
            )
        return [given.clone() for given in activations[i]]  # the network may write into them

    with ExitStack() as stack:
        stack.enter_context(state_as_found(model, args))
        stack.enter_context(one_image_norms([t for tensors in activations for t in tensors]))
        for i, site in enumerate(sites):
            stack.enter_context(layer_hook(site, partial(give, i)))
        stack.enter_context(input_errors_explained(model, args))
        output = forward_func(*args)
    for site, done in zip(sites, replaced, strict=True):
        if not done:
            raise ArgumentError(
                f"layer {site.name!r}: call {site.call} was not reached when the model ran again; "
                "its control flow depends on values. Choose another layer or call=."
            )
    return output
