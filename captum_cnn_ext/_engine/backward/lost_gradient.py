"""Why a score has no gradient at a layer: the forward pass once more, watched for where it ends."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from captum_cnn_ext._engine.backward.activation_checkpoints import in_reentrant_checkpoint
from captum_cnn_ext._engine.backward.autograd_graph import connected
from captum_cnn_ext._engine.nested_tensors import tensors_in, tensors_of_output
from captum_cnn_ext._engine.running.undo import Undo
from captum_cnn_ext.errors import ArgumentError

WITHOUT_GRADIENTS = (
    "LayerEigenCam, LayerAblationCam, LayerScoreCam and LayerReciproCam need no gradient"
)
OF_QUANTISED = (
    "LayerEigenCam, LayerScoreCam, Occlusion and Rise explain a quantised model, every method the "
    "model that it was made from"
)
_INFERENCE = "torch.inference_mode, where no gradient begins; torch.no_grad would allow it"
_VALUES = ("item", "tolist", "numpy", "float", "int", "bool", "index", "complex", "array")
_REFUSAL = "on Tensor that requires grad"  # of numpy()
_CUTS = ("detach", "detach_", "data")


@dataclass
class _End:
    """An operation that had the gradient of its input, and whose results have none."""

    operation: str
    place: str
    reason: str
    rank: int  # 0: results that could have had one, 1: integers, 2: values outside torch

    def __str__(self) -> str:
        return f"{self.operation}{f' in {self.place}' if self.place else ''} {self.reason}"


class LostGradient(TorchFunctionMode):
    """Watches a forward pass for the operations where the gradient at ``starts()`` ends.

    Use :func:`watching`, which also knows in which module an operation ran.
    """

    def __init__(self) -> None:
        super().__init__()
        self.starts: Callable[[], Sequence[Tensor]] = list
        self._running: list[tuple[str, int, int]] = []  # modules, and what was there before them
        self._operations = 0
        self.ends: list[_End] = []
        self._left: set[int] = set()  # the ends after which values left torch
        self._after: dict[int, tuple[Tensor, set[int]]] = {}  # which ends a tensor comes after

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = _name(func)
        self._operations += 1
        live = [t for t in tensors_in((args, kwargs)) if self._lives(t)]
        found = func(*args, **(kwargs or {}))
        results = tensors_in(found)
        after = {e for t in tensors_in((args, kwargs)) for e in self._ends_before(t)}
        if not results and _leaves_torch(name, found):
            self._left |= after
        if live and (end := self._end(name, found, results)) is not None:
            after.add(len(self.ends))
            self.ends.append(end)
        if name.endswith(("_", "__setitem__")):
            results = [*results, *tensors_in(args[:1])]
        self._note(results, after)
        return found

    def enter(self, module: str) -> None:
        """A module's call begins."""
        self._running.append((module, self._operations, len(self.ends)))

    def leave(self, given: Any, output: Any) -> None:
        """The call ends; what happened out of sight in it shows in its results."""
        module, operations, ends = self._running.pop()
        results = tensors_in(output)
        if not results or not any(self._lives(t) for t in tensors_in(given)):
            return
        if any(self._lives(t) or self._ends_before(t) for t in results):
            return
        if operations == self._operations:
            self._note(results, {len(self.ends)})
            self.ends.append(_End(module, "", "computes outside autograd", 0))
        else:  # values that left torch may have come back
            self._note(results, {end for end in self._left if end >= ends})

    def outside(self) -> None:
        """No module is running any more, also where the pass was stopped early."""
        self._running.clear()

    def reason(self, output: Any) -> str:
        """Where the gradient on the way to ``output`` ends; empty where it does not."""
        reached = {e for t in tensors_of_output(output) for e in self._ends_before(t)}
        candidates = [self.ends[i] for i in sorted(reached or self._left)]
        return str(min(candidates, key=lambda end: end.rank)) if candidates else ""

    def _end(self, name: str, found: Any, results: list[Tensor]) -> _End | None:
        place = self._running[-1][0] if self._running else ""
        if name.endswith("_like") or name.startswith("new_"):  # of the tensor, not its values
            return None
        if not results:
            if not _leaves_torch(name, found):
                return None
            self._left.add(len(self.ends))
            return _End(name, place, "takes the values out of PyTorch", 2)
        if any(self._lives(t) for t in results):
            return None
        floating = [t for t in results if t.is_floating_point() or t.is_complex()]
        if name in _CUTS:
            return _End(name, place, "cuts the graph", 0)
        if not floating:
            return _End(name, place, f"gives {results[0].dtype}, which has no gradient", 1)
        if any(t.is_inference() for t in floating):
            return _End(name, place, "runs under torch.inference_mode", 0)
        if not torch.is_grad_enabled():
            why = (
                ", as torch.utils.checkpoint with use_reentrant=True does"
                if in_reentrant_checkpoint()
                else ""
            )
            return _End(name, place, f"runs under torch.no_grad{why}", 0)
        return _End(name, place, "has no derivative", 0)

    def _lives(self, tensor: Tensor) -> bool:
        """Whether a tensor has a gradient at the starts."""
        starts = [t for t in self.starts() if t.requires_grad]
        if any(tensor is start for start in starts):
            return True
        if not starts or tensor.grad_fn is None:
            return False
        with torch.inference_mode(False):
            return connected(starts, tensor)

    def _ends_before(self, tensor: Tensor) -> set[int]:
        return self._after[id(tensor)][1] if id(tensor) in self._after else set()

    def _note(self, tensors: list[Tensor], ends: set[int]) -> None:
        for tensor in tensors if ends else ():
            self._after[id(tensor)] = (tensor, ends | self._ends_before(tensor))


