"""The tensor of scores in what a model returns."""

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any

from torch import Tensor

from captum_cnn_ext.errors import ArgumentError

_LOGITS = ("['logits']", ".logits")  # transformers; torchvision's inception and googlenet
_SEGMENTATION = {"['out']", "['aux']"}  # torchvision; aux is a loss's, at an earlier layer
_DEEPEST, _LISTED = 4, 8


class OutputError(ArgumentError, TypeError):
    """A model's output in which the tensor of scores is missing or not certain."""


def output_tensor(output: Any, parameter: str = "forward_func") -> Tensor:
    """The tensor of scores (N, ...) that a model's output is or holds.

    A tensor is taken as it is. Of a mapping, a tuple, a list, a dataclass or another object it is
    the floating tensor called ``logits``; ``out`` of torchvision's segmentation models; or the only
    floating tensor with a dimension of examples.

    Raises:
        OutputError: none of these; the message lists the tensors that there are.
    """
    return _chosen(output, parameter)[1]


def output_expression(output: Any) -> str:
    """What takes that tensor out of the output, as Python: ``['logits']``, empty for a tensor.

    Raises:
        OutputError: as `output_tensor`.
    """
    return _chosen(output, "forward_func")[0]


def tensor_forward(forward_func: Callable[..., Any]) -> Callable[..., Tensor]:
    """``forward_func`` for Captum's own classes, which read nothing but tensors."""
    return lambda *args, **kwargs: output_tensor(forward_func(*args, **kwargs))


def _chosen(output: Any, parameter: str) -> tuple[str, Tensor]:
    """The tensor of scores and the expression that takes it out."""
    if isinstance(output, Tensor):
        return "", output
    found = dict(_tensors(output, "", 0))
    scores = {at: t for at, t in found.items() if t.is_floating_point() and t.ndim}
    named = [at for at in _LOGITS if at in scores] or (
        ["['out']"] if set(scores) == _SEGMENTATION else list(scores)
    )
    if len(named) == 1:
        return named[0], scores[named[0]]
    raise OutputError(f"{parameter}: {_refusal(output, found, list(scores))}")


def _tensors(value: Any, at: str, depth: int) -> list[tuple[str, Tensor]]:
    """Every tensor in an output, with the expression that takes it out."""
    if isinstance(value, Tensor):
        return [(at, value)]
    parts: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        parts = [(f"[{key!r}]", part) for key, part in value.items()]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = [(f".{name}", getattr(value, name)) for name in value._fields]
    elif isinstance(value, (list, tuple)):
        parts = [(f"[{i}]", part) for i, part in enumerate(value)]
    elif is_dataclass(value) or (depth == 0 and hasattr(value, "__dict__")):
        parts = [(f".{name}", part) for name, part in vars(value).items() if name[:1] != "_"]
    if depth >= _DEEPEST:
        return []
    return [found for name, part in parts for found in _tensors(part, at + name, depth + 1)]


def _refusal(output: Any, found: Mapping[str, Tensor], scores: list[str]) -> str:
    kind = type(output).__name__
    if not found:
        return f"expected it to return a tensor (N, ...), got {kind} without a tensor"
    if any(at.endswith(("['boxes']", ".boxes")) for at in found):
        return (
            f"expected it to return a tensor (N, ...), got the boxes of a detector ({kind}); "
            "explain target=captum_cnn_ext.targets.Boxes(0), on the command line "
            f"--target box:0. To explain a tensor of it: lambda x: model(x){next(iter(found))}"
        )
    listed = [f"{at} {tuple(t.shape)} {t.dtype}" for at, t in list(found.items())[:_LISTED]]
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    which = "several could be" if scores else "none is"
    return (
        f"expected it to return a tensor (N, ...), got {kind} with "
        f"{', '.join(listed)}{more}, of which {which} the scores. Wrap the model so that it "
        f"returns one tensor, e.g. lambda x: model(x){(scores or list(found))[0]}, or a "
        "torch.nn.Module whose forward does this where a module is needed"
    )
