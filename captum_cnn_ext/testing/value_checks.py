"""Checks of what a method gives: the same from every way to ask, and of the target asked for."""

import inspect
from typing import Any

import torch
from captum.attr import Attribution, NoiseTunnel
from torch import Tensor, nn

from captum_cnn_ext.testing import networks
from captum_cnn_ext.testing.state import changed, state
from captum_cnn_ext.testing.subject import TARGETS, NotApplicable, Subject, difference, require

EXACT = 1e-9  # of the largest value: float64, where only the order of sums may differ
ROUNDED = 1e-3  # the same across devices
ORDER = [3, 0, 4, 1, 2]  # of the classes; no shift, so that "the next class" is seen too


def signature_as_captums(subject: Subject) -> None:
    """A subclass of captum.attr.Attribution, called with Captum's names and defaults."""
    require(isinstance(subject.made, Attribution), "is no subclass of captum.attr.Attribution")
    names = list(subject.signature.parameters)
    require(
        names[:1] == ["inputs"], f"attribute{subject.signature}: the first argument is `inputs`"
    )
    for name in ("target", "additional_forward_args"):
        parameter = subject.signature.parameters.get(name)
        if parameter is not None:
            require(parameter.default is None, f"attribute: expected {name}=None by default")
    if subject.given_layer and isinstance(subject.method, type):
        first = list(inspect.signature(subject.method).parameters)[:2]
        require(
            first in (["forward_func", "layer"], ["model", "layer"]),
            f"__init__: expected (forward_func, layer, ...), got {first}",
        )


def explains_every_network(subject: Subject) -> None:
    """In-place layers, residual adds, a layer called twice, inputs that require gradients."""
    failed = [f"on '{network}': {why}" for network, why in subject.failures.items()]
    require(not failed, "; ".join(failed))


def result_fits(subject: Subject) -> None:
    """An example each, batch first, of the layer's or the input's size, and finite."""
    for network in subject.networks:
        for found in subject.of(network):
            require(found.shape[:1] == (3,), f"3 examples, result {tuple(found.shape)}")
            require(
                found.ndim < 4 or found.shape[-2:] == (5, 6),
                f"on '{network}': size {tuple(found.shape[-2:])}, the layer and input have (5, 6)",
            )
            require(bool(torch.isfinite(found).all()), f"on '{network}': not finite")


def result_is_detached(subject: Subject) -> None:
    """What comes back holds no graph, so that keeping it keeps no activations."""
    held = [n for n in subject.networks if any(t.requires_grad for t in subject.of(n))]
    require(not held, f"the result requires gradients on: {', '.join(held)}")


def repeated_calls_equal(subject: Subject) -> None:
    """The same call on the same model gives the same, bit for bit."""
    for network in subject.networks:
        model, layer = subject.build(network)
        first, second = (
            subject.attribute(model, layer, _x(), TARGETS, seeded=False) for _ in range(2)
        )
        _same(second, first, 0, f"two calls on '{network}'")


def batch_equals_singles(subject: Subject) -> None:
    """Examples do not depend on the batch that they come in."""
    for network in subject.networks:
        model, layer = subject.build(network)
        x = _x()
        singles = [subject.attribute(model, layer, x[n : n + 1], TARGETS[n]) for n in range(3)]
        stacked = [torch.cat(list(parts)) for parts in zip(*singles, strict=True)]
        _same(subject.of(network), stacked, EXACT, f"batch and singles on '{network}'")


def target_forms_agree(subject: Subject) -> None:
    """An int, lists of ints and of tuples, tensors: every form of target that Captum takes."""
    _needs_target(subject)
    model, layer = subject.build(subject.first)
    x = _x()
    each = subject.of(subject.first)
    form: Any
    for form in (torch.tensor(TARGETS), [(t,) for t in TARGETS]):
        _same(subject.attribute(model, layer, x, form), each, EXACT, f"target={form!r}")
    one = subject.attribute(model, layer, x, 3)
    for form in ((3,), torch.tensor(3), torch.tensor([3]), [3, 3, 3], -2):
        _same(subject.attribute(model, layer, x, form), one, EXACT, f"target={form!r} and 3")


