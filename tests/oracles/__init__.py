"""The register of literal references: a row for every public attribution class, or several.

Whoever adds a class to ``captum_cnn_ext.attr`` adds an :class:`Oracle` to the file of its kind
here: the class, a slow literal reference (from a ``tests/references*.py``, none of which imports
the package) and wrong versions of the class. ``test_oracles.py`` compares the two and sees each
wrong version fail; ``test_contract.py`` and all that runs every class calls it as its row says.
"""

import functools
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from captum.attr import Attribution
from torch import Tensor, nn

from captum_cnn_ext import attr
from oracles.scenes import SCENES

TARGETS = [0, 4, 2]
WITHOUT_CLASS = (
    attr.LayerDeepFeatureFactorization,
    attr.LayerEigenCam,
    attr.LayerFem,
    attr.LayerKPCACam,
)
"""They take Captum's target, and ignore it."""
Mutant = tuple[Any, str, Callable[[Any], Any]]
"""Owner (a module or a class), name, and from what stands there to what is wrong."""


def home(cls: type) -> Any:
    """The module that a class is written in."""
    return sys.modules[cls.__module__]


@dataclass(frozen=True, eq=False)
class Oracle:
    """A class beside its literal reference.

    Args:
        cls: the public class.
        reference: ``(model, layer, x, targets, call)`` -> what is expected; ``layer`` is the module
            (a list of them where the scene has several), ``call`` counts as an index does.
        mutants: by what is wrong in them.
        scenes: names of ``oracles.scenes``, on which the two are compared.
        options: of the constructor, where they are not the defaults.
        arguments: of ``attribute``.
        tolerance: of the largest value.
        make: ``(model, layer)`` -> the method, where it is not ``cls(model, layer)``.
        variant: what tells further rows of one class apart.
    """

    cls: type
    reference: Callable[..., Tensor]
    mutants: Mapping[str, Mutant]
    scenes: tuple[str, ...] = ("net", "residual", "first call", "last call")
    options: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-10
    make: Callable[..., Any] | None = None
    variant: str = ""

    @property
    def name(self) -> str:
        return self.cls.__name__ + (f", {self.variant}" if self.variant else "")

    @property
    def takes_target(self) -> bool:
        takes = "target" in inspect.signature(self.cls.attribute).parameters
        return takes and "target" not in self.arguments

    def method(self, model: nn.Module, layer: Any) -> Any:
        if self.make is not None:
            return self.make(model, layer)
        takes_layer = "layer" in inspect.signature(self.cls.__init__).parameters
        return self.cls(model, *([layer] if takes_layer else []), **self.options)

    def attribute(self, model, layer, x, target=1, call=None, **arguments) -> Any:
        """What the class gives."""
        return self.method(model, layer).attribute(x, **self.keywords(target, call), **arguments)

    def keywords(self, target: Any = 1, call: int | None = None) -> dict[str, Any]:
        """What ``attribute`` is called with, beside the inputs."""
        kwargs = dict(self.arguments)
        if self.takes_target:
            kwargs["target"] = target
        if call is not None and self._takes_call:
            kwargs["call"] = call
        return kwargs

    @property
    def _takes_call(self) -> bool:
        parameters = inspect.signature(self.cls.attribute).parameters.values()
        return any(p.name == "call" or p.kind is p.VAR_KEYWORD for p in parameters)

    def compare(self, model, layer, x, target, call=None, tolerance=None, **arguments) -> None:
        """Class and reference agree; ``layer`` by name, or a list of names."""
        expected = self.expected(model, layer, x, target, call)
        found = self.attribute(model, layer, x, target, call, **arguments)
        assert_equal(found, expected, self.tolerance if tolerance is None else tolerance)

    def expected(self, model, layer, x, target, call=None) -> Tensor:
        names = [layer] if isinstance(layer, str) else layer
        modules = [model.get_submodule(name) for name in names]
        targets = [target] * len(x) if isinstance(target, int) else list(target)
        place = modules[0] if isinstance(layer, str) else modules
        return self.reference(model, place, x, targets, -1 if call is None else call)

    def compare_on(self, scene: str, target: Any = TARGETS, expected_of: Any = None) -> None:
        """The same on one of the scenes, whose expectation is computed once."""
        where = SCENES[scene]
        target, other = (_each(t, len(where.inputs())) for t in (target, expected_of or target))
        expected = _expected(self, scene, tuple(other))
        found = self.attribute(where.build(), where.layer, where.inputs(), target, where.call)
        assert_equal(found, expected, self.tolerance)

    def compare_on_every_scene(self) -> None:
        for scene in self.scenes:
            self.compare_on(scene)


def _each(target: int | list[int], n: int) -> list[int]:
    return [target] * n if isinstance(target, int) else target[:n]


@functools.cache
def _expected(oracle, scene, targets):
    where = SCENES[scene]
    return oracle.expected(where.build(), where.layer, where.inputs(), list(targets), where.call)


def assert_equal(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """To a share of the largest value expected."""
    largest = float(expected.detach().abs().max())
    assert largest > 0, "an empty map proves nothing"
    torch.testing.assert_close(
        found.double(),
        expected.detach().double().to(found.device),
        rtol=0,
        atol=tolerance * largest,
    )


def by_gradient(formula: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A reference from a formula of the layer's activation and the score's gradient there."""
    from references import activation_and_gradient

    def reference(model, layer, x, targets, call):
        return formula(*activation_and_gradient(model, layer, x, targets, call=call))

    return reference


def by_activation(formula: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """A reference from a formula of the layer's activation alone."""
    from references_layers import values_at

    return lambda model, layer, x, targets, call: formula(values_at(model, layer, x, call))


@functools.cache
def register() -> list[Oracle]:
    """The rows of every file here."""
    files = [importlib.import_module(f"oracles.{m.name}") for m in pkgutil.iter_modules(__path__)]
    return [oracle for file in files for oracle in getattr(file, "ORACLES", [])]


def public_classes() -> list[type]:
    found = (getattr(attr, name) for name in attr.__all__)
    return [cls for cls in found if inspect.isclass(cls) and issubclass(cls, Attribution)]


def oracle_of(cls: type, variant: str | None = None) -> Oracle:
    """A class's row of that variant; None is its first."""
    for oracle in register():
        if oracle.cls is cls and variant in (None, oracle.variant):
            return oracle
    raise AssertionError(
        f"{cls.__name__} has no literal reference: add an Oracle to the file of its kind in "
        "tests/oracles/ (the class, its reference, its mutants)"
    )
