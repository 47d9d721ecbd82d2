"""Which module calls a forward pass makes before it reaches a layer, and what each one gave.

The pass is followed call by call. What matters are the maximal calls: a call that does not hold
the layer is taken as a whole, whatever happens inside. For each of them the script keeps its
output, and who writes into that output afterwards, so that a replay can hand it out again.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakMethod

from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten

from captum_cnn_ext._engine.module_walk import holders_of, tensors_held
from captum_cnn_ext._engine.nested_tensors import tensors_in
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext._engine.trace.operation_follower import (
    Reads,
    memory_of,
    other_random_state,
)
from captum_cnn_ext._engine.trace.side_effects import Footprint, pytorchs_own

Action = Literal["enter", "answer", "rerun", "layer"]


@dataclass(eq=False)
class Slot:
    """A tensor that the network had before the layer: its value when it was given, its writers."""

    value: Tensor
    live: Tensor | None  # the tensor itself while the recording lasts
    version: int
    writes: list[tuple["Call | None", Tensor]] = field(default_factory=list)
    copied: bool = False  # what a replay runs again writes into it
    emulated: bool = False  # a call that a replay answers wrote into it
    alias_of: "Slot | None" = None

    @classmethod
    def of(cls, tensor: Tensor) -> "Slot":
        return cls(tensor.detach().clone(), tensor, _version(tensor))

    @property
    def place(self) -> int | None:
        """The memory that holds the tensor."""
        assert self.live is not None
        return memory_of(self.live)

    @property
    def is_written(self) -> bool:
        """Whether the tensor changed since the last look."""
        live = self.live
        return live is not None and self.version >= 0 and live._version != self.version

    def is_same_view(self, tensor: Tensor) -> bool:
        live = self.live
        return live is tensor or (
            live is not None
            and live.shape == tensor.shape
            and live.stride() == tensor.stride()
            and bool(live.storage_offset() == tensor.storage_offset())
            and memory_of(live) == memory_of(tensor)
        )


@dataclass(eq=False)
class Call:
    """One call of one module."""

    module: nn.Module
    parent: "Call | None"
    children: list["Call"] = field(default_factory=list)
    leaves: list[Any] = field(default_factory=list)  # the flattened output, slots for its tensors
    slots: list[Slot] = field(default_factory=list)  # those among the leaves
    tree: TreeSpec | None = None
    pytorchs: bool = False  # it ran the code of one of PyTorch's own layers
    rerun: bool = False
    effects: list[tuple[Slot, Tensor]] = field(default_factory=list)

    def lineage(self) -> Iterator["Call"]:
        """The call itself, its caller, its caller's caller..."""
        call: Call | None = self
        while call is not None:
            yield call
            call = call.parent


@dataclass
class Script:
    """What a replay does, in order, until it reaches the layer."""

    steps: list[tuple[Action, Call]]
    inputs: list[Slot]
    refusal: str = ""  # why these calls must not be answered from the recording


