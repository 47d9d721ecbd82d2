"""Forward passes in the graph, again and again: what an ascent on images needs of a model.

Each pass stops at the deepest layer that is looked at, and starts no gradient of a weight:
``torch.autograd.grad`` with respect to the image computes none, so parameters keep their flags and
the model is hooked only while a pass runs. A second thread may use it at the same time.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.backward.batch_norm_of_one_image import one_image_norms
from captum_cnn_ext._engine.backward.saved_tensors import (
    refuses_a_write,
    writes_allowed,
    written_into,
)
from captum_cnn_ext._engine.judging.arguments import observed_module, root_module
from captum_cnn_ext._engine.judging.captum_compat import format_additional_forward_args
from captum_cnn_ext._engine.judging.inputs import check_devices
from captum_cnn_ext._engine.module_walk import modules_in
from captum_cnn_ext._engine.nested_tensors import tensors_of_output
from captum_cnn_ext._engine.running.batching import rows_at_once
from captum_cnn_ext._engine.running.forward import copies, minds_order
from captum_cnn_ext._engine.running.hooks import (
    Probe,
    check_reached,
    probes_for,
    run_observed,
)
from captum_cnn_ext._engine.running.layer_recording import joined
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext._engine.running.state import state_as_found

# A pass on the CPU is slower for each image once a single activation outgrows what the allocator
# keeps: every larger one is mapped and faulted in anew.
_CPU_BYTES = 30_000_000
# The CPU's convolutions are faster with channels last (10 to 25 % of a pass), but the weights of
# kernels above 1 x 1 are then sorted anew in each pass: worth it only with so many pixels for each
# of them (resnet18 at 224 px: one image 1.2 times slower, four images faster).
_PIXELS_PER_WEIGHT = 0.015


@dataclass(frozen=True)
class Passed:
    """The tensors at every site, in the order of the sites, and the output of a whole pass."""

    tensors: list[tuple[Tensor, ...]]
    output: Any


Passes = Callable[[Tensor], Passed]


@contextmanager
def graph_passes(
    forward_func: Callable[..., Any],
    sites: Sequence[Site],
    like: Tensor,
    additional_forward_args: Any = None,
    *,
    need_output: bool = False,
) -> Iterator[Passes]:
    """A function that runs the model on images and gives what the sites saw, in their graph.

    The graph is on inside the block. Buffers and random numbers are as before when it ends;
    ``like`` is on the device whose random numbers that means. Each pass costs one forward pass up
    to the deepest site, or a whole one where ``need_output`` or the calls cannot be counted.

    Raises:
        ArgumentError: (by a pass) a site was not reached, or holds no tensor.
    """
    root = root_module(forward_func)
    check_devices(observed_module(forward_func), [like])
    parallel = isinstance(root, nn.DataParallel)
    pixels = _PIXELS_PER_WEIGHT * _sorted_weights(root)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        extra = copies(format_additional_forward_args(additional_forward_args))
        stack.enter_context(state_as_found(observed_module(forward_func), [like, *extra]))
        expected: list[int | None] | None = None
        writes = False  # whether the model writes in place where autograd refuses it

        def run(images: Tensor) -> Passed:
            nonlocal writes, pixels
            first = expected is None
            try:
                passed = attempt(images)
                ends = tensors_of_output((passed.tensors, passed.output))
                if not (first and written_into(ends, hidden=True)):
                    return passed
            except RuntimeError as error:
                if minds_order(error) and pixels < math.inf:
                    pixels = math.inf
                    return run(images)
                if writes or not refuses_a_write(error):
                    raise
            writes = True
            return attempt(images)

        def attempt(images: Tensor) -> Passed:
            nonlocal expected
            # a copy: a model may write into its input, which the graph before it still needs
            args = (_copy(images, pixels), *copies(extra))
            first = expected is None
            if expected is None:
                count = not (need_output or parallel)
                expected = [
                    p.expected_calls for p in probes_for(forward_func, sites, args, count=count)
                ]
            probes = [Probe(site, n) for site, n in zip(sites, expected, strict=True)]
            with (
                torch.enable_grad(),
                one_image_norms(args),
                writes_allowed() if writes else nullcontext(),
            ):
                output = run_observed(forward_func, probes, args, True, not need_output, parallel)
            if first or not all(probe.parts for probe in probes):
                check_reached(probes)  # warns, so not at every pass
            return Passed([joined(list(probe.parts.values())) for probe in probes], output)

        yield run


def _copy(images: Tensor, pixels: float) -> Tensor:
    """With channels last on the CPU, where there are enough pixels for it."""
    fast = images.ndim == 4 and images.device.type == "cpu" and images[:, 0].numel() >= pixels
    return images.clone(memory_format=torch.channels_last if fast else torch.preserve_format)


def _sorted_weights(root: nn.Module | None) -> int:
    convolutions = [m for m in modules_in(root) if isinstance(m, nn.Conv2d)]
    wide = [m for m in convolutions if max(m.kernel_size) > 1]
    return sum(m.weight.numel() for m in wide)


def graphs_at_once(run_one: Callable[[], Any], device: torch.device) -> int:
    """How many images are worth one pass, by what ``run_one`` keeps for its backward pass.

    On a CPU no single activation outgrows the allocator's cache; on an accelerator the whole graph
    fits into the memory that is free.
    """
    sizes: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run_one()
    largest = max(sizes, default=_CPU_BYTES)
    return rows_at_once(largest, device, _CPU_BYTES // max(1, largest), sum(sizes))
