"""Which pixels every layer's units depend on, from one forward pass that computes nothing.

The pixels are carried through every tensor operation of the forward pass of a copy on the meta
device: through branches and residual sums (the union), reshapes and transposes, resizing and
transposed convolutions. `geometry.FieldTracer` answers another, stricter question in real passes:
whether a cut of the image gives a unit its value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import BaseTorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from captum_cnn_ext._engine.geometry import ELEMENTWISE
from captum_cnn_ext._engine.module_calls import copy_structure, module_calls, tensors_in
from captum_cnn_ext._engine.sight_axis import Axis, NotFollowed
from captum_cnn_ext._engine.sight_rules import RULES, SAME, Operation, Sight
from captum_cnn_ext._engine.state import state_as_found

Sights = tuple[Sight, Sight]


@dataclass(frozen=True)
class LayerSight:
    """What the units of one layer call depend on along rows and columns, or why it is not known."""

    shape: tuple[int, ...]
    sights: Sights | None
    unknown: str = ""


def layer_sights(model: nn.Module, image: Tensor) -> dict[str, list[LayerSight]]:
    """For each module that runs, by its path, what its output depends on, call after call.

    The image (N, C, H, W) may be on the meta device. A module whose output holds no tensor that
    depends on the image is not in the result.

    Raises:
        ValueError: the model cannot run on such an image.
    """
    model = getattr(model, "_orig_mod", model)
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            "model: a TorchScript module hides its layers; expected the original torch.nn.Module"
        )
    with torch.inference_mode(False), torch.no_grad():
        try:
            return _traced(copy_structure(model, True), torch.empty_like(image, device="meta"))
        except Exception:
            pass  # the model looks at values or makes tensors of its own: run it for real
        parameters = list(model.parameters())
        device = parameters[0].device if parameters else torch.device("cpu")
        real = torch.zeros(image.shape, dtype=image.dtype, device=device)
        with state_as_found(None, [real]):
            try:
                return _traced(copy_structure(model, False), real)
            except Exception:
                module_calls(model, [image])  # says which layer failed and what it expects
                raise


def _traced(twin: nn.Module, image: Tensor) -> dict[str, list[LayerSight]]:
    tracer = _SightTracer()
    found: dict[str, list[LayerSight]] = {}

    def leave(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            tracer.inside.pop()
            for tensor in tensors_in(output):
                if (sight := tracer.of(tensor)) is not None:
                    found.setdefault(path, []).append(sight)
                    break

        return hook

    def enter(path: str) -> Callable[..., None]:
        return lambda module, args: tracer.inside.append(path)

    for path, module in twin.named_modules():
        module.register_forward_pre_hook(enter(path))
        module.register_forward_hook(leave(path))
    tracer.begin(image)
    # any function mode keeps attention off its fused kernel, which is one opaque operation
    with BaseTorchFunctionMode(), tracer or nullcontext():
        twin(image)
    return found


class _SightTracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Carries the sights of an image through every operation inside its ``with`` block."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # tensors that the image has a part in: their sights, or why they are not known
        self._known: Any = WeakIdKeyDictionary()
        self._unsound = ""
        self.inside: list[str] = []

    def begin(self, image: Tensor) -> None:
        """The tensor whose pixels are counted, (N, C, H, W)."""
        rows, columns = (Axis.of_pixels(n) for n in image.shape[2:])
        self._known[image] = (Sight(rows, 2), Sight(columns, 3))

    def of(self, tensor: Tensor) -> LayerSight | None:
        """What is known of a tensor; None where the image has no part in it."""
        known = self._known.get(tensor)
        if self._unsound or isinstance(known, str):
            return LayerSight(tuple(tensor.shape), None, self._unsound or known)
        return None if known is None else LayerSight(tuple(tensor.shape), known)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        sources = [t for t in tensors_in((args, kwargs)) if t in self._known]
        before = [(t, self._known[t]) for t in sources]
        shapes = {id(t): tuple(t.shape) for t in sources}
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if not sources or name.startswith("new_") or name.endswith("_like"):
            return result
        names = [argument.name for argument in func._schema.arguments]
        arguments = {**dict(zip(names, args, strict=False)), **kwargs}
        for place, tensor in enumerate(tensors_in(result)):
            try:
                lost = [known for _, known in before if isinstance(known, str)]
                if lost:
                    raise NotFollowed(lost[0])
                listed = isinstance(result, (tuple, list)) and name in ("split", "unbind")
                listed = listed or name in ("split_with_sizes", "chunk", "var_mean", "std_mean")
                if place and not listed:
                    raise NotFollowed(self._where(name, "its further results"))
                found: Any = self._after(name, func, arguments, before, shapes, tensor)
            except NotFollowed as error:
                text = str(error)
                found = text if text.startswith("operation ") else self._where(name, text)
            self._known[tensor] = found
        if func._schema.is_mutable and "batch_norm" not in name:
            self._written(name, args[0] if args else None, before)
        return result

    def _written(self, name: str, target: Any, before: list[tuple[Tensor, Any]]) -> None:
        """Writing into a part of another tensor changes what that one depends on, unseen."""
        if not isinstance(target, Tensor) or not target._is_view():
            return
        old = [known for tensor, known in before if tensor is target]
        if not old or not _same(old[0], self._known.get(target)):
            self._unsound = self._unsound or self._where(name, "writes into a part of a tensor")

    def _where(self, name: str, why: str) -> str:
        path = self.inside[-1] if self.inside else ""
        layer = f"layer {path!r}" if path else "the model's own forward"
        return f"operation {name} in {layer} is not followed: {why}"

    def _after(
        self,
        name: str,
        func: Any,
        arguments: dict[str, Any],
        before: list[tuple[Tensor, Sights]],
        shapes: dict[int, tuple[int, ...]],
        result: Tensor,
    ) -> Sights:
        base = name.rstrip("_") if name not in SAME else name
        sources = [(known, shapes[id(t)]) for t, known in before]
        if name in SAME:
            known, shape = sources[-1]
            if tuple(result.shape) != shape:
                raise NotFollowed("changes the shape")
            return known
        if base in RULES:
            if len(sources) > 1:
                raise NotFollowed("its parameters depend on the image")
            known, shape = sources[0]
            call = Operation(base, arguments, shape, tuple(result.shape))
            return self._both(lambda s: s if s.dim is None else RULES[base](s, call), known)
        if base in ("cat", "stack"):
            return self._concatenated(base, arguments, sources, result)
        if base in ("mm", "addmm", "bmm", "baddbmm"):
            return self._multiplied(arguments, result)
        if torch.Tag.pointwise in func.tags or name in ELEMENTWISE:
            placed = [[_aligned(s, shape, result.ndim) for s in known] for known, shape in sources]
            return self._union([(rows, columns) for rows, columns in placed])
        if name.startswith("_scaled_dot_product"):
            return self._both(_attended, sources[0][0])
        raise NotFollowed("there is no rule for it")

    def _both(self, rule: Callable[[Sight], Sight], known: Sights) -> Sights:
        rows, columns = (self._placed(rule(sight)) for sight in known)
        return rows, columns

    def _placed(self, sight: Sight) -> Sight:
        """A reason for the whole image that says where."""
        if sight.reason and " in layer " not in sight.reason and self.inside and self.inside[-1]:
            return replace(sight, reason=f"{sight.reason} in layer {self.inside[-1]!r}")
        return sight

    def _concatenated(
        self,
        name: str,
        arguments: dict[str, Any],
        sources: list[tuple[Sights, tuple[int, ...]]],
        result: Tensor,
    ) -> Sights:
        dim = int(arguments.get("dim") or 0) % result.ndim
        tensors = arguments["tensors"]
        axes = []
        for which in (0, 1):
            sights = [known[which] for known, _ in sources]
            if name == "stack":
                sights = [
                    s if s.dim is None else replace(s, dim=s.dim + (dim <= s.dim)) for s in sights
                ]
            elif any(s.dim == dim for s in sights):
                axes.append(self._along(dim, which, tensors))
                continue
            axes.append(self._placed(_joined(sights)))
        return axes[0], axes[1]

    def _along(self, dim: int, which: int, tensors: Sequence[Tensor]) -> Sight:
        """Positions after one another, such as a class token before those of the image."""
        axes = []
        for tensor in tensors:
            known, size = self._known.get(tensor), tensor.shape[dim]
            if known is None:
                axes.append(Axis.of_nothing(size))
            elif known[which].dim == dim:
                sight = known[which]
                axes.append(sight.axis.spread(size, sight.inner))
            else:
                raise NotFollowed("joins positions with values of the whole image")
        axis, *rest = axes
        for other in rest:
            axis = axis.followed_by(other)
        return Sight(axis, dim)

    def _multiplied(self, arguments: dict[str, Any], result: Tensor) -> Sights:
        names = ("mat2", "batch2") if "mat2" in arguments or "batch2" in arguments else ()
        left = arguments.get("mat1", arguments.get("batch1", arguments.get("self")))
        right = next(arguments[name] for name in names)
        last = result.ndim - 1
        axes = []
        for which in (0, 1):
            sights = []
            for tensor, summed in ((left, last), (right, last - 1)):
                known = self._known.get(tensor)
                if known is not None:
                    sight = known[which]
                    whole = sight.dim == summed
                    sights.append(
                        sight.everywhere("a matrix product over all positions") if whole else sight
                    )
            added = self._known.get(arguments.get("self")) if "mat1" in arguments else None
            if added is not None:
                raise NotFollowed("adds to a matrix product")
            axes.append(self._placed(_joined(sights)))
        return axes[0], axes[1]

    def _union(self, several: list[Sights]) -> Sights:
        rows, columns = (
            self._placed(_joined([known[which] for known in several])) for which in (0, 1)
        )
        return rows, columns


def _attended(sight: Sight) -> Sight:
    return sight.everywhere("attention between all positions")


def _aligned(sight: Sight, shape: tuple[int, ...], count: int) -> Sight:
    """Where a sight is after broadcasting to ``count`` dimensions."""
    if sight.dim is None:
        return sight
    if shape[sight.dim] == 1:
        return sight.everywhere("one position spread over all")
    return replace(sight, dim=sight.dim + count - len(shape))


def _joined(sights: list[Sight]) -> Sight:
    """What depends on all of them."""
    first, *rest = sights
    for sight in rest:
        if first.dim is None or sight.dim is None:
            whole = [s for s in (first, sight) if s.dim is None]
            lows, highs = zip(first.axis.at_once(), sight.axis.at_once(), strict=True)
            one = _one_position(min(lows), max(highs))
            first = Sight(one, None, 1, whole[0].reason)
        elif (first.dim, first.inner) != (sight.dim, sight.inner):
            both = _joined(
                [s.everywhere("every position with every other") for s in (first, sight)]
            )
            first = both
        else:
            first = replace(first, axis=first.axis.joined(sight.axis))
    return first


def _one_position(low: int, high: int) -> Axis:
    lows, highs = np.array([low]), np.array([high])
    return Axis(lows, highs, lows, highs, 0)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) or isinstance(other, str) or other is None:
        return False
    return all(
        a.dim == b.dim
        and a.inner == b.inner
        and a.axis.lows.tolist() == b.axis.lows.tolist()
        and a.axis.highs.tolist() == b.axis.highs.tolist()
        for a, b in zip(one, other, strict=True)
    )