class CallRecorder:
    """Follows the module calls of one forward pass. ``around`` takes the place of each forward.

    ``notice_reads`` also follows, in calls that may be answered, whether values are taken out of
    tensors; attention would not take its fused kernel there.
    """

    def __init__(
        self, root: nn.Module, site: Site, inputs: Iterable[Tensor], notice_reads: bool
    ) -> None:
        self.site = site
        self.calls = 0  # of the layer, so far
        self.chosen: Call | None = None  # the layer's call that is replaced; so far
        self.inputs = [Slot.of(tensor) for tensor in inputs]
        self.refusal = ""  # why these calls must not be answered from the recording
        self._top = Call(root, None)
        self._stack = [self._top]
        self._inside_whole = False
        self._reads = Reads(WeakMethod(self._note_read)) if notice_reads else nullcontext()
        self._numbers: Any = None  # other_random_state before the first call that may draw
        self._read = False  # a value was taken out of a tensor
        self._constants = {id(tensor) for tensor in tensors_held(root)}
        self._holders = holders_of(site.module, root)
        self._pytorchs = pytorchs_own(root)
        self.only_pytorchs = root in self._pytorchs and not (
            root._forward_hooks or root._forward_pre_hooks
        )

    def around(self, module: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run ``module``'s forward and note it."""
        is_layer = module is self.site.module
        if self._inside_whole:
            if is_layer:
                self.refusal = "the layer runs inside a module that does not hold it"
            return forward(*args, **kwargs)
        if self._finished and not is_layer:
            return forward(*args, **kwargs)
        self._watch(self._stack[-1])
        call = Call(module, self._stack[-1])
        self._stack[-1].children.append(call)
        arguments = tensors_in((args, kwargs))
        versions = [_version(tensor) for tensor in arguments]
        if is_layer:
            if self.site.call in (None, self.calls):
                self.chosen = call
            self.calls += 1
        holds_layer = module in self._holders
        if holds_layer:
            self._stack.append(call)
        self._inside_whole, self._read = not holds_layer, False
        call.pytorchs = module in self._pytorchs
        before = None if holds_layer else Footprint(module, call.pytorchs)
        if self._numbers is None and not (holds_layer or call.pytorchs):
            self._numbers = other_random_state()
        try:
            with nullcontext() if holds_layer or call.pytorchs else self._reads:
                output = forward(*args, **kwargs)
        finally:
            self._inside_whole = False
            if holds_layer:
                self._stack.pop()
        if before is not None and (self._read or before.changed):
            call.rerun = True  # its output is not all that may be needed of it
        self._watch(call)
        for tensor, version in zip(arguments, versions, strict=True):
            if _version(tensor) != version:
                self._note_written_argument(call, tensor)
        if self.chosen is None or call not in self.chosen.lineage():
            call.children = []
        self._keep_output(call, output)
        return output

    def _note_read(self, _: str, tensors: list[Tensor]) -> None:
        self._read = self._read or any(id(tensor) not in self._constants for tensor in tensors)

    def _note_written_argument(self, call: Call, tensor: Tensor) -> None:
        """A call that writes into what no call gave must be run again to write there again."""
        place = memory_of(tensor)
        known = [slot for slot in self._slots() if slot.place == place]
        call.rerun = call.rerun or not known
        if known and all(slot.value.numel() < tensor.numel() for slot in known):
            self.refusal = "a module writes into a tensor of which another gave a part"

    @property
    def _finished(self) -> bool:
        return self.site.call is not None and self.calls > self.site.call

    def _slots(self) -> Iterator[Slot]:
        yield from self.inputs
        todo = [self._top]
        while todo:
            call = todo.pop()
            yield from call.slots
            todo.extend(call.children)

    def _watch(self, writer: Call | None) -> None:
        """Note which tensors changed since the last look, all of them changed by ``writer``."""
        for slot in self._slots():
            if slot.is_written and slot.live is not None:
                slot.version = slot.live._version
                slot.writes.append((writer, slot.live.detach().clone()))

    def _keep_output(self, call: Call, output: Any) -> None:
        leaves, call.tree = tree_flatten(output)
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                same = (s for s in self._slots() if s.alias_of is None and s.is_same_view(leaf))
                alias_of = next(same, None)
                if leaf.is_inference():
                    self.refusal = "the model runs modules in inference mode of its own"
                leaf = Slot.of(leaf)
                leaf.alias_of = alias_of
                call.slots.append(leaf)
            call.leaves.append(leaf)

    def script(self, length: int) -> Script:
        """The steps up to the chosen call, when the forward has ended; the rest is forgotten."""
        assert self.chosen is not None
        self._watch(None)
        steps = list(_steps(self._top, self.chosen, set(self.chosen.lineage())))
        whole = [
            call
            for action, call in steps
            if action == "answer" or (action == "layer" and not self.site.at_input)
        ]
        drawn = self._numbers is not None and self._numbers != other_random_state()
        if drawn:  # who did is not known
            for call in whole:
                call.rerun = call.rerun or not call.pytorchs
        _mark_reruns(whole, length)
        slots = [*self.inputs, *(slot for call in whole for slot in call.slots)]
        for slot in slots:
            slot.alias_of = slot.alias_of if slot.alias_of in slots else None
            for owner, value in slot.writes:
                by = _caller_among(owner, whole)
                if by is not None and not by.rerun:
                    root = slot.alias_of or slot
                    root.emulated = True
                    by.effects = [e for e in by.effects if e[0] is not root] + [(root, value)]
                else:
                    (slot.alias_of or slot).copied = True
        written = [slot.place for slot in slots if slot.copied]
        if len(set(written)) < len(written):
            self.refusal = "a tensor is written through one view and read through another"
        for slot in slots:
            slot.live, slot.writes = None, []
        return Script(
            [("rerun" if a == "answer" and c.rerun else a, c) for a, c in steps],
            self.inputs,
            self.refusal,
        )


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _caller_among(owner: Call | None, calls: list[Call]) -> Call | None:
    """The call of ``calls`` during which ``owner`` ran."""
    return next((call for call in owner.lineage() if call in calls), None) if owner else None


def _mark_reruns(whole: list[Call], length: int) -> None:
    """Calls that cannot be answered: their output is not one row for each example, or they write
    into, or pass on, what another such call gave."""
    again: list[Slot] = []
    for call in whole:
        by_example = bool(call.slots) and all(
            leaf is None or (isinstance(leaf, Slot) and leaf.value.shape[:1] == (length,))
            for leaf in call.leaves
        )
        if call.rerun or not by_example or any(slot.alias_of in again for slot in call.slots):
            call.rerun = True
            again += call.slots
            for owner, _ in (write for slot in call.slots for write in slot.writes):
                if (writer := _caller_among(owner, whole)) is not None:
                    writer.rerun = True


def _steps(call: Call, chosen: Call, open_calls: set[Call]) -> Iterator[tuple[Action, Call]]:
    for child in call.children:
        if child is chosen:
            yield "layer", child
            return
        if child in open_calls:
            yield "enter", child
            yield from _steps(child, chosen, open_calls)
            return
        yield "answer", child
