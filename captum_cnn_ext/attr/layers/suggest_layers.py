"""Which layer to look at: the last convolution stage before global pooling, and earlier ones."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from captum_cnn_ext._engine.judging.arguments import root_module
from captum_cnn_ext._engine.judging.input_errors import perhaps_one_image
from captum_cnn_ext._engine.judging.input_sizes import input_shape
from captum_cnn_ext._engine.running.forward import copies, inputs_judged_first, run_model
from captum_cnn_ext._engine.trace.forward_trace import Trace
from captum_cnn_ext._engine.trace.trace_recorder import trace_of
from captum_cnn_ext.attr.layers.layer_outputs import (
    INERT,
    LayerOutput,
    LayerSuggestion,
    holds,
    is_in,
    is_map,
    size_of,
)
from captum_cnn_ext.attr.layers.layers_of_target import before_the_head, of_target
from captum_cnn_ext.attr.layers.reshape_transform import channel_transform
from captum_cnn_ext.errors import ArgumentError


def suggest_layers(
    model: nn.Module,
    inputs: Tensor | tuple[Tensor, ...] | int | Sequence[int],
    target: Any = None,
) -> list[LayerSuggestion]:
    """The layers whose maps are worth looking at, the usual choice first.

    First comes the end of the last convolution stage: the last place with the resolution of the
    last convolution before the network pools its positions away. Its features are the most
    abstract that still know where they are, which is what Grad-CAM and its relatives need. Then
    come the ends of the earlier stages, each with a finer map and simpler features, for methods
    that hold there too (LayerCAM, HiResCAM, ``fuse``, RefineCAM).

    Of a detector or a segmentation network these are the stages of its backbone. A network without
    one that holds most convolutions, such as a U-Net, gets the end of its decoder first, then its
    coarsest stage and those before it. Of a vision transformer it is the first normalisation of the
    last block at each resolution, as in the literature on CAMs of transformers; the classes of
    ``attr`` read its tokens as a map.

    With a ``target`` only those layers are suggested that its score depends on in these very
    inputs: a detector reads small and large boxes off different maps, and in SSD a small box knows
    nothing of the last stage, whose map would be 0 everywhere. The map that a detector reads the
    box off comes first. Where the inputs or the boxes of the score differ in that, those layers
    come that all of them depend on.

    Cost: none where the model runs on the meta device (shapes only), else one forward pass. With a
    target one more for each input, and a backward pass for each input and box (ten boxes at most).

    Args:
        model: a ``torch.nn.Module`` with convolutions, in evaluation mode.
        inputs: example inputs, or a size: 224, (224, 224), (3, 224, 224) or (1, 3, 224, 224); for
            1-D and 3-D networks with as many positions as they have.
        target: what will be explained, as ``attribute`` takes it, such as a class or
            ``captum_cnn_ext.targets.Boxes(0)``; then ``inputs`` are the images themselves.

    Returns:
        Suggestions from the last stage to the first.

    Raises:
        TypeError: ``model`` is no module.
        ArgumentError: ``inputs`` are neither tensors nor a size; there is no convolution stage and
            no transformer's block whose tokens are certain to be a map; or the score has no
            gradient at any of the layers.
        TargetError: the output has no such target.

    Example::

        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import suggest_layers
        >>> [layer.name for layer in suggest_layers(resnet18().eval(), 64)]
        ['layer4', 'layer3', 'layer2', 'layer1', 'relu']
    """
    root = root_module(model)
    if root is None:
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    example = _example(root, inputs)
    real = (example is inputs or example[0] is inputs) and not example[0].is_meta
    with inputs_judged_first(root, example) if real else nullcontext():
        outputs = _last_calls(trace_of(root, example))
    if real and perhaps_one_image(root, example[0]):
        with torch.no_grad():
            run_model(root, copies(example))  # which refuses an output without rows
    convolutions = _convolutions(outputs, example)
    if convolutions and _is_classifier(outputs, convolutions[-1]):
        # everything from the classifier on speaks of classes, not of features
        *convolutions, classifier = convolutions
        outputs = outputs[:classifier]
    if not convolutions and isinstance(root, fx.GraphModule):
        raise ArgumentError(
            "model: this exported or traced program runs operations instead of layers; pass the "
            "layer by the name that it has in the original model, such as 'layer4'"
        )
    if not convolutions:
        raise ArgumentError(
            f"model: {type(root).__name__} runs no convolution among its layers that gives (N, C, "
            "*positions) with several positions; pass the layer by name, and "
            "reshape_transform=tokens_to_map(...) where it gives tokens"
        )
    ahead: Sequence[LayerOutput] = []
    if _is_transformer(outputs, convolutions[-1]):
        found = _of_blocks(root, outputs[convolutions[-1] :], example)
    else:
        ahead = before_the_head(outputs, example[0].ndim)
        found = _of_dense(outputs, convolutions) or _of_trunk(ahead or outputs, convolutions)
    return found if target is None else of_target(root, example, target, found, ahead)


def _example(root: nn.Module, inputs: Any) -> tuple[Tensor, ...]:
    """The inputs themselves, or zeros of the size asked for, on the model's device."""
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    if tensors and all(isinstance(x, Tensor) for x in tensors):
        return tensors
    first = next((m for m in root.modules() if isinstance(m, _ConvNd)), None)
    if first is None:
        raise ArgumentError(f"model: {type(root).__name__} has no convolution")
    shape = input_shape("inputs", inputs, root)
    return (torch.zeros(shape, device=first.weight.device, dtype=first.weight.dtype),)


