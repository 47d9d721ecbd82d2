"""What a rectifier does in the backward pass: gradient, deconvnet or guided.

The forward pass is not touched. The rule is put on the autograd nodes of this one graph, for the
length of one ``with`` block, so it meets every rectifier however it was written, and no other
graph of the same model. For a rectifier f with input x and incoming gradient g:

* gradient:  f'(x) g
* deconvnet: relu(g)            Zeiler & Fergus 2014, arXiv:1311.2901
* guided:    1[f rises at x] relu(g)    Springenberg et al. 2015, arXiv:1412.6806

The papers know ReLU only. ReLU6 rises inside (0, 6). For smooth activations ``gate`` treats f as a
ReLU (it rises where x > 0), and ``slope`` gives relu(f'(x) g) for both rules.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from captum_cnn_ext._engine.backward.autograd_graph import connected
from captum_cnn_ext._engine.backward.coverage import Coverage, classify_nodes
from captum_cnn_ext._engine.backward.operation_kinds import ACTIVATIONS, HARD, WRITTEN_SILU

RULES = ("gradient", "deconvnet", "guided")
SMOOTH_OPTIONS = ("gate", "slope")


def rectified(
    rule: str, smooth: str, hard: bool, incoming: Tensor, outgoing: Tensor, rises: Tensor | None
) -> Tensor:
    """The formula: relu(g), 1[rises] relu(g) or relu(f'(x) g).

    ``incoming`` is g, ``outgoing`` is f'(x) g, ``rises`` is None where f' is 0 or 1.
    """
    if not hard and smooth == "slope":
        return outgoing.relu()
    if rule == "deconvnet":
        return incoming.relu()
    return outgoing.relu() if rises is None else incoming.relu() * rises


class RuledBackward:
    """Backward passes through one graph under one rule. Made by :func:`ruled_backward`."""

    def __init__(
        self,
        inputs: Sequence[Tensor],
        output: Tensor,
        coverage: Coverage,
        fired: list[str],
        on_views: "_InPlaceOnViews | None",
    ) -> None:
        self._in_graph, self._fired, self._on_views = coverage, fired, on_views
        self._inputs, self._output = list(inputs), output

    @property
    def batchable(self) -> bool:
        """Whether many seeds can go through one vectorised pass."""
        return self._on_views is None

    @property
    def coverage(self) -> Coverage:
        """What the rule met; complete after a backward pass."""
        found = self._in_graph
        if self._on_views is None:
            return found
        return replace(
            found,
            rectifiers={**found.rectifiers, **self._on_views.rectified},
            unknown={**found.unknown, **self._on_views.unknown},
        )

    def gradients(
        self, seed: Tensor, *, batched: bool = False, keep_graph: bool = False
    ) -> list[Tensor]:
        """What ``seed`` at the output becomes at each input; zeros where it does not reach.

        Args:
            seed: of the output's shape, or with a leading dimension of seeds if ``batched``.
            batched: all seeds in one vectorised backward pass.
            keep_graph: another call follows.

        Raises:
            RuntimeError: a rectifier that the rule should have met did not run.
        """
        before = len(self._fired)
        if self._on_views is not None:
            self._on_views.forget()
        found = torch.autograd.grad(
            self._output,
            self._inputs,
            seed,
            retain_graph=keep_graph,
            allow_unused=True,
            is_grads_batched=batched,
        )
        expected, met = sum(self._in_graph.rectifiers.values()), len(self._fired) - before
        if met < expected:
            raise RuntimeError(
                f"the rule met {met} rectifiers of {expected} in the graph; the result would be "
                "wrong. Please report this model."
            )
        lead = seed.shape[:1] if batched else ()
        return [
            x.new_zeros(*lead, *x.shape) if g is None else g
            for x, g in zip(self._inputs, found, strict=True)
        ]


@contextmanager
def ruled_backward(
    inputs: Sequence[Tensor], output: Tensor, rule: str, smooth: str = "gate"
) -> Iterator[RuledBackward]:
    """Put ``rule`` on the graph from ``inputs`` to ``output`` for the length of the block.

    Raises:
        ArgumentError: a compiled or scripted part hides its operations.
    """
    nodes = classify_nodes(inputs, output)
    fired: list[str] = []
    with ExitStack() as stack:
        for node, name in nodes.rectifiers:
            handle = node.register_hook(_hook(node, name, rule, smooth, fired))
            stack.callback(handle.remove)
        on_views = _InPlaceOnViews(rule, smooth) if nodes.writes_into_views else None
        stack.enter_context(on_views or nullcontext())
        yield RuledBackward(inputs, output, nodes.coverage, fired, on_views)


def backpropagate(
    inputs: Sequence[Tensor], scores: Tensor, rule: str, smooth: str
) -> tuple[tuple[Tensor, ...], Coverage] | None:
    """The sum of ``scores`` taken back to ``inputs`` once, and what the rule met.

    None where the scores have no gradient at any input.
    """
    wanted = [x for x in inputs if x.requires_grad]
    if not wanted or not scores.requires_grad or not connected(wanted, scores):
        return None
    with ruled_backward(wanted, scores, rule, smooth) as backward:
        found = iter(backward.gradients(torch.ones_like(scores)))
        gradients = tuple(next(found) if x.requires_grad else torch.zeros_like(x) for x in inputs)
        return gradients, backward.coverage


def _hook(
    node: Any, name: str, rule: str, smooth: str, fired: list[str]
) -> Callable[..., tuple[Tensor | None, ...] | None]:
    place = _signal(node) if name in (WRITTEN_SILU, "Maximum") else 0
    hard = name in HARD

    def apply(
        outgoing: tuple[Tensor | None, ...], incoming: tuple[Tensor | None, ...]
    ) -> tuple[Tensor | None, ...] | None:
        fired.append(name)
        g, wanted = incoming[0], outgoing[place]
        if rule == "gradient" or g is None or wanted is None:
            return None
        if name == WRITTEN_SILU:
            # both factors carry a part of f'(x) g: all of it goes by the signal's own way
            x = node._saved_self if place == 0 else node._saved_other
            gate = x.sigmoid()
            whole = g * gate * (1 + x * (1 - gate))
            found = rectified(rule, smooth, hard, g, whole, x > 0)
            return tuple(
                found if i == place else None if part is None else torch.zeros_like(part)
                for i, part in enumerate(outgoing)
            )
        masked = rule == "guided" and (hard or smooth == "gate")
        rises = _rises(node, name) if masked else None
        found = rectified(rule, smooth, hard, g, wanted, rises)
        return tuple(found if i == place else part for i, part in enumerate(outgoing))

    return apply


def _signal(node: Any) -> int:
    """Which of a binary operation's two inputs is rectified."""
    (first, _), (second, _) = node.next_functions
    if first is None or second is None:
        return 0 if second is None else 1
    return 0 if second.name().startswith("Sigmoid") else 1


def _rises(node: Any, name: str) -> Tensor | None:
    """Where a rectifier counts as rising; None where its own slope, 0 or 1, says it."""
    if ACTIVATIONS[name].slope_is_rise:
        return None
    if name == "Maximum":
        x: Tensor = node._saved_self if _signal(node) == 0 else node._saved_other
        return x > 0
    x = node._saved_result if hasattr(node, "_saved_result") else node._saved_self
    top = getattr(node, "_saved_max", None) if name == "Clamp" else None
    return x > 0 if top is None else (x > 0) & (x < top)


# the rectifiers' own backward operations, with whether their slope is 0 or 1; (g, x, ...)
_BACKWARDS: Mapping[Any, bool] = {
    getattr(torch.ops.aten, activation.backward).default: activation.hard
    for activation in ACTIVATIONS.values()
    if activation.backward
}


# what a node for an in-place operation on a view runs besides the operation's own backward
_BOOKKEEPING = frozenset(
    {
        "_to_copy",
        "_unsafe_view",
        "add",
        "add_",
        "alias",
        "as_strided",
        "clone",
        "copy_",
        "detach",
        "div",
        "empty",
        "empty_like",
        "empty_strided",
        "expand",
        "fill_",
        "mul",
        "neg",
        "new_empty",
        "new_empty_strided",
        "new_zeros",
        "permute",
        "select",
        "slice",
        "squeeze",
        "sum",
        "transpose",
        "unsqueeze",
        "view",
        "zero_",
        "zeros",
        "zeros_like",
    }
)


class _InPlaceOnViews(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The rule inside nodes that hide what they run: in-place operations on views.

    An example is ``relu_`` on the output of an instance norm. Everything else runs as it is.
    """

    def __init__(self, rule: str, smooth: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rule, self._smooth = rule, smooth
        self.rectified: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    def forget(self) -> None:
        """Start counting again: one backward pass is one count."""
        self.rectified.clear()
        self.unknown.clear()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        outgoing = func(*args, **(kwargs or {}))
        node = torch._C._current_autograd_node()
        if node is None or not node.name().endswith("CopySlices"):
            return outgoing
        name = func.overloadpacket.__name__
        if func not in _BACKWARDS:
            if name not in _BOOKKEEPING:
                self.unknown[f"{name} (in place, on a view)"] += 1
            return outgoing
        self.rectified[f"{name.removesuffix('_backward')} (in place, on a view)"] += 1
        if self._rule == "gradient":
            return outgoing
        hard = _BACKWARDS[func]
        # elu_backward(g, alpha, scale, input_scale, is_result, x); of the others x is second
        x = args[5] if name == "elu_backward" else args[1]
        rises = None if hard else x > 0
        return rectified(self._rule, self._smooth, hard, args[0], outgoing, rises)
