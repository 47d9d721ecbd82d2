"""One layer's activations for batch after batch, without what a single run costs each time."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.module_walk import in_training
from captum_cnn_ext._engine.running.batching import in_fitting_parts
from captum_cnn_ext._engine.running.forward import FastOrder
from captum_cnn_ext._engine.running.hooks import Probe, check_reached, probes_for, run_observed
from captum_cnn_ext._engine.running.layer_recording import record
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext._engine.to_device import to_device
from captum_cnn_ext.errors import ArgumentError


def home_of(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where a model's floating parameters are, and their type; the CPU and float32 without any."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    return like.device, like.dtype


def refuse_training(model: nn.Module) -> None:
    """Refuse a model whose values for an image depend on its batch.

    Raises:
        ArgumentError: a module is in training mode.
    """
    training = [
        name or "the model" for name, module in model.named_modules() if in_training(module)
    ]
    if training:
        raise ArgumentError(
            f"model: {training[0]!r} is in training mode, where values depend on chance and on the "
            "rest of the batch; call model.eval() first"
        )


@contextmanager
def streamed(
    model: nn.Module, site: Site, autocast: torch.dtype | None = None
) -> Iterator[Callable[[Tensor], Tensor]]:
    """A function from a batch of images to the layer's output, in inference mode, early-stopped.

    The model must be in evaluation mode, so that an image's values do not depend on its batch.

    Raises:
        ArgumentError: a module is in training mode, or the layer is not reached or gives several
            tensors.
    """
    refuse_training(model)
    device, dtype = home_of(model)
    counts: list[int | None] = []
    order = FastOrder()

    def run(images: Tensor) -> Tensor:
        images = to_device(images, device, dtype)
        return _laid_out_as(images, order(lambda given: pass_over(*given), [images]))

    def pass_over(images: Tensor) -> Tensor:
        if not counts:
            counts.extend(
                p.expected_calls for p in probes_for(model, [site], (images,), count=True)
            )
        probe = Probe(site, counts[0])
        mixed: Any = torch.autocast(device.type, autocast) if autocast else nullcontext()
        with torch.inference_mode(), mixed:
            run_observed(model, [probe], (images,), False, True, False)
        check_reached([probe])
        ((first, *more),) = probe.parts.values()
        if more:
            raise ArgumentError(
                f"layer {site.name!r}: gives {1 + len(more)} tensors; choose a layer that gives one"
            )
        return first

    with state_as_found(model, [torch.zeros((), device=device)]):
        yield in_fitting_parts(run)


@contextmanager
def streamed_gradients(
    model: nn.Module,
    site: Site,
    score: Callable[[Tensor], Tensor],
    autocast: torch.dtype | None = None,
) -> Iterator[Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]:
    """A function from a batch to outputs, the layer's output, and the scores' gradient there.

    ``score`` makes one score for each image of the outputs. No graph is built before the layer; of
    one that runs several times the calls are counted once, with the first image.

    Raises:
        ArgumentError: a module is in training mode, or the layer is not reached, gives several
            tensors, or has no gradient.
    """
    refuse_training(model)
    device, dtype = home_of(model)
    order = FastOrder()

    def run(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        images = to_device(images, device, dtype)
        outputs, activations, gradients = order(lambda given: pass_over(*given), [images])
        return outputs, _laid_out_as(images, activations), _laid_out_as(images, gradients)

    def pass_over(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        nonlocal site
        mixed: Any = torch.autocast(device.type, autocast) if autocast else nullcontext()
        if site.call is None:  # else the graph would begin at the first call, to be sure
            with mixed, record(model, [site], (images[:1],), need_output=True) as recording:
                site = dataclasses.replace(site, call=recording.calls(0) - 1)
        with mixed, record(model, [site], (images,), gradients=True) as recording:
            outputs = output_tensor(recording.output, "model")
            (gradients,) = recording.gradients(score(outputs))
            activations = recording.activations(0)
        if len(activations) > 1:
            raise ArgumentError(
                f"layer {site.name!r}: gives {len(activations)} tensors; choose a layer that "
                "gives one"
            )
        return outputs.detach(), activations[0], gradients[0]

    with state_as_found(model, [torch.zeros((), device=device)]):
        yield in_fitting_parts(run)


def _laid_out_as(images: Tensor, found: Tensor) -> Tensor:
    """What a layer gave, in the memory order of the images that the user gave."""
    return found.contiguous() if images.is_contiguous() else found
