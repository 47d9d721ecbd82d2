"""Checks of what a method leaves behind: nothing, after calls that fail too."""

import warnings
from collections.abc import Callable
from typing import Any

from torch import nn

from captum_cnn_ext.testing import networks
from captum_cnn_ext.testing.state import GROUPS, changed, state
from captum_cnn_ext.testing.subject import TARGETS, NotApplicable, Subject, difference, require


class Interrupt(KeyboardInterrupt):
    """Ctrl-C that a check presses; a user's own is not caught."""


OUTSIDE = 99  # a class that no network of the checks has


def as_before(group: str) -> Callable[[Subject], None]:
    """The check that a call leaves one of `GROUPS` as it was."""

    def check(subject: Subject) -> None:
        on = [n for n in subject.networks if group in subject.changes_on(n)]
        require(not on, f"changed by a call on: {', '.join(on)}")

    check.__name__ = f"{group.replace(' ', '_')}_as_before"
    check.__doc__ = f"A call changes nothing of: {GROUPS[group]}."
    return check


def training_mode_moves_nothing(subject: Subject) -> None:
    """A model in training mode keeps its statistics, and its flags; two calls are equal."""
    model, layer = subject.build(subject.first, training=True)
    x = networks.image_batch()
    before = state(model, (x,))
    first = subject.attribute(model, layer, x, TARGETS)
    found = changed(before, state(model, (x,)))
    require(not found, f"changed by a call in training mode: {', '.join(found)}")
    apart = difference(subject.attribute(model, layer, x, TARGETS), first, 0)
    require(not apart, f"a second call in training mode differs: {apart}")


def target_outside_is_refused(subject: Subject) -> None:
    """A class that the model does not have, or too few targets: an error that names them."""
    if not subject.takes_target:
        raise NotApplicable("takes no target")
    model, layer = subject.build(subject.first)
    x = networks.image_batch()
    for target, words in ((OUTSIDE, str(OUTSIDE)), ([0, OUTSIDE, 1], str(OUTSIDE)), ([0, 1], "")):
        error = _error_of(subject, model, layer, x, target)
        require(error is not None, f"target={target!r} is not refused")
        require(
            isinstance(error, (AssertionError, ValueError, IndexError)),
            f"target={target!r}: expected AssertionError, ValueError or IndexError, got {error!r}",
        )
        said = str(error).lower()
        require(
            "target" in said or (words and words in said),
            f"target={target!r}: the message names neither the argument nor the value: {error!r}",
        )


def unreached_layer_is_refused(subject: Subject) -> None:
    """A layer that the forward pass does not call: an error that speaks of a layer."""
    if not subject.takes_layer:
        raise NotApplicable("takes no layer")
    model, _ = subject.build(subject.first)
    error = _error_of(subject, model, nn.ReLU(), networks.image_batch(), TARGETS)
    require(error is not None, "a layer that is no part of the model is not refused")
    require(
        any(word in str(error).lower() for word in ("layer", "module")),
        f"the message does not speak of the layer: {error!r}",
    )


def wrong_inputs_are_refused(subject: Subject) -> None:
    """None, an empty tuple, a list: an error that names ``inputs``."""
    model, layer = subject.build(subject.first)
    optional = subject.signature.parameters["inputs"].default is None
    for wrong in (*(() if optional else (None,)), (), [networks.image_batch()]):
        error = _error_of(subject, model, layer, wrong, TARGETS)
        shown = "a list of a tensor" if wrong else repr(wrong)
        require(error is not None, f"inputs={shown} is not refused")
        require("input" in str(error).lower(), f"inputs={shown}: the message says {error!r}")


def errors_of_the_model_come_through(subject: Subject) -> None:
    """What the model raises in its forward pass is raised, an interrupt too."""
    for error in (ArithmeticError, Interrupt):
        model, layer, x = _broken(subject, subject.first, error)
        found = _error_of(subject, model, layer, x, TARGETS)
        require(isinstance(found, error), f"{error.__name__} in the model comes out as {found!r}")


def failing_calls_leave_nothing_behind(subject: Subject) -> None:
    """After every call that fails, everything is as before, and the next call is right."""
    for network in subject.networks:
        for failure, prepare in FAILURES.items():
            prepared = prepare(subject, network)
            if prepared is None:
                continue
            model, layer, x, target = prepared
            before = state(model, (x,))
            failed = _error_of(subject, model, layer, x, target)
            found = changed(before, state(model, (x,)))
            what = f"on '{network}', {failure} ({type(failed).__name__})"
            require(not found, f"{what}: changed {', '.join(found)}")
        model, layer = subject.build(network)
        x = networks.image_batch()
        for error in (ArithmeticError, Interrupt):
            stem, model.stem = model.stem, networks.Stops(error)
            _error_of(subject, model, layer, x, TARGETS)
            model.stem = stem
        apart = difference(subject.attribute(model, layer, x, TARGETS), subject.of(network), 0)
        require(not apart, f"on '{network}', the call after a failing one differs: {apart}")


def _error_of(subject: Subject, *call: Any) -> BaseException | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            subject.raw(*call)
    except (Exception, Interrupt) as error:
        return error.with_traceback(None)  # its frames would keep hooks that go with them
    return None


def _broken(subject: Subject, network: str, error: type[BaseException]) -> Any:
    model, layer = subject.build(network)
    model.stem = networks.Stops(error)
    return model, layer, networks.image_batch()


def _outside(subject: Subject, network: str) -> Any:
    if not subject.takes_target:
        return None
    return *subject.build(network), networks.image_batch(), OUTSIDE


def _unreached(subject: Subject, network: str) -> Any:
    if not subject.takes_layer:
        return None
    return subject.build(network)[0], nn.ReLU(), networks.image_batch(), TARGETS


FAILURES: dict[str, Callable[[Subject, str], Any]] = {
    "a class that is not there": _outside,
    "a layer that is not reached": _unreached,
    "an error in the model": lambda s, n: (*_broken(s, n, ArithmeticError), TARGETS),
    "an interrupt in the model": lambda s, n: (*_broken(s, n, Interrupt), TARGETS),
}

CHECKS = (
    *(as_before(group) for group in GROUPS),
    training_mode_moves_nothing,
    failing_calls_leave_nothing_behind,
    errors_of_the_model_come_through,
    target_outside_is_refused,
    unreached_layer_is_refused,
    wrong_inputs_are_refused,
)
