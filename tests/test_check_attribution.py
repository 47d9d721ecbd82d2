"""The public checks: a plain Grad-CAM of someone else's passes, and each check sees its mutant.

A mutant is that Grad-CAM with one mistake that libraries make.
"""

import contextlib
import random
import warnings

import numpy as np
import pytest
import torch
from captum.attr import GradientAttribution, LayerAttribution, LayerGradCam, Occlusion
from captum.log import log_usage
from torch import nn

from captum_cnn_ext import testing
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.testing import check_attribution, conformance, networks, state


class PlainCam(LayerAttribution, GradientAttribution):
    """Grad-CAM, written by hand; what the mutants change are its small methods."""

    def __init__(self, forward_func, layer):
        LayerAttribution.__init__(self, forward_func, layer)
        GradientAttribution.__init__(self, forward_func)

    @log_usage(part_of_slo=True)
    def attribute(self, inputs, target=None, additional_forward_args=None):
        self.refuse(inputs)
        given = self.arguments(additional_forward_args)
        with self.model_as_found(), torch.enable_grad():
            maps, output = self.run(self.taken(inputs), given)
            score = self.score(output, target)
            gradient = torch.autograd.grad(score.sum(), maps)[0]
        return self.finish(self.formula(maps, gradient))

    def refuse(self, inputs):
        if not isinstance(inputs, torch.Tensor):
            raise TypeError(f"inputs: expected a tensor, got {type(inputs).__name__}")

    def arguments(self, given):
        return () if given is None else given if isinstance(given, tuple) else (given,)

    def taken(self, inputs):
        return inputs.detach().clone().requires_grad_()

    @contextlib.contextmanager
    def model_as_found(self):
        """Statistics that a call in training mode moves are put back."""
        before = {name: b.clone() for name, b in self.forward_func.named_buffers()}
        try:
            yield
        finally:
            with torch.no_grad():
                for name, buffer in self.forward_func.named_buffers():
                    buffer.copy_(before[name])

    def run(self, x, arguments):
        seen = []

        def keep(module, args, output):
            seen.append(output)
            return output.clone()

        handle = self.layer.register_forward_hook(keep)
        try:
            output = self.forward_func(x.clone(), *arguments)
        finally:
            handle.remove()
        if not seen:
            raise ValueError("the forward pass does not reach the layer")
        return seen[-1], output

    def score(self, output, target):
        rows = torch.arange(len(output))
        each = torch.as_tensor(target)
        each = each.expand(len(output), *each.shape[1:]) if each.numel() == 1 else each
        if len(each) != len(output):
            raise ValueError(f"target={target}: expected one for each of {len(output)} examples")
        each = each.reshape(len(output), -1)
        for column, size in zip(each.T, output.shape[1:], strict=True):
            if bool((column >= size).any()):
                raise ValueError(f"target={target}: the output has {size}")
        return output[(rows, *each.T)]

    def formula(self, maps, gradient):
        weights = gradient.mean((2, 3), keepdim=True) if maps.ndim == 4 else gradient
        return (weights * maps).sum(1, keepdim=True)

    def finish(self, found):
        return found.detach()


def test_someone_elses_class_passes():
    report = check_attribution(PlainCam)
    assert report.passed
    assert {r.check for r in report.of("skipped")} <= {"device_is_the_inputs"}
    assert len(report.results) == len(testing.CHECKS)


class TakesX(PlainCam):
    def attribute(self, x, target=None, additional_forward_args=None):
        return super().attribute(x, target, additional_forward_args)


class RefusesLayersCalledTwice(PlainCam):
    def run(self, x, arguments):
        if isinstance(self.forward_func, networks.CalledTwice):
            raise NotImplementedError("the layer is called twice")
        return super().run(x, arguments)


class DropsAnExample(PlainCam):
    def finish(self, found):
        return found.detach()[:1]


class KeepsTheGraph(PlainCam):
    def finish(self, found):
        return found