def _last_calls(trace: Trace) -> list[LayerOutput]:
    """What each layer gave in its last call, which is the one that methods look at."""
    calls = [LayerOutput(call.path, call.module, call.shape) for call in trace.finished]
    last = {out.name: index for index, out in enumerate(calls)}
    return [out for index, out in enumerate(calls) if last[out.name] == index]


def _convolutions(outputs: Sequence[LayerOutput], example: tuple[Tensor, ...]) -> list[int]:
    """The indices of the convolutions that give maps, of the input's dimensions if there are any.

    A convolution along channels, as ECA's attention has, gives another number of dimensions.
    """
    found = [i for i, out in enumerate(outputs) if out.name and is_map(out, _ConvNd)]
    like_input = [i for i in found if len(outputs[i].shape) == example[0].ndim]
    return like_input or found


def _is_classifier(outputs: Sequence[LayerOutput], index: int) -> bool:
    """Whether this convolution gives a map for each class, which pooling turns into the scores."""
    module, last = outputs[index].module, outputs[-1].shape
    pointwise = all(n == 1 for n in getattr(module, "kernel_size", ()))
    linear = any(isinstance(out.module, nn.Linear) for out in outputs[index:])
    return pointwise and not linear and len(last) == 2 and last[1] == outputs[index].shape[1]


def _is_transformer(outputs: Sequence[LayerOutput], last: int) -> bool:
    """Whether the last convolution cuts patches, and most of the network comes after it."""
    leaves = [i for i, out in enumerate(outputs) if not list(out.module.children())]
    return len([i for i in leaves if i > last and len(outputs[i].shape) > 2]) > len(leaves) / 2


def _of_blocks(
    root: nn.Module, outputs: Sequence[LayerOutput], example: tuple[Tensor, ...]
) -> list[LayerSuggestion]:
    """The first normalisation of the last transformer block, and of the last at finer grids."""
    norms: dict[str, list[LayerOutput]] = {}
    for out in outputs:
        if type(out.module).__name__.endswith("Norm") and len(out.shape) > 2:
            norms.setdefault(out.name.rpartition(".")[0], []).append(out)
    blocks = [found[0] for found in norms.values() if len(found) > 1]
    if not blocks:
        raise ArgumentError(
            f"model: the last convolution of {type(root).__name__}, {outputs[0].name!r}, comes "
            "before most of the network, as in a vision transformer, and no block with two "
            "normalisations follows. Pass a late block's first normalisation by name, with "
            "reshape_transform=tokens_to_map(...) or channels_last_to_map where its layout is not "
            "recognised."
        )
    found: dict[tuple[int, ...], LayerSuggestion] = {}
    for block in reversed(blocks):
        tokens = torch.empty(block.shape, device="meta")
        shape = tuple(channel_transform(tokens, example, block.name, None)(tokens).shape)
        grid = " x ".join(map(str, shape[2:]))
        reason = f"the first normalisation of {{}} block: {shape[1]} channels on {grid} positions"
        which = "the last" if not found else "an earlier stage's last"
        found.setdefault(shape[2:], LayerSuggestion(block.name, shape, reason.format(which)))
    return list(found.values())


def _of_trunk(outputs: Sequence[LayerOutput], convolutions: Sequence[int]) -> list[LayerSuggestion]:
    """The stages of what comes before the head; the indices are those of the whole model."""
    return _stage_ends(outputs, [i for i in convolutions if i < len(outputs)])


