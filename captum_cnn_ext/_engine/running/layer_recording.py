"""Run a model once and record what its layers receive or give, and the gradients there.

* Nothing before the first recorded layer builds a graph: its output becomes a leaf and autograd
  starts there, so the memory of a gradient is that of inference plus the rest of the network.
* When only activations are wanted, the forward stops after the last layer needed.
* Recorded tensors are copies where the network goes on: in-place operations after a layer do not
  change them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.backward.activation_checkpoints import (
    checkpoints_explained,
    passed_reentrant,
)
from captum_cnn_ext._engine.backward.autograd_graph import (
    differentiable_once,
    has_gradient,
    nodes_between,
    operations_between,
)
from captum_cnn_ext._engine.backward.batch_norm_of_one_image import (
    one_image_norms,
    passed_norms,
    perhaps_without_norms,
)
from captum_cnn_ext._engine.backward.lost_gradient import (
    LostGradient,
    watching,
    why_no_gradient,
)
from captum_cnn_ext._engine.backward.saved_tensors import (
    refuses_a_write,
    writes_allowed,
    written_into,
)
from captum_cnn_ext._engine.backward.second_derivatives import (
    NOT_TWICE,
    TwiceDifferentiable,
    derivative_along,
)
from captum_cnn_ext._engine.judging.arguments import observed_module, root_module
from captum_cnn_ext._engine.judging.captum_compat import format_additional_forward_args
from captum_cnn_ext._engine.judging.input_errors import check_rows
from captum_cnn_ext._engine.judging.inputs import check_devices
from captum_cnn_ext._engine.nested_tensors import tensors_of_output
from captum_cnn_ext._engine.receptive_fields.crops import CutField, cut_field
from captum_cnn_ext._engine.running.forward import copies
from captum_cnn_ext._engine.running.hooks import (
    Probe,
    check_reached,
    leaf_of,
    probes_for,
    run_observed,
)
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext._engine.trace.trace_recorder import Recorder
from captum_cnn_ext.errors import ArgumentError

Around = Callable[["Recording"], AbstractContextManager[Any]]


class Recording:
    """What a forward pass left behind; valid inside the ``with record(...)`` block."""

    def __init__(self, probes: Sequence[Probe], device_ids: Sequence[int] | None) -> None:
        self.output: Any = None
        self.inputs: tuple[Tensor, ...] = ()
        self.recorder: Recorder | None = None
        self._probes = probes
        self._device_ids = list(device_ids or [])
        self.find_end: Callable[[int | None], str] = lambda _: ""
        """Which operation ends the gradient at a site or (None) the inputs; "" for none."""

    def cut_field(self, tensor: Tensor) -> CutField | None:
        """The pixels that a recorded tensor's positions see, as far as cuts of the image go."""
        assert self.recorder is not None, "record(..., follow=True) writes the operations down"
        value = self.recorder.known.get(tensor)
        return None if value is None else cut_field(self.recorder.trace, value)

    def activations(self, index: int) -> tuple[Tensor, ...]:
        """The tensors recorded at site ``index``, detached; replicas concatenated."""
        return joined([[t.detach() for t in part] for part in self._parts(index)])

    def outputs(self, index: int) -> tuple[Tensor, ...]:
        """The tensors recorded at site ``index``, in the graph where there is one."""
        return joined(self._parts(index))

    def gradients(
        self, scores: Tensor, grad_kwargs: dict[str, Any] | None = None
    ) -> list[tuple[Tensor, ...]]:
        """The gradient of ``scores.sum()`` at every site: one backward pass, down to the sites.

        Raises:
            ArgumentError: the scores do not depend on a site.
        """
        return [joined(site) for site in self._gradients(scores, grad_kwargs)]

    def gradients_and_curvature(
        self, scores: Tensor, grad_kwargs: dict[str, Any] | None = None
    ) -> list[tuple[tuple[Tensor, Tensor], ...]]:
        """At every site (g, H A): the gradient, and the Hessian times the activation.

        Two backward passes for one site, one more for each further site.

        Raises:
            ArgumentError: the scores do not depend on a site, or not twice differentiably.
        """
        found = self._gradients(scores, {**(grad_kwargs or {}), "create_graph": True})
        leaves = [t for index in range(len(found)) for t in self._leaves(index)]
        once = differentiable_once(nodes_between(leaves, scores))
        if once:
            raise ArgumentError(NOT_TWICE.format(why=f"{once[0]} is differentiable once"))
        result = []
        for index, site in enumerate(found):
            products = [
                [derivative_along(g, t) for g, t in zip(gs, ts, strict=True)]
                for gs, ts in zip(site, self._parts(index), strict=True)
            ]
            gradients = joined([[g.detach() for g in gs] for gs in site])
            result.append(tuple(zip(gradients, joined(products), strict=True)))
        return result

    def _gradients(
        self, scores: Tensor, grad_kwargs: dict[str, Any] | None
    ) -> list[list[list[Tensor]]]:
        """For each site, each replica's tensors: their gradients."""
        parts = [self._parts(index) for index in range(len(self._probes))]
        wanted = [t for index in range(len(parts)) for t in self._leaves(index)]
        if not wanted or not scores.requires_grad:
            raise ArgumentError(self.why_no_gradient(0, scores))
        options = {"allow_unused": True, **(grad_kwargs or {})}
        found = iter(torch.autograd.grad(scores.sum(), wanted, **options))
        result = []
        for index, (probe, site) in enumerate(zip(self._probes, parts, strict=True)):
            gradients = [[next(found) if t.requires_grad else None for t in p] for p in site]
            if not probe.site.every and all(g is None for part in gradients for g in part):
                raise ArgumentError(self.why_no_gradient(index, scores))
            result.append(
                [
                    [torch.zeros_like(t) if g is None else g for t, g in zip(p, gs, strict=True)]
                    for p, gs in zip(site, gradients, strict=True)
                ]
            )
        return result

    def why_no_gradient(self, index: int | None, scores: Tensor) -> str:
        """What ``scores`` have no gradient at (a site, or None: the inputs), and why."""
        layer = None if index is None else self._probes[index].site.name
        has_one = has_gradient(self.output)
        return why_no_gradient(
            layer,
            self.starts(index),
            self.find_end(index) or passed_reentrant(self.output),
            selection=has_one and not scores.requires_grad,
        )

    def starts(self, index: int | None) -> list[Tensor]:
        """Where gradients are taken: the tensors of a site, or None: the inputs."""
        if index is None:
            return list(self.inputs)
        return [t for part in self._parts(index) for t in part]

    def ends(self) -> list[Tensor]:
        """The tensors that the pass ended with: the model's output and what was recorded."""
        recorded = [t for index in range(len(self._probes)) for t in self.starts(index)]
        return [*tensors_of_output(self.output), *recorded]

    def calls(self, index: int) -> int:
        """How often the layer of site ``index`` was called."""
        return max(self._probes[index].calls.values())

    def operations_after(self, index: int, scores: Tensor) -> list[str]:
        """The autograd nodes between site ``index`` and ``scores``, such as "AddmmBackward0"."""
        return operations_between(self._leaves(index), scores)

    def _leaves(self, index: int) -> list[Tensor]:
        """The tensors recorded at site ``index`` that have gradients."""
        return [t for t in self.starts(index) if t.requires_grad]

    def _parts(self, index: int) -> list[list[Tensor]]:
        parts = list(self._probes[index].parts.values())
        rank = {device: rank for rank, device in enumerate(self._device_ids)}
        return sorted(parts, key=lambda part: rank.get(part[0].device.index, len(rank)))