class DrawsNoise(PlainCam):
    """Draws random numbers, and gives something else each time."""

    def taken(self, inputs):
        return super().taken(inputs + 0.01 * torch.randn_like(inputs))


class NormalisesOverTheBatch(PlainCam):
    def finish(self, found):
        return found.detach() / found.detach().abs().max()


class TakesOnlyLists(PlainCam):
    def score(self, output, target):
        if isinstance(target, int) and target < 0:
            target = 0
        return super().score(output, target)


class ExplainsTheWinner(PlainCam):
    def score(self, output, target):
        super().score(output, target)
        return super().score(output, output.argmax(1) if output.ndim == 2 else target)


class ExplainsTheNext(PlainCam):
    def score(self, output, target):
        super().score(output, target)
        return super().score(output, (torch.as_tensor(target) + 1) % 5)


class TakesTheFirstOfATuple(PlainCam):
    def score(self, output, target):
        if output.ndim > 2:
            return output[torch.arange(len(output)), [t[0] for t in target]].mean((1, 2))
        return super().score(output, target)


class ForgetsArguments(PlainCam):
    def arguments(self, given):
        return ()


class ReadsWhatWasWrittenOver(PlainCam):
    """No clone: an in-place rectifier writes into the map before it is read."""

    def run(self, x, arguments):
        seen = []
        handle = self.layer.register_forward_hook(lambda m, a, output: seen.append(output))
        try:
            output = self.forward_func(x, *arguments)
        finally:
            handle.remove()
        if not seen:
            raise ValueError("the forward pass does not reach the layer")
        return seen[-1], output


class WorksOnTheUsersTensor(PlainCam):
    def taken(self, inputs):
        return inputs.detach()  # of the same memory

    def run(self, x, arguments):
        found = super().run(x, arguments)
        if isinstance(self.forward_func, networks.WritesIntoInput):
            self.forward_func(x)
        return found


class MixesFlatExamples(PlainCam):
    def formula(self, maps, gradient):
        found = super().formula(maps, gradient)
        return found - found.mean() if maps.ndim == 2 else found


class NeedsGradMode(PlainCam):
    def refuse(self, inputs):
        super().refuse(inputs)
        self.blind = not torch.is_grad_enabled()

    def finish(self, found):
        return found.detach() * (not self.blind)


class GivesFloat32(PlainCam):
    def finish(self, found):
        return found.detach().float()


class ReadsMemoryInOrder(PlainCam):
    def taken(self, inputs):
        x = super().taken(inputs)
        if not inputs.is_contiguous():
            x = torch.as_strided(inputs, inputs.shape, torch.empty(inputs.shape).stride())
        return x.detach().clone().requires_grad_()


class CallsUnwrapped(PlainCam):
    def attribute(self, inputs, target=None, additional_forward_args=None):
        return super().attribute(inputs, target, additional_forward_args)


class ScalesWeights(PlainCam):
    def run(self, x, arguments):
        with torch.no_grad():
            next(self.forward_func.parameters()).mul_(2).div_(2)
        return super().run(x, arguments)


class LeavesGradients(PlainCam):
    def score(self, output, target):
        found = super().score(output, target)
        found.sum().backward(retain_graph=True)
        return found


class MovesStatistics(PlainCam):
    @contextlib.contextmanager
    def model_as_found(self):
        yield
        for buffer in self.forward_func.buffers():
            buffer.add_(1)
            break


class LeavesTraining(PlainCam):
    @contextlib.contextmanager
    def model_as_found(self):
        with super().model_as_found():
            self.forward_func.train().block.eval()
            self.forward_func.norm.eval()
            yield


class LeaksAHook(PlainCam):
    def run(self, x, arguments):
        self.layer.register_forward_hook(lambda *_: None)
        return super().run(x, arguments)


class KeepsSomethingOnTheModel(PlainCam):
    def run(self, x, arguments):
        found = super().run(x, arguments)
        self.forward_func.last_map = None
        return found


class TurnsOnTheUsersGradient(PlainCam):
    def taken(self, inputs):
        inputs.grad = None
        return super().taken(inputs)