def target_is_explained(subject: Subject) -> None:
    """The class asked for, and no other: classes in another order change no explanation."""
    _needs_target(subject)
    x = _x()
    model, layer = subject.build(subject.first)
    of_classes = [subject.attribute(model, layer, x, t) for t in range(networks.CLASSES)]
    require(difference(of_classes[0], of_classes[1], EXACT), "classes 0 and 1 get the same")
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.copy_(last.weight[ORDER].clone())
        last.bias.copy_(last.bias[ORDER].clone())
    for target, was in enumerate(ORDER):
        found = subject.attribute(model, layer, x, target)
        where = f"class {was}, at index {target} after the classes changed places,"
        _same(found, of_classes[was], EXACT, where)


def tuple_targets(subject: Subject) -> None:
    """(class, row, column) of a dense output explains that score."""
    _needs_target(subject)
    x = _x()
    expected = subject.attribute(*subject.of_kind(networks.OnePosition), x, TARGETS)
    targets = [(t, 2, 3) for t in TARGETS]
    found = subject.attribute(*subject.of_kind(networks.Dense), x, targets)
    _same(found, expected, EXACT, f"target={targets!r} of scores (N, classes, H, W)")


def additional_forward_args_passed_on(subject: Subject) -> None:
    """The model's further arguments, additional_forward_args=(0.5,), reach it."""
    if "additional_forward_args" not in subject.signature.parameters:
        raise NotApplicable("takes no additional_forward_args")
    model, layer = subject.of_kind(networks.Scaled)
    x = _x()
    plain = subject.attribute(model, layer, x, TARGETS)
    found = subject.attribute(model, layer, x, TARGETS, additional_forward_args=(0.5,))
    require(difference(found, plain, EXACT), "makes no difference")
    one = subject.attribute(model, layer, x, TARGETS, additional_forward_args=0.5)
    _same(one, found, EXACT, "additional_forward_args=0.5 and (0.5,)")


def written_in_place_or_not(subject: Subject) -> None:
    """Of one function, the same explanation: written in place or not, with exceptions caught."""
    expected = subject.attribute(*subject.of_kind(networks.OutOfPlace), _x(), TARGETS)
    for network in networks.OF_ONE_FUNCTION:
        if network in subject.networks:
            _same(subject.of(network), expected, EXACT, f"'{network}' and out of place")


def model_that_writes_into_its_input(subject: Subject) -> None:
    """A model that doubles its input in place: the right explanation, the user's tensor kept."""
    expected = subject.attribute(*subject.of_kind(networks.Doubled), _x(), TARGETS)
    for x in (_x(), _x().requires_grad_()):
        model, layer = subject.of_kind(networks.WritesIntoInput)
        found = subject.attribute(model, layer, x, TARGETS)
        require(torch.equal(x, _x()), "the user's tensor is doubled after the call")
        _same(found, expected, EXACT, "doubled in place and out of place")


def layer_without_positions(subject: Subject) -> None:
    """A layer that gives (N, features) is explained example by example, or refused."""
    if not subject.takes_layer:
        raise NotApplicable("takes no layer")
    model, x = subject.build(subject.first)[0], _x()
    before = state(model, (x,))
    try:
        found = subject.attribute(model, model, x, TARGETS)
        each = [subject.attribute(model, model, x[n : n + 1], TARGETS[n]) for n in range(3)]
    except (ValueError, AssertionError, NotImplementedError):
        return
    moved = changed(before, state(model, (x,)))
    require(not moved, f"changed: {', '.join(moved)}")
    stacked = [torch.cat(list(parts)) for parts in zip(*each, strict=True)]
    _same(found, stacked, EXACT, "batch and singles of the model's own output")


