"""How the class that is checked is constructed and called; what it gave is kept."""

import inspect
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from captum_cnn_ext.testing import networks
from captum_cnn_ext.testing.state import changed, state

TARGETS = [0, 4, 2]
"""Of the three examples of `networks.image_batch`."""


class NotApplicable(Exception):
    """Raised by a check that says nothing about such a method."""


class Subject:
    """The method in the hands of the checks; see `check_attribution` for the arguments."""

    def __init__(
        self, method: Callable[..., Any], arguments: Mapping[str, Any], layer: str | None
    ) -> None:
        self.method, self.arguments, self.layer = method, dict(arguments), layer
        self.model, self.place = self.build()
        self.made = self.construct(self.model, self.place)
        self.name = type(self.made).__name__
        self.signature = inspect.signature(self.made.attribute)
        named = "target" in self.signature.parameters
        self.takes_target = named and "target" not in self.arguments
        self._found: dict[str, list[Tensor]] = {}

    @property
    def given_layer(self) -> bool:
        """Whether a layer is given to what makes it."""
        if not isinstance(self.method, type):
            return True
        return "layer" in inspect.signature(self.method).parameters

    @property
    def takes_layer(self) -> bool:
        """Whether a layer is what it explains."""
        return self.given_layer and hasattr(self.made, "layer")

    def build(
        self, network: str = networks.FIRST, training: bool = False
    ) -> tuple[nn.Module, nn.Module]:
        """A fresh network and the layer of it that is explained."""
        one = networks.NETWORKS[network]
        model = networks.build(one.kind, training)
        return model, model.get_submodule(self.layer or one.layer)

    def construct(self, model: Any, layer: Any) -> Any:
        return self.method(model, layer) if self.given_layer else self.method(model)

    def attribute(
        self,
        model: Any,
        layer: Any,
        inputs: Any,
        target: Any = 1,
        *,
        seeded: bool = True,
        **more: Any,
    ) -> list[Tensor]:
        """What ``attribute`` gives, as a list of tensors; seeded, random ones too."""
        with seeded_process() if seeded else nullcontext():
            found = self.raw(model, layer, inputs, target, **more)
        parts = list(found) if isinstance(found, (tuple, list)) else [found]
        for part in parts:
            is_tensor = isinstance(part, Tensor)
            require(is_tensor, f"expected a tensor or a tuple of them, got {type(part).__name__}")
        return parts

    def raw(self, model: Any, layer: Any, inputs: Any, target: Any = 1, **more: Any) -> Any:
        arguments = self.arguments | ({"target": target} if self.takes_target else {}) | more
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.construct(model, layer).attribute(inputs, **arguments)

    def of(self, network: str) -> list[Tensor]:
        """What a fresh network's three examples with `TARGETS` get; computed once."""
        if network not in self._found:
            x = networks.image_batch()
            self._found[network] = self.attribute(*self.build(network), x, TARGETS)
        return self._found[network]

    @cached_property
    def failures(self) -> dict[str, str]:
        """By network: why it cannot be explained at all; the other checks leave these out."""
        found: dict[str, str] = {}
        for network in networks.NETWORKS:
            try:
                self.of(network)
                self.changes_on(network)
            except Exception as error:
                found[network] = f"{type(error).__name__}: {error}".split("\n")[0]
        return found

    @cached_property
    def networks(self) -> list[str]:
        """Those that the method explains."""
        working = [network for network in networks.NETWORKS if network not in self.failures]
        if not working:
            raise NotApplicable("no network of the checks can be explained")
        return working

    @property
    def first(self) -> str:
        return self.networks[0]

    @property
    def kind(self) -> Callable[[nn.Module], nn.Module]:
        return networks.NETWORKS[self.first].kind

    def of_kind(
        self, kind: Callable[[nn.Module], nn.Module], training: bool = False
    ) -> tuple[nn.Module, nn.Module]:
        """A network of another kind, and the layer that is explained by default."""
        model = networks.build(kind, training)
        return model, model.get_submodule(self.layer or networks.NETWORKS[networks.FIRST].layer)

    def changes_on(self, network: str) -> list[str]:
        """What a call changes where everything has something to lose; computed once."""
        if network not in self._changes:
            model, layer = self.build(network)
            x = networks.image_batch().requires_grad_()
            x.grad = torch.ones_like(x)
            first = next(model.parameters())
            first.grad = torch.ones_like(first)
            norm = model.get_submodule("norm")
            next(norm.parameters()).requires_grad_(False)
            before = state(model, (x,))
            self.attribute(model, layer, x, seeded=False)
            self._changes[network] = changed(before, state(model, (x,)))
        return self._changes[network]

    @cached_property
    def _changes(self) -> dict[str, list[str]]:
        return {}


@contextmanager
def seeded_process() -> Iterator[None]:
    """Random numbers from one seed inside; they and the grad mode afterwards as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(), torch.set_grad_enabled(torch.is_grad_enabled()):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        try:
            yield
        finally:
            np.random.set_state(numpy)  # noqa: NPY002
            random.setstate(python)


def require(holds: object, otherwise: str) -> None:
    """Fail the check that asks, under ``python -O`` too."""
    if not holds:
        raise AssertionError(otherwise)


def difference(found: list[Tensor], expected: list[Tensor], tolerance: float) -> str:
    """How two results differ by more than a share of the largest value; "" where they agree."""
    shapes = [[tuple(t.shape) for t in each] for each in (found, expected)]
    if shapes[0] != shapes[1]:
        return f"shapes {shapes[0]} instead of {shapes[1]}"
    for a, b in zip(found, expected, strict=True):
        one, other = a.detach().cpu().double(), b.detach().cpu().double()
        if not other.numel():
            continue
        largest, apart = float(other.abs().max()), float((one - other).abs().max())
        if not apart <= tolerance * largest:
            return f"largest difference {apart:.3g}, of values up to {largest:.3g}"
    return ""