class DrawsAndThrowsAway(PlainCam):
    def taken(self, inputs):
        random.random()
        np.random.rand()  # noqa: NPY002
        return super().taken(inputs)


class LeavesGradModeOff(PlainCam):
    def finish(self, found):
        torch.set_grad_enabled(False)
        return found.detach()


class TrainsAlong(PlainCam):
    """As most: a call in training mode moves the statistics of batch norms."""

    model_as_found = contextlib.nullcontext


class ForgetsTheHookOfAFailure(PlainCam):
    def run(self, x, arguments):
        handle = self.layer.register_forward_hook(lambda *_: None)
        found = super().run(x, arguments)
        handle.remove()
        return found


class HidesErrors(PlainCam):
    def run(self, x, arguments):
        try:
            return super().run(x, arguments)
        except ArithmeticError as error:
            raise RuntimeError("something went wrong") from error


class TakesAnyTarget(PlainCam):
    def score(self, output, target):
        if output.ndim == 2:
            target = torch.as_tensor(target).clamp(max=4)
            target = target.repeat(3)[: len(output)] if target.numel() == 2 else target
        return super().score(output, target)


class TakesAnyLayer(PlainCam):
    def run(self, x, arguments):
        try:
            return super().run(x, arguments)
        except ValueError:
            self.layer = self.forward_func.block
            return super().run(x, arguments)


class TakesAnyInput(PlainCam):
    def refuse(self, inputs):
        pass


MUTANTS = {
    "signature_as_captums": TakesX,
    "explains_every_network": RefusesLayersCalledTwice,
    "result_fits": DropsAnExample,
    "result_is_detached": KeepsTheGraph,
    "repeated_calls_equal": DrawsNoise,
    "batch_equals_singles": NormalisesOverTheBatch,
    "target_forms_agree": TakesOnlyLists,
    "target_is_explained": ExplainsTheNext,
    "tuple_targets": TakesTheFirstOfATuple,
    "additional_forward_args_passed_on": ForgetsArguments,
    "written_in_place_or_not": ReadsWhatWasWrittenOver,
    "model_that_writes_into_its_input": WorksOnTheUsersTensor,
    "layer_without_positions": MixesFlatExamples,
    "gradient_switches_do_not_matter": NeedsGradMode,
    "dtype_is_the_models": GivesFloat32,
    "memory_format_does_not_matter": ReadsMemoryInOrder,
    "noise_tunnel_around_it": CallsUnwrapped,
    "parameters_as_before": ScalesWeights,
    "gradients_as_before": LeavesGradients,
    "buffers_as_before": MovesStatistics,
    "training_flags_as_before": LeavesTraining,
    "hooks_as_before": LeaksAHook,
    "model_attributes_as_before": KeepsSomethingOnTheModel,
    "inputs_as_before": TurnsOnTheUsersGradient,
    "random_numbers_as_before": DrawsAndThrowsAway,
    "process_as_before": LeavesGradModeOff,
    "training_mode_moves_nothing": TrainsAlong,
    "failing_calls_leave_nothing_behind": ForgetsTheHookOfAFailure,
    "errors_of_the_model_come_through": HidesErrors,
    "target_outside_is_refused": TakesAnyTarget,
    "unreached_layer_is_refused": TakesAnyLayer,
    "wrong_inputs_are_refused": TakesAnyInput,
}
WITHOUT_MUTANT = {"device_is_the_inputs"}  # tests/cuda has it, where there is another device


def failed(method):
    return check_attribution(method, raise_on_failure=False).failed


def sees(name, method):
    """Whether that one check fails."""
    subject = conformance._subject(method, {}, None)
    return conformance._result(name, subject, None).status == "failed"


@pytest.mark.parametrize("name", testing.CHECKS)
def test_each_check_sees_its_mutant(name):
    if name in WITHOUT_MUTANT:
        pytest.skip("needs an accelerator")
    assert sees(name, MUTANTS[name])
    assert not sees(name, PlainCam)