class LeavesTorchError(ArgumentError):
    """The model takes values out of PyTorch, or out of autograd, where a gradient is."""


@contextmanager
def values_stay() -> Iterator[None]:
    """Explain autograd's refusal of ``tensor.numpy()``, and of tensors of inference mode.

    Raises:
        LeavesTorchError: the model has such where gradients are on.
    """
    try:
        yield
    except RuntimeError as error:
        if "Inference tensors cannot be saved for backward" in str(error):
            raise LeavesTorchError(
                f"forward_func: a part of the model runs under {_INFERENCE}. {WITHOUT_GRADIENTS}."
            ) from error
        if _REFUSAL not in str(error):
            raise
        raise LeavesTorchError(
            f"forward_func: takes values out of PyTorch ({error}), where a gradient ends. "
            f"{WITHOUT_GRADIENTS}."
        ) from error


def gradient_end(
    root: nn.Module | None,
    starts: Sequence[Tensor],
    run: Callable[[], Any],
    then: Callable[[Any], Any] = lambda output: output,
) -> str:
    """Where the gradient between ``starts`` and ``then(run())`` ends; "" for nowhere.

    ``run`` runs the model, perhaps not to its end; ``then`` is no part of the model.
    """
    lost = LostGradient()
    lost.starts = lambda: starts
    with watching(root, lost):
        output = run()
        lost.outside()
        output = then(output)
    return lost.reason(output)


def why_no_gradient(
    layer: str | None, starts: Sequence[Tensor], end: str, selection: bool = False
) -> str:
    """The message for a score that has no gradient at a layer (None: at the inputs).

    ``end`` is the operation at fault; ``selection`` says that the output itself has a gradient.
    """
    where = "inputs" if layer is None else f"layer {layer!r}"
    if any(t.is_inference() for t in starts):
        return f"{where}: the model computes it under {_INFERENCE}. {WITHOUT_GRADIENTS}."
    if not any(t.requires_grad for t in starts):
        kinds = ", ".join(sorted({str(t.dtype) for t in starts}))
        other = OF_QUANTISED if any(t.is_quantized for t in starts) else WITHOUT_GRADIENTS
        return f"{where}: has no gradient there, as {kinds} has none. {other}."
    if end:
        return f"{where}: the score has no gradient there, because {end}. {WITHOUT_GRADIENTS}."
    if selection:
        return (
            f"{where}: the score has no gradient there, though the model's output has; what "
            "selects the score from the output cuts it off."
        )
    if layer is None:
        return "inputs: what is explained does not depend on them."
    return not_used(layer)


def not_used(layer: str) -> str:
    """The message for a layer that has no part in the score."""
    return (
        f"layer {layer!r}: the target's score does not depend on this layer; choose a layer on the "
        "path to the output, or another call= of it."
    )


@contextmanager
def watching(root: nn.Module | None, lost: LostGradient) -> Iterator[None]:
    """``lost`` in force, told which of the root's modules are running."""
    owner = threading.current_thread()
    undo = Undo()

    def watch(name: str, module: nn.Module) -> None:
        label = f"{name!r} ({type(module).__name__})" if name else type(module).__name__

        def begin(*_: Any) -> None:
            if threading.current_thread() is owner:
                lost.enter(label)

        def end(_: nn.Module, args: Any, output: Any) -> None:
            if threading.current_thread() is owner:
                with torch._C.DisableTorchFunction():
                    lost.leave(args, output)

        undo.hook(module, begin, before=True)
        undo.hook(module, end)

    with undo, undo:
        scripted: list[str] = []
        for name, module in root.named_modules() if root is not None else ():
            if not any(name.startswith(f"{other}.") for other in scripted):
                watch(name, module)
            if isinstance(module, torch.jit.ScriptModule):
                scripted.append(name)
        with lost:
            yield


def _leaves_torch(name: str, found: Any) -> bool:
    return found is not None and name.strip("_").split(".")[-1] in _VALUES


def _name(func: Any) -> str:
    """An operation as it is written: "detach", "torch.nn.functional.linear"."""
    name = resolve_name(func) or getattr(func, "__name__", str(func))
    return str(name).removeprefix("torch.Tensor.").removesuffix(".__get__")