def gradient_switches_do_not_matter(subject: Subject) -> None:
    """The same under torch.no_grad(), and with every parameter frozen."""
    model, layer = subject.build(subject.first)
    x = _x()
    expected = subject.of(subject.first)
    with torch.no_grad():
        found = subject.attribute(model, layer, x, TARGETS)
    _same(found, expected, EXACT, "under torch.no_grad()")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    _same(subject.attribute(model, layer, x, TARGETS), expected, EXACT, "with frozen parameters")


def dtype_is_the_models(subject: Subject) -> None:
    """float64, float32 and bfloat16 models get maps of their own dtype."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        model, layer = subject.build(subject.first)
        found = subject.attribute(model.to(dtype), layer, _x().to(dtype), TARGETS)
        wrong = {str(t.dtype) for t in found if t.is_floating_point() and t.dtype != dtype}
        require(not wrong, f"a model of {dtype} gets {', '.join(wrong)}")


def memory_format_does_not_matter(subject: Subject) -> None:
    """channels_last models and inputs get the same values."""
    model, layer = subject.build(subject.first)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = _x().contiguous(memory_format=torch.channels_last)
    _same(subject.attribute(model, layer, x, TARGETS), subject.of(subject.first), EXACT, "the two")


def device_is_the_inputs(subject: Subject) -> None:
    """On each accelerator that is there: maps on it, with the values of the CPU."""
    devices = [d for d in ("cuda", "mps", "xpu") if _available(d)]
    if not devices:
        raise NotApplicable("no accelerator here")
    for device in devices:
        maps = []
        for where in ("cpu", device):
            # Metal has no float64; elsewhere TF32 would round float32
            home = (where, torch.float32 if device == "mps" else torch.float64)
            model = subject.build(subject.first)[0].to(*home)
            layer = model.get_submodule(subject.layer or networks.NETWORKS[subject.first].layer)
            maps.append(subject.attribute(model, layer, _x().to(*home), TARGETS))
            elsewhere = {t.device.type for t in maps[-1]} - {where}
            require(not elsewhere, f"an input on {where} gets a result on {', '.join(elsewhere)}")
        _same(maps[1], maps[0], ROUNDED, f"{device} and cpu")


def noise_tunnel_around_it(subject: Subject) -> None:
    """captum.attr.NoiseTunnel with no noise gives what the method gives."""
    model, layer = subject.build(subject.first)
    x = _x()
    tunnel = NoiseTunnel(subject.construct(model, layer))
    arguments = subject.arguments | ({"target": TARGETS} if subject.takes_target else {})
    found = tunnel.attribute(x, nt_samples=2, stdevs=0.0, **arguments)
    parts = list(found) if isinstance(found, (tuple, list)) else [found]
    _same(parts, subject.of(subject.first), 1e-6, "inside and outside of the tunnel")


def _x() -> Tensor:
    return networks.image_batch()


def _same(found: list[Tensor], expected: list[Tensor], tolerance: float, what: str) -> None:
    apart = difference(found, expected, tolerance)
    require(not apart, f"{what} differ: {apart}")


def _needs_target(subject: Subject) -> None:
    if not subject.takes_target:
        raise NotApplicable("takes no target")


def _available(device: str) -> bool:
    backend = getattr(torch.backends if device == "mps" else torch, device, None)
    return bool(backend is not None and backend.is_available())


CHECKS = (
    signature_as_captums,
    explains_every_network,
    result_fits,
    result_is_detached,
    repeated_calls_equal,
    batch_equals_singles,
    target_forms_agree,
    target_is_explained,
    tuple_targets,
    additional_forward_args_passed_on,
    written_in_place_or_not,
    model_that_writes_into_its_input,
    layer_without_positions,
    gradient_switches_do_not_matter,
    dtype_is_the_models,
    memory_format_does_not_matter,
    device_is_the_inputs,
    noise_tunnel_around_it,
)