@pytest.mark.parametrize("name", ["result_is_detached", "tuple_targets", "dtype_is_the_models"])
def test_little_else_fails_with_it(name):
    assert failed(MUTANTS[name]) == [name]


def test_a_winner_is_not_the_target():
    assert sees("target_is_explained", ExplainsTheWinner)


def test_captums_own_gradcam_is_judged():
    """What it does is known from its source: it keeps the graph, and runs the model as it is."""
    report = check_attribution(LayerGradCam, raise_on_failure=False)
    assert {"result_is_detached", "training_mode_moves_nothing"} <= set(report.failed)
    assert "batch_equals_singles" not in report.failed
    assert "hooks_as_before" not in report.failed


def test_the_report_is_readable():
    with pytest.raises(testing.ContractError) as raised:
        check_attribution(KeepsTheGraph)
    report = raised.value.report
    assert str(raised.value) == repr(report)
    first, second, third = repr(report).splitlines()[:3]
    assert first.startswith("KeepsTheGraph: 1 check failed, 31 checks passed")
    assert second.startswith("  FAILED result_is_detached: the result requires gradients on: ")
    assert third.strip() == testing.CHECKS["result_is_detached"]
    assert "<td>result_is_detached</td><td>failed</td>" in report._repr_html_()
    assert "&lt;" in testing.ContractReport("<b>", ())._repr_html_()


def test_expected_failures_are_named_and_do_not_raise():
    reason = {"result_is_detached": "second derivatives are wanted"}
    report = check_attribution(KeepsTheGraph, expected_failed_checks=reason)
    assert report.passed
    assert "expected result_is_detached: second derivatives are wanted" in repr(report)
    with pytest.raises(ArgumentError, match="no check 'detached'; nearest: 'result_is_detached'"):
        check_attribution(PlainCam, expected_failed_checks={"detached": ""})


def test_other_ways_to_make_a_method():
    windows = {"sliding_window_shapes": (2, 2, 2)}
    report = check_attribution(Occlusion, arguments=windows, raise_on_failure=False)
    assert "batch_equals_singles" not in report.failed
    assert {"takes no layer"} == {
        r.message for r in report.of("skipped") if r.check != "device_is_the_inputs"
    }
    assert check_attribution(lambda model, layer: PlainCam(model, layer), layer="stem").passed
    with pytest.raises(ArgumentError, match="no such layer; nearest: 'block'"):
        check_attribution(PlainCam, layer="blokc")
    with pytest.raises(ArgumentError, match=r"could not be made as method\(model, layer\)"):
        check_attribution(nn.Conv2d)
    with pytest.raises(TypeError, match="expected a class or a function"):
        check_attribution("LayerGradCam")


def test_nothing_of_the_process_is_changed_by_the_checks():
    model = nn.Conv2d(1, 1, 1)
    with testing.nothing_left_behind(model), warnings.catch_warnings():
        warnings.simplefilter("error")
        check_attribution(PlainCam)


def test_every_group_of_state_is_seen():
    """Change one thing of each group; its name, and no other, is reported."""
    model, x = networks.build(networks.Net), networks.image_batch()
    changes = {
        "parameters": lambda: model.stem.weight.requires_grad_(False),
        "gradients": lambda: setattr(model.stem.bias, "grad", torch.zeros(4).double()),
        "buffers": lambda: model.norm.running_mean.add_(1),
        "training flags": lambda: model.relu.train(),
        "hooks": lambda: model.relu.register_full_backward_hook(lambda *_: None),
        "model attributes": lambda: setattr(model, "extra", 1),
        "inputs": lambda: x.mul_(2),
        "random numbers": lambda: random.random(),
        "process": lambda: torch.set_default_dtype(torch.float64),
    }
    assert set(changes) == set(state.GROUPS)
    try:
        for group, change in changes.items():
            before = state.state(model, (x,))
            change()
            assert state.changed(before, state.state(model, (x,))) == [group]
    finally:
        torch.set_default_dtype(torch.float32)
