"""Run a model on changed inputs, and leave it as it was found."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import is_
from typing import Any, TypeVar

import torch
from torch import Tensor

from captum_cnn_ext._engine.backward.batch_norm_of_one_image import one_image_norms
from captum_cnn_ext._engine.judging.arguments import observed_module, without_reducer
from captum_cnn_ext._engine.judging.input_errors import check_rows, input_errors_explained
from captum_cnn_ext._engine.judging.inputs import check_devices
from captum_cnn_ext._engine.judging.output_targets import (
    fixed_target,
    is_function,
    needs_fixing,
)
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext.errors import ArgumentError

T = TypeVar("T")


def copies(args: Iterable[Any]) -> tuple[Any, ...]:
    """Tensors that a model may write into, without a graph; anything else as it is."""
    return tuple(arg.detach().clone() if isinstance(arg, Tensor) else arg for arg in args)


def run_forward(forward_func: Callable[..., Any], args: tuple[Any, ...]) -> Tensor | float:
    """What ``run_model`` gives: the tensor of scores in it, or one number for the whole batch."""
    output = run_model(forward_func, args)
    return output if isinstance(output, (int, float)) else output_tensor(output)


def run_model(forward_func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """What ``forward_func(*args)`` gives, with buffers and random numbers put back afterwards.

    The arguments' tensors are the caller's own copies: a model may write into its input.
    """
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    root = observed_module(forward_func)
    check_devices(root, tensors)
    with state_as_found(root, args, eager=False), one_image_norms(args):
        with input_errors_explained(root, args):
            output = without_reducer(forward_func)(*args)
    check_rows(root, args, output)
    return output


@contextmanager
def inputs_judged_first(forward_func: Callable[..., Any], args: Iterable[Any]) -> Iterator[None]:
    """Where the block refuses something, inputs that the model cannot take are named instead.

    Raises:
        ArgumentError: what is wrong with the inputs, found by one forward pass.
    """
    try:
        yield
    except ValueError:
        try:
            with torch.no_grad():
                run_model(forward_func, copies(args))
        except ArgumentError:
            raise
        except Exception:
            pass  # not about the inputs: what the block said stays
        raise


def run_for(target: Any, forward_func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """The output that a target is taken from: the tensor of scores in it for a class index."""
    return (run_model if is_function(target) else run_forward)(forward_func, args)


def fixed_by_run(target: Any, forward_func: Callable[..., Any], args: Iterable[Any]) -> Any:
    """`fixed_target` by a forward pass of its own, where the target needs one."""
    if not needs_fixing(target):
        return target
    with torch.inference_mode(False), torch.no_grad():
        return fixed_target(target, run_model(forward_func, copies(args)))


class FastOrder:
    """Gives a model images in the memory order in which a CPU's convolutions are fastest.

    Channels last takes a tenth to a half of the time of a forward pass away, and adds up in another
    order: values differ by rounding. Other devices and other inputs than (N, C, H, W) get what is
    given; so does a model, from then on, that takes a ``view`` of what it computed.
    """

    def __init__(self) -> None:
        self._taken = True

    def __call__(self, run: Callable[[list[Tensor]], T], inputs: Sequence[Tensor]) -> T:
        """What ``run`` gives for the inputs, which it may have to be called for twice."""
        given = list(inputs)
        if self._taken:
            fast = [channels_last(x) for x in given]
            try:
                return run(fast)
            except RuntimeError as error:
                if all(map(is_, fast, given)) or not minds_order(error):
                    raise
            self._taken = False
        return run(given)


def channels_last(images: Tensor) -> Tensor:
    """Floating images (N, C, H, W) of the CPU in that order; any other tensor as it is."""
    fits = images.ndim == 4 and images.device.type == "cpu" and images.is_floating_point()
    return images.contiguous(memory_format=torch.channels_last) if fits else images


def minds_order(error: RuntimeError) -> bool:
    """Whether a model failed because of the memory order of what it got."""
    return "view size is not compatible" in str(error)
