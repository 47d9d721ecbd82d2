"""What would the model's output be if this layer's output were this? For many alternatives at once.

The model runs once and its module calls are recorded (call_recorder.py). A replay calls the model
again with every call that ended before the layer answered from the recording; only the code
between modules, and everything after the layer, computes. Nothing is traced: residual, dense and
multi-branch networks, shared modules and in-place operations behave as in the full forward.

Where that is not possible (a plain function, traced code, calls in another order than recorded)
the whole forward runs, with the layer's output replaced by a hook.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from captum_cnn_ext._engine.backward.batch_norm_of_one_image import one_image_norms
from captum_cnn_ext._engine.judging.input_errors import check_rows, input_errors_explained
from captum_cnn_ext._engine.module_walk import modules_in
from captum_cnn_ext._engine.nested_tensors import tensors_in
from captum_cnn_ext._engine.replay.batch_rows import Rows
from captum_cnn_ext._engine.replay.call_player import CallPlayer, ChangedOrderError
from captum_cnn_ext._engine.replay.call_recorder import CallRecorder, Script, Slot
from captum_cnn_ext._engine.replay.joint_replay import RecordedLayers
from captum_cnn_ext._engine.replay.patching import layer_hook, patched, unfollowable
from captum_cnn_ext._engine.replay.peak_memory import Widest
from captum_cnn_ext._engine.running.batching import UNSEEN, rows_at_once
from captum_cnn_ext._engine.running.forward import copies
from captum_cnn_ext._engine.running.layer_sites import Site, warn_last_call
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext._engine.to_device import to_device
from captum_cnn_ext._engine.warn_user import warn_user
from captum_cnn_ext.errors import ArgumentError

# of the layer's tensor and of the largest one of a pass: a CPU is no faster with larger ones
_CPU_LAYER_BYTES, _CPU_BYTES = 64 * 2**20, 256 * 2**20


class Replay(RecordedLayers):
    """A model with one forward pass recorded, ready to be run again from one layer on.

    Attributes:
        activation: the layer's tensors in the recorded pass, detached copies.
        output: the model's output in the recorded pass.
        call: which call of the layer is replaced.
        full_forward: why replays run the whole model, or an empty string.
        only_pytorchs: the model has no code but that of PyTorch's own layers.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        site: Site,
        inputs: tuple[Tensor, ...],
        additional_forward_args: tuple[Any, ...] = (),
        device_ids: Sequence[int] | None = None,
    ) -> None:
        self._site = site
        self._script = Script([], [])
        self._written = True  # the network writes into the layer's tensors
        self._widest = Widest()
        self._is_model = isinstance(forward_func, nn.Module)
        self.only_pytorchs = False
        super().__init__(forward_func, [site], inputs, additional_forward_args, device_ids)

    def _record(self) -> None:
        self.full_forward = unfollowable(self._root)
        if not self.full_forward:
            self._record_script()
        if self.full_forward:
            super()._record()
        else:
            self._counts = [len(self.activation)]

    @property
    def call(self) -> int | None:
        return self._sites[0].call

    def __call__(self, activation: Sequence[Tensor], rows: Tensor | None = None) -> Any:
        chosen = Rows.of(rows, self.length)
        self._check(activation, chosen)
        groups = chosen.groups()
        if len(groups) > 1:
            parts = [
                self._run(
                    [t.index_select(0, to_device(index, t.device)) for t in activation], group
                )
                for index, group in groups
            ]
            if all(self._by_example(p, len(g)) for p, (_, g) in zip(parts, groups, strict=True)):
                back = torch.argsort(torch.cat([index for index, _ in groups]))
                return tree_map(
                    lambda *ts: torch.cat(ts).index_select(0, to_device(back, ts[0].device)), *parts
                )
        return self._run(activation, chosen)

    @property
    def rows_at_once(self) -> int:
        """How many rows to run in one pass, by the layer's tensors and by the largest output of a
        module that runs again."""
        recorded = self._widest.whole if self.full_forward else self._widest.since
        if self.full_forward and not recorded:
            recorded = UNSEEN * max(t.nbytes for t in tensors_in(self._args))
        given = max(1, *(t[:1].numel() * t.element_size() for t in self.activation))
        widest = max(1, recorded // max(1, self.length))
        on_cpu = min(_CPU_LAYER_BYTES // given, _CPU_BYTES // widest)
        return rows_at_once(max(given, widest), self.activation[0].device, on_cpu)

    def _check(self, activation: Sequence[Tensor], rows: Rows) -> None:
        if len(activation) != len(self.activation):
            raise ArgumentError(
                f"activation: expected {len(self.activation)} tensor(s) as layer "
                f"{self._site.name!r} gives, got {len(activation)}"
            )
        for given, own in zip(activation, self.activation, strict=True):
            ends_fit = given.shape[1:] == own.shape[1:]
            if rows.is_identity and given.shape == own.shape:
                continue
            if own.shape[:1] != (self.length,):
                raise ArgumentError(
                    f"layer {self._site.name!r}: gives {tuple(own.shape)} for {self.length} "
                    "example(s); a layer whose first dimension is not the batch can be replayed "
                    "only with its whole recorded batch"
                )
            if not ends_fit or len(given) != len(rows):
                raise ArgumentError(
                    f"activation: expected shape ({len(rows)}, *{tuple(own.shape[1:])}), one row "
                    f"for each of rows, got {tuple(given.shape)}"
                )

    # --- recording ----------------------------------------------------------------------------

    def _record_script(self) -> None:
        assert self._root is not None
        layer_slots: list[Slot] = []

        def replace(leaves: list[Tensor]) -> list[Tensor]:
            if recorder.site.call in (None, recorder.calls - (not self._site.at_input)):
                layer_slots[:] = [Slot.of(leaf) for leaf in leaves]
                self._widest.mark()
            return leaves

        with torch.inference_mode(False), torch.no_grad(), state_as_found(self._root, self._args):
            args = copies(self._args)
            # in a function mode attention would not take its fused kernel
            attention = any([isinstance(m, nn.MultiheadAttention) for m in modules_in(self._root)])
            recorder = CallRecorder(self._root, self._site, tensors_in(args), not attention)
            around = self._widest.watching(recorder.around)
            with patched(self._root, around), layer_hook(self._site, replace):
                with input_errors_explained(self._root, args):
                    self.output = self._forward(*args)
        check_rows(self._root, self._args, self.output)
        if recorder.chosen is None or not layer_slots:
            self.full_forward = "the layer was not seen"  # recording again says why
            return
        if self._site.call is None and recorder.calls > 1:
            warn_last_call(self._site, recorder.calls)
        call = recorder.calls - 1 if self._site.call is None else self._site.call
        self._sites = [dataclasses.replace(self._site, call=call)]
        # of tensors of inference mode it is not known
        self._written = any(slot.is_written or slot.version < 0 for slot in layer_slots)
        self.activation = tuple(slot.value for slot in layer_slots)
        self._script = recorder.script(self.length)
        self.only_pytorchs = self._is_model and recorder.only_pytorchs
        self.full_forward = self._script.refusal

    # --- running again ------------------------------------------------------------------------

    def _run(self, activation: Sequence[Tensor], rows: Rows) -> Any:
        if not self.full_forward:
            try:
                return self._run_tail(activation, rows)
            except ChangedOrderError as change:
                self.full_forward = str(change)
            warn_user(
                f"layer {self._site.name!r}: {self.full_forward}; the whole forward is run instead"
            )
        return self._run_all(activation, rows)

    def _run_tail(self, activation: Sequence[Tensor], rows: Rows) -> Any:
        assert self._root is not None
        player = CallPlayer(self._script, rows, self._site)

        def replace(leaves: list[Tensor]) -> list[Tensor]:
            return self._handed_over(activation) if player.at_layer() else leaves

        inputs = iter(self._script.inputs)
        args = [
            player.give(next(inputs), arg.shape[:1] == (self.length,))
            if isinstance(arg, Tensor)
            else arg
            for arg in self._args
        ]
        with (
            state_as_found(self._root, self._args),
            one_image_norms(activation),
            patched(self._root, player.around),
            layer_hook(self._site, replace),
        ):
            output = self._forward(*args)
        if not player.replaced:
            raise ChangedOrderError("the layer was not reached again")
        return output

    def _run_all(self, activation: Sequence[Tensor], rows: Rows) -> Any:
        """The whole model; in parts, where these give the same and nobody asks for gradients."""
        divisible = not rows.is_identity and self._by_example(self.output, self.length)
        if divisible and not torch.is_grad_enabled() and len(rows) > (most := self.rows_at_once):
            parts = [
                self._run_whole(
                    [t[at : at + most] for t in activation],
                    Rows(rows.index[at : at + most], rows.length),
                )
                for at in range(0, len(rows), most)
            ]
            return tree_map(lambda *ts: torch.cat(ts), *parts)
        return self._run_whole(activation, rows)

    def _handed_over(self, activation: Sequence[Tensor]) -> list[Tensor]:
        return [t.clone() if self._written else t for t in activation]

    @staticmethod
    def _by_example(output: Any, rows: int) -> bool:
        """Whether everything in an output has one row for each example.

        A list of dictionaries, as detectors give, has an entry for each example instead.
        """
        if isinstance(output, (list, tuple)) and not all(isinstance(o, Tensor) for o in output):
            return False
        leaves = tree_flatten(output)[0]
        return all(isinstance(leaf, Tensor) and leaf.shape[:1] == (rows,) for leaf in leaves)
