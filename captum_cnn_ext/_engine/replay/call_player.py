"""Plays a recorded call script: answers what came before a layer, lets everything else run."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_unflatten

from captum_cnn_ext._engine.replay.batch_rows import Rows
from captum_cnn_ext._engine.replay.call_recorder import Call, Script, Slot
from captum_cnn_ext._engine.running.layer_sites import Site


class ChangedOrderError(BaseException):
    """The model called another module than when it was recorded; passes ``except Exception``."""


class CallPlayer:
    """Answers the calls of one replay from a script. ``around`` takes each forward's place."""

    def __init__(self, script: Script, rows: Rows, site: Site) -> None:
        self.replaced = False
        self._script, self._rows, self._site = script, rows, site
        self._step = 0
        self._intercepting = True
        self._layer_ran = False
        self._given: dict[Slot, Tensor] = {}
        self._memory: dict[Slot, Tensor] = {}  # of what was given
        self._shared: set[Slot] = set()  # one value for all examples

    def around(self, module: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if not self._intercepting:
            return forward(*args, **kwargs)
        action, call = self._script.steps[self._step]
        if call.module is not module:
            raise ChangedOrderError(
                f"{type(module).__name__} was called where {type(call.module).__name__} was "
                "recorded: the model's control flow depends on values"
            )
        self._step += 1
        if action == "enter":
            return forward(*args, **kwargs)
        self._intercepting = False
        output = forward(*args, **kwargs) if call.rerun else self._answer(call)
        self._intercepting = action != "layer"
        self._layer_ran = action == "layer"
        return output

    def at_layer(self) -> bool:
        """Whether the hook that asks is at the call of the layer that is replaced."""
        if self._site.at_input:
            here = self._intercepting and self._script.steps[self._step][0] == "layer"
            self._intercepting = self._intercepting and not here
        else:
            here, self._layer_ran = self._layer_ran, False
        self.replaced = self.replaced or here
        return here

    def give(self, slot: Slot, by_example: bool = True) -> Tensor:
        """The rows of a recorded tensor, as memory of its own where it will be written into."""
        if slot.alias_of is not None:
            return self._given[slot.alias_of]
        if not by_example:
            self._shared.add(slot)
        memory = self._rows.pick(slot.value) if by_example else slot.value
        spread = self._rows.spread if by_example else lambda tensor: tensor
        if slot.copied:
            memory = spread(memory).clone()
            self._given[slot] = memory
        else:
            memory = memory.clone() if slot.emulated else memory
            self._given[slot] = spread(memory)
        self._memory[slot] = memory
        return self._given[slot]

    def _answer(self, call: Call) -> Any:
        for slot, value in call.effects:
            by_example = slot not in self._shared
            self._memory[slot].copy_(self._rows.pick(value) if by_example else value)
        assert call.tree is not None
        leaves = [self.give(leaf) if isinstance(leaf, Slot) else leaf for leaf in call.leaves]
        return tree_unflatten(leaves, call.tree)
