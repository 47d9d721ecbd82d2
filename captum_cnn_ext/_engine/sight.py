"""Which pixels every layer's units depend on, from one forward pass that computes nothing.

The pixels are carried through every tensor operation of the forward pass of a copy on the meta
device: through branches and residual sums (the union), reshapes and transposes, resizing and
transposed convolutions. `geometry.FieldTracer` answers another, stricter question in real passes:
whether a cut of the image gives a unit its value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.following import Follower, in_layer, only_shaped_alike, tensors_in
from captum_cnn_ext._engine.geometry import ELEMENTWISE
from captum_cnn_ext._engine.module_calls import copy_structure, module_calls
from captum_cnn_ext._engine.sight_axis import Axis, NotFollowed
from captum_cnn_ext._engine.sight_joining import aligned, is_same, joined
from captum_cnn_ext._engine.sight_rules import RULES, SAME, Operation, Sight
from captum_cnn_ext._engine.state import state_as_found

Sights = tuple[Sight, Sight]


_STOPS_NAN = {"nan_to_num", "nan_to_num_", "fmax", "fmin", "nansum", "nanmedian"}


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
    with tracer.reads, tracer:
        twin(image)
    return found


class _SightTracer(Follower):
    """Carries the sights of an image through every operation inside its ``with`` block.

    What is known of a tensor are its sights, or why they are not known.
    """

    def __init__(self) -> None:
        super().__init__()
        self._unsound = ""
        self.inside: list[str] = []

    def begin(self, image: Tensor) -> None:
        """The tensor whose pixels are counted, (N, C, H, W)."""
        rows, columns = (Axis.of_pixels(n) for n in image.shape[2:])
        self._image = (Sight(rows, 2), Sight(columns, 3))
        self.note(image, self._image)

    def unseen(self, name: str) -> None:
        """No value left torch: what a unit depends on can still be measured."""
        self._unsound = self._unsound or self._where(name, "shares memory with another tensor")

    def where(self) -> str:
        return in_layer(self.inside[-1] if self.inside else "")

    def of(self, tensor: Tensor) -> LayerSight | None:
        """What is known of a tensor; None where the image has no part in it."""
        if self.left:  # the value may have gone anywhere since
            rows, columns = (sight.everywhere(self.left) for sight in self._image)
            return LayerSight(tuple(tensor.shape), (rows, columns))
        known = self.known.get(tensor)
        if self._unsound or isinstance(known, str):
            return LayerSight(tuple(tensor.shape), None, self._unsound or known)
        return None if known is None else LayerSight(tuple(tensor.shape), known)

    def follow(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], sources: Sequence[Tensor]
    ) -> Any:
        before = [(t, self.known[t]) for t in sources]
        shapes = {id(t): tuple(t.shape) for t in sources}
        for source, known in before:
            self._watch_nan(func.overloadpacket.__name__, source, known)
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if not sources or only_shaped_alike(func):
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
            self.note(tensor, found)
        if func._schema.is_mutable and "batch_norm" not in name:
            self._written(name, args[0] if args else None, before)
        return result

    def _watch_nan(self, name: str, source: Tensor, known: Any) -> None:
        """What is not followed can only be measured while NaN goes through."""
        if isinstance(known, str) and (not source.is_floating_point() or name in _STOPS_NAN):
            self.lose(f"{known}; nor can it be measured, as no NaN goes through {name}")

    def _written(self, name: str, target: Any, before: list[tuple[Tensor, Any]]) -> None:
        """Writing into a part of another tensor changes what that one depends on, unseen."""
        if not isinstance(target, Tensor) or not (target._is_view() or self.beside(target)):
            return
        old = [known for tensor, known in before if tensor is target]
        if not old or not is_same(old[0], self.known.get(target)):
            self._unsound = self._unsound or self._where(name, "writes into a part of a tensor")

    def _where(self, name: str, why: str) -> str:
        return f"operation {name}{self.where()} is not followed: {why}"

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
            placed = [[aligned(s, shape, result.ndim) for s in known] for known, shape in sources]
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
            axes.append(self._placed(joined(sights)))
        return axes[0], axes[1]

    def _along(self, dim: int, which: int, tensors: Sequence[Tensor]) -> Sight:
        """Positions after one another, such as a class token before those of the image."""
        axes = []
        for tensor in tensors:
            known, size = self.known.get(tensor), tensor.shape[dim]
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
                known = self.known.get(tensor)
                if known is not None:
                    sight = known[which]
                    whole = sight.dim == summed
                    sights.append(
                        sight.everywhere("a matrix product over all positions") if whole else sight
                    )
            added = self.known.get(arguments.get("self")) if "mat1" in arguments else None
            if added is not None:
                raise NotFollowed("adds to a matrix product")
            axes.append(self._placed(joined(sights)))
        return axes[0], axes[1]

    def _union(self, several: list[Sights]) -> Sights:
        rows, columns = (
            self._placed(joined([known[which] for known in several])) for which in (0, 1)
        )
        return rows, columns


def _attended(sight: Sight) -> Sight:
    return sight.everywhere("attention between all positions")