def _of_dense(outputs: Sequence[LayerOutput], convolutions: Sequence[int]) -> list[LayerSuggestion]:
    """Where the model gives boxes or a map for each class: the stages of its backbone.

    Without one the end of the decoder, and the stages before it. Empty for other models.
    """
    whole, last = outputs[-1], outputs[convolutions[-1]]
    if whole.name or len(whole.shape) == 2:
        return []
    pointwise = all(n == 1 for n in getattr(last.module, "kernel_size", ()))
    gives_classes = pointwise and len(whole.shape) > 2 and whole.shape[1] == last.shape[1]
    trunk = _backbone(outputs, convolutions) if gives_classes or not whole.shape else ""
    if trunk:
        inside = [o for o in outputs if is_in(trunk, o.name)]
        kept = [i for i, out in enumerate(inside) if is_map(out, _ConvNd)]
        return _stage_ends(inside, kept, f"of the backbone {trunk!r}")
    if not gives_classes or len(convolutions) < 2:
        return []
    *convolutions, classifier = convolutions
    outputs = outputs[:classifier]  # what gives classes speaks of no features
    decoder = _stage_ends(outputs, convolutions, "before the map of classes")[:1]
    coarsest = min(size_of(outputs[i]) for i in convolutions)
    end = max(i for i in convolutions if size_of(outputs[i]) == coarsest)
    finer = [i for i in range(end, len(outputs)) if size_of(outputs[i]) > coarsest]
    before = outputs[: finer[0] if finer else len(outputs)]
    stages = _stage_ends(before, [i for i in convolutions if i <= end], "of the coarsest map")
    return [*decoder, *(stage for stage in stages if stage.name != decoder[0].name)]


def _backbone(outputs: Sequence[LayerOutput], convolutions: Sequence[int]) -> str:
    """The innermost module with most convolutions and without the last; empty: there is none."""
    names = [outputs[i].name for i in convolutions]
    around = {name.rsplit(".", n)[0] for name in names for n in range(1, name.count(".") + 1)}
    found = [
        module
        for module in around
        if sum(holds(module, name) for name in names) > len(names) / 2
        and not holds(module, names[-1])
    ]
    return max(found, key=len, default="")


def _stage_ends(
    outputs: Sequence[LayerOutput],
    convolutions: Sequence[int],
    which: str = "",
) -> list[LayerSuggestion]:
    """For each resolution at which the network convolves: the module that ends its stage."""
    found: list[LayerSuggestion] = []
    end = len(outputs)
    for index in reversed(convolutions):
        positions = outputs[index].shape[2:]
        if found and size_of(outputs[index]) <= torch.Size(found[-1].shape[2:]).numel():
            continue  # the same stage, or a shortcut that ran after the next one began
        start = next(i for i in convolutions if outputs[i].shape[2:] == positions)
        stage = _stage_end(outputs, convolutions, positions, range(start, end), bool(found))
        size = f"{stage.shape[1]} channels on {' x '.join(map(str, positions))} positions"
        if found:
            reason = f"ends an earlier stage: {size}, a finer map of simpler features"
        elif which:
            reason = f"ends the last stage {which}: {size}"
        else:
            reason = (
                f"ends the last convolution stage: {size}, the last before these are pooled or "
                "flattened away"
            )
        found.append(LayerSuggestion(stage.name, stage.shape, reason))
        end = index + 1
    return found


def _stage_end(
    outputs: Sequence[LayerOutput],
    convolutions: Sequence[int],
    positions: tuple[int, ...],
    calls: range,
    earlier: bool,
) -> LayerOutput:
    """The outermost module, but not most of the network, that gives the stage's last map."""

    def part(name: str) -> bool:
        inside = sum(is_in(name, outputs[i].name) for i in convolutions)
        return inside <= len(convolutions) / 2

    # modules that give another resolution: what is in them belongs to the step to the next stage
    steps = [o.name for o in outputs if o.name and o.shape[2:] != positions and part(o.name)]
    same = [
        outputs[i]
        for i in calls
        if outputs[i].shape[2:] == positions
        and outputs[i].name
        and not isinstance(outputs[i].module, INERT)
    ]
    outside = [o for o in same if not any(holds(step, o.name) for step in steps)]
    last = (outside if earlier and outside else same)[-1]
    around = [o for o in same if o.name == last.name or holds(o.name, last.name)]
    inside = [o for o in same if holds(last.name, o.name) and o.shape == last.shape]
    candidates = [*reversed(around), *reversed(inside)]
    return next((o for o in candidates if part(o.name)), candidates[-1])
