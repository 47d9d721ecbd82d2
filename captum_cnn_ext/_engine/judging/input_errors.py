"""Why a model cannot take its inputs, said from what the failing layer got and what it takes."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from captum_cnn_ext._engine.judging.arguments import layer_name
from captum_cnn_ext._engine.judging.outputs import OutputError, output_tensor
from captum_cnn_ext._engine.module_walk import modules_in
from captum_cnn_ext.errors import ArgumentError

_TYPES = re.compile(r"dtype|scalar type|[Ii]nput type|for '\w+'|result type")
_SMALL = re.compile(r"too small|greater than actual input size")
_DIMENSIONS = re.compile(r"[Dd]imension|[Ee]xpected \d+D|shape")
_GUARD = "Guard failed"  # of the shapes of an exported program
_EXPORTED = (
    "this exported program takes only the shapes that it was exported with; export it with a "
    "dynamic batch, dynamic_shapes=({0: torch.export.Dim('batch')},), or use a method that runs "
    "the inputs as they are, such as LayerHiResCam"
)
_SIZES = {1: "L", 2: "H, W", 3: "D, H, W"}


@contextmanager
def input_errors_explained(root: nn.Module | None, inputs: Sequence[Any]) -> Iterator[None]:
    """Puts what is wrong with the inputs before the error that the model raises because of them.

    Errors with another cause go through as they are.

    Raises:
        ArgumentError: the inputs' type, channels, size or missing batch; its cause is the error.
    """
    try:
        yield
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        tensors = [value for value in inputs if isinstance(value, Tensor)]
        ours = isinstance(error, (ArgumentError, torch.OutOfMemoryError))
        why = "" if ours or not tensors else _reason(root, tensors, error)
        if not why:
            raise
        raise ArgumentError(f"inputs: {why}") from error


def check_rows(root: nn.Module | None, inputs: Sequence[Any], output: Any) -> None:
    """Refuse one image without a batch that a convolutional network took for something else.

    PyTorch's convolutions take (C, H, W); what comes out then has no dimension of examples.

    Raises:
        ArgumentError: the output has rows, and another number of them than the inputs.
    """
    if not inputs or not isinstance(inputs[0], Tensor) or not perhaps_one_image(root, inputs[0]):
        return
    try:
        scores = output_tensor(output)
    except OutputError:
        return
    if scores.ndim and len(scores) not in (1, len(inputs[0])):
        raise ArgumentError(
            f"inputs: the model's output {tuple(scores.shape)} has no row for each of "
            f"{len(inputs[0])} examples; {_one_image(inputs[0])}"
        )


def _reason(root: nn.Module | None, inputs: list[Tensor], error: Exception) -> str:
    """What is wrong with the inputs, or an empty string where that is not known."""
    text, first = str(error), inputs[0]
    if isinstance(error, AssertionError):
        return f"{_shapes(inputs)}, while {_EXPORTED} ({text})" if text.startswith(_GUARD) else ""
    module, given = _failing(error)
    weight = getattr(module, "weight", None)
    known = weight.dtype if isinstance(weight, Tensor) else _weights_type(root)
    if _TYPES.search(text) and known and not isinstance(module, nn.Embedding):
        if first.dtype != known and (given is None or given.dtype == first.dtype):
            return f"{first.dtype}, while the model's weights are {known}; {_cast(first, known)}"
    if module is None or given is None:
        if perhaps_one_image(root, first) and _DIMENSIONS.search(text):
            return f"the model fails on {_shapes([first])}; {_one_image(first)}"
        return ""
    layer = f"layer {layer_name(root, module)!r} ({type(module).__name__})"
    if isinstance(module, _NormBase) and "when training" in text:
        return (
            f"{layer} gets {_shapes([given])} in training mode, and one value has no variance; "
            "call model.eval() first"
        )
    if _SMALL.search(text):
        return f"{_shapes(inputs)} is too small for this network: {layer} gets {_shapes([given])}"
    if isinstance(module, _NormBase) and given.ndim == 3 and perhaps_one_image(root, first):
        return f"{layer} gets {_shapes([given])}; {_one_image(first)}"
    if isinstance(module, _ConvNd):
        if perhaps_one_image(root, first) and given.shape != first.shape:
            return f"{layer} gets {_shapes([given])}; {_one_image(first)}"
        return _at_convolution(module, layer, given, inputs)
    if isinstance(module, nn.Linear) and given.shape[-1] != module.in_features:
        if perhaps_one_image(root, first) and given.ndim > 1 and len(given) != len(first):
            return f"{layer} gets {_shapes([given])}; {_one_image(first)}"
        return (
            f"{_shapes(inputs)} leaves {given.shape[-1]} features for {layer}, which takes "
            f"{module.in_features}; if the model runs on inputs of another size, it fits that size "
            "only: resize them, or pool to a fixed size before this layer"
        )
    return ""


def _at_convolution(module: _ConvNd, layer: str, given: Tensor, inputs: list[Tensor]) -> str:
    sizes, takes = _SIZES[len(module.kernel_size)], module.in_channels
    positions = len(module.kernel_size)
    own = given.shape in [t.shape for t in inputs]
    expected = f"{layer} expects (N, {takes}, {sizes})"
    if own and given.ndim == positions + 1 and given.shape[0] == takes:
        return ""  # a batch is not needed for this layer
    if given.ndim not in (positions + 1, positions + 2):
        return f"{_shapes([given])} has {given.ndim} dimensions; {expected}" if own else ""
    if given.shape[-positions - 1] == takes:
        return ""
    if not own:
        return f"{_shapes(inputs)} gives {_shapes([given])} to a layer in the model; {expected}"
    if given.ndim == positions + 1:
        order = f"{positions}, {', '.join(map(str, range(positions)))}"
        hint = (
            f"; for one image ({sizes}, C) pass inputs.permute({order}).unsqueeze(0)"
            if given.shape[-1] == takes
            else ""
        )
        return f"{_shapes([given])} has no batch dimension, or no channels; {expected}{hint}"
    hint = ""
    if given.shape[-1] == takes:
        order = f"0, {positions + 1}, {', '.join(str(d + 1) for d in range(positions))}"
        hint = f"; for channels last pass inputs.permute({order})"
    elif given.shape[1] == 1:
        hint = (
            f"; for a grey image pass inputs.expand(-1, {takes}, {', '.join(['-1'] * positions)})"
        )
    elif given.shape[1] == 4 and takes == 3:
        hint = "; for an image with opacity pass inputs[:, :3]"
    return f"{_shapes([given])} has {given.shape[1]} channel(s); {expected}{hint}"


def _failing(error: Exception) -> tuple[nn.Module | None, Tensor | None]:
    """The module of PyTorch whose code raised the error, and the tensor that it had been given."""
    module: Any = None
    given: Any = None
    trace = error.__traceback__
    while trace is not None:
        local = trace.tb_frame.f_locals
        owner = local.get("self")
        if isinstance(owner, nn.Module) and type(owner).__module__.startswith("torch.nn."):
            value = local.get("input", local.get("x"))
            if owner is not module or isinstance(value, Tensor):
                module, given = owner, value if isinstance(value, Tensor) else None
        elif isinstance(owner, nn.Module):
            module = given = None  # code of a model, further in
        trace = trace.tb_next
    return module, given


def _weights_type(root: nn.Module | None) -> torch.dtype | None:
    """The only floating type of the model's weights."""
    found = {p.dtype for p in root.parameters() if p.is_floating_point()} if root else set()
    return found.pop() if len(found) == 1 else None


def _cast(given: Tensor, dtype: torch.dtype) -> str:
    if given.is_floating_point():
        mixed = given.dtype == torch.float32 and dtype.itemsize == 2
        return f"pass inputs.to({dtype})" + ", or use torch.autocast" * mixed
    scaled = "inputs.to({}) / 255 and the normalisation" if given.dtype == torch.uint8 else (
        "inputs.to({}) and the preprocessing"
    )  # fmt: skip
    return f"pass {scaled.format(dtype)} that the model was trained with"


def perhaps_one_image(root: nn.Module | None, given: Tensor) -> bool:
    """Whether (C, H, W) is given to a network with two-dimensional convolutions only."""
    if root is None or given.ndim != 3:
        return False
    convolutions = [m for m in modules_in(root) if isinstance(m, _ConvNd)]
    return bool(convolutions) and all(len(m.kernel_size) == 2 for m in convolutions)


def _one_image(given: Tensor) -> str:
    return (
        f"if {_shapes([given])} is one image, it lacks the dimension of examples: pass "
        "inputs.unsqueeze(0), as (N, C, H, W)"
    )


def _shapes(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"shape {tuple(t.shape)}" for t in tensors)
