"""Gradients of models that write in place into tensors which autograd has saved.

Detection heads do: ``y = sigmoid(...)``, then ``y[..., :2] = ...``, while the gradient of the
sigmoid is computed from y. Without gradients that is right, with them autograd refuses the backward
pass. Here the forward pass runs once more, and what is saved is copied before it is written into.

``torch.autograd.graph.allow_mutation_on_saved_tensors`` does the same, but only for one thread of
the process at a time, and the backward pass must run inside it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakSet

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from captum_cnn_ext._engine.backward.autograd_graph import nodes_before
from captum_cnn_ext._engine.nested_tensors import tensors_of_output
from captum_cnn_ext._engine.trace.operation_follower import memory_of, named_arguments, written_by

T = TypeVar("T")
_MESSAGE = "modified by an inplace operation"
_SPLITS = ("split", "chunk", "unbind", "split_with_sizes", "tensor_split", "hsplit", "vsplit")
_SAVED: dict[type, list[str]] = {}  # a node's class: the attributes that give its saved tensors


def differentiable(run: Callable[[], T]) -> T:
    """What ``run`` returns, with a graph that a backward pass can go through.

    ``run`` is called again where its first graph is of no use; it must not change its arguments.
    """
    try:
        found = run()
        if not written_into(tensors_of_output(found)):
            return found
        del found
    except RuntimeError as error:
        if not refuses_a_write(error):
            raise
    with writes_allowed():
        return run()


def through_hidden_writes(run: Callable[[], T]) -> T:
    """What ``run``, with its backward pass, returns; again where that meets a tensor written into.

    An in-place operation on a view hides what it saved from :func:`written_into`.
    """
    try:
        return run()
    except RuntimeError as error:
        if _MESSAGE not in str(error):
            raise
    with writes_allowed():
        return run()


@contextmanager
def writes_allowed() -> Iterator[None]:
    """In the block, a model may write in place wherever it may without gradients."""
    with CopiesBeforeWrites(), SingleViews():
        yield


def refuses_a_write(error: RuntimeError) -> bool:
    """Whether autograd refused an in-place operation in the forward pass."""
    return "is being modified inplace" in str(error)


def written_into(ends: Iterable[Tensor], *, hidden: bool = False) -> bool:
    """Whether a tensor saved in the graph of ``ends`` was written into after it was saved.

    A walk over the graph: 0.2 ms for a ResNet-50. In-place operations on views do not show what
    they saved; they count as written into where ``hidden``.
    """
    for node in nodes_before(ends):
        if hidden and node.name().endswith("CopySlices"):
            return True
        try:
            for name in _saved_names(type(node)):
                getattr(node, name)  # autograd compares versions here, as in a backward pass
        except RuntimeError as error:
            if _MESSAGE in str(error):
                return True
    return False


def _saved_names(kind: type) -> list[str]:
    if kind not in _SAVED:
        names = [name.removeprefix("_raw") for name in dir(kind) if name.startswith("_raw_saved_")]
        custom = issubclass(kind, torch.autograd.function.BackwardCFunction)
        _SAVED[kind] = ["saved_tensors"] if custom else names
    return _SAVED[kind]


class SingleViews(TorchFunctionMode):
    """Parts of a split tensor as views one by one: autograd lets nothing write into joint ones."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") not in _SPLITS or not isinstance(found, (tuple, list)):
            return found
        whole = args[0] if args else next(iter(kwargs.values()))
        return type(found)(
            whole.as_strided(part.shape, part.stride(), part.storage_offset()) for part in found
        )


class _Saved:
    """One saved tensor: itself, or the copy made before something was written into it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class CopiesBeforeWrites(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """In its block, tensors that autograd saved are copied before an operation writes into them.

    The graph stays good after the block.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._saved: dict[int | None, WeakSet[_Saved]] = {}  # by the storage they share
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._save, lambda s: s.tensor)

    def _save(self, tensor: Tensor) -> _Saved:
        saved = _Saved(tensor.detach())  # detached: an operation's own output would keep its node
        self._saved.setdefault(memory_of(tensor), WeakSet()).add(saved)
        return saved

    def __enter__(self) -> Any:
        self._hooks.__enter__()
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        try:
            super().__exit__(*error)  # type: ignore[no-untyped-call]
        finally:
            self._hooks.__exit__(*error)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            for tensor in written_by(func, named_arguments(func, args, kwargs)):
                for saved in self._saved.pop(memory_of(tensor), ()):
                    saved.tensor = saved.tensor.clone()
        return func(*args, **kwargs)