@contextmanager
def record(
    forward_func: Callable[..., Any],
    sites: Sequence[Site],
    inputs: tuple[Tensor, ...],
    additional_forward_args: Any = None,
    *,
    gradients: bool = False,
    from_inputs: bool = False,
    need_output: bool = False,
    differentiable_twice: bool = False,
    in_graph: bool = False,
    device_ids: Sequence[int] | None = None,
    follow: bool = False,
) -> Iterator[Recording]:
    """Run ``forward_func`` once and yield what was recorded at ``sites``.

    One forward pass, shorter when neither ``gradients`` nor ``need_output`` is asked. With
    ``from_inputs`` the graph begins at the inputs (``Recording.inputs``, leaves of this run);
    with ``follow`` the operations are written down for ``Recording.cut_field``. With
    ``differentiable_twice`` attention is computed so that it has a second derivative; with
    ``in_graph`` the graph goes on from that of the inputs and of the parameters. Where the
    model writes into what autograd saved, a second forward pass keeps copies of it.
    The model, its buffers, random numbers and the user's tensors are as before when the block
    ends.

    Raises:
        ArgumentError: a site was not reached, or holds no tensor.
    """
    root = root_module(forward_func)
    model = observed_module(forward_func)
    check_devices(model, inputs)
    parallel = device_ids is not None or isinstance(root, nn.DataParallel)
    stop_early = not (gradients or need_output)
    graph = gradients or from_inputs
    # DataParallel gathers its replicas' outputs in this thread: the graph must be on here.
    grad_enabled_from_start = from_inputs or in_graph or (gradients and parallel)
    normless = graph and perhaps_without_norms(model, inputs)

    def run(stack: ExitStack, around: Around, *, from_start: bool = False) -> Recording:
        stack.enter_context(torch.inference_mode(False) if graph else nullcontext())
        # Copies, so that a model that writes into its input does not change the user's.
        given = (*inputs, *format_additional_forward_args(additional_forward_args))
        args = tuple(map(_copy_in_graph, given)) if in_graph else copies(given)
        leaves = tuple(leaf_of(arg) for arg in args[: len(inputs)]) if from_inputs else ()
        stack.enter_context(state_as_found(model, args))
        probes = probes_for(forward_func, sites, args, count=stop_early and not parallel)
        recording = Recording(probes, device_ids or getattr(root, "device_ids", None))
        recording.inputs = leaves
        mode = torch.enable_grad() if grad_enabled_from_start or from_start else torch.no_grad()
        recording.recorder = recorder = Recorder(leaves[:1]) if follow else None
        if differentiable_twice:
            stack.enter_context(TwiceDifferentiable())
        with (
            mode,
            one_image_norms(args, gradients=graph and not normless),
            recorder.following() if recorder is not None else nullcontext(),
            around(recording),
        ):
            # not the leaves themselves: autograd refuses in-place operations on those
            args = (*(leaf.clone() for leaf in leaves), *args[len(leaves) :])
            recording.output = run_observed(forward_func, probes, args, graph, stop_early, parallel)
        check_rows(root, args, recording.output)
        check_reached(probes, model)
        return recording

    def find_end(index: int | None) -> str:
        lost = LostGradient()

        def around(recording: Recording) -> AbstractContextManager[Any]:
            lost.starts = partial(recording.starts, index)
            return watching(model, lost)

        with ExitStack() as again:
            return lost.reason(run(again, around).ends())

    with ExitStack() as stack:
        refused, recording = False, None
        try:
            recording = run(stack, lambda _: nullcontext())
            if normless and passed_norms(recording.ends()):
                normless = False
                stack.close()
                recording = run(stack, lambda _: nullcontext())
        except RuntimeError as error:
            refused = graph and refuses_a_write(error)
            if not refused:
                raise
        if recording is None or (graph and written_into(recording.ends())):
            recording, normless = None, False
            stack.close()
            # into a view from before the layer: autograd has to know that part as well
            recording = run(stack, lambda _: writes_allowed(), from_start=refused)
        elif gradients and not grad_enabled_from_start and not has_gradient(recording.output):
            # a torch.no_grad block of the model around the layer: it leaves gradients as it found
            # them, so they have to be on before it
            recording = None
            stack.close()
            recording = run(stack, lambda _: nullcontext(), from_start=True)
        recording.find_end = find_end
        with checkpoints_explained():
            yield recording


def _copy_in_graph(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def joined(parts: list[list[Tensor]]) -> tuple[Tensor, ...]:
    """One tensor for each place, the replicas' parts concatenated on the first one's device."""
    if len(parts) <= 1:
        return tuple(*parts)
    return tuple(
        torch.cat([t.to(place[0].device) for t in place]) for place in zip(*parts, strict=True)
    )
