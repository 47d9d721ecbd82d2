"""Every public attribution class equals its literal reference, and wrong versions are seen failing.

Other libraries' suites stay green with the sign of Grad-CAM flipped; this file holds ours to it.
The rows are in ``oracles/``.
"""

import oracles
import pytest
from captum.attr import Attribution

from captum_cnn_ext import attr

pytestmark = pytest.mark.filterwarnings("ignore:.*the layer has channels that sum to less than 0")
ORACLES = {oracle.name: oracle for oracle in oracles.register()}
TARGETED = [
    name
    for name, oracle in ORACLES.items()
    if oracle.takes_target and not issubclass(oracle.cls, oracles.WITHOUT_CLASS)
]
PLACES = [(name, scene) for name, oracle in ORACLES.items() for scene in oracle.scenes]
MUTANTS = [(name, what) for name, oracle in ORACLES.items() for what in oracle.mutants]


@pytest.mark.parametrize("cls", oracles.public_classes(), ids=lambda c: c.__name__)
def test_every_public_class_has_a_reference_and_a_wrong_version(cls):
    assert oracles.oracle_of(cls).mutants, f"{cls.__name__}: no wrong version that must be seen"


def test_a_class_without_a_reference_is_named(monkeypatch):
    class LayerNewCam(Attribution):
        pass

    monkeypatch.setattr(attr, "LayerNewCam", LayerNewCam, raising=False)
    monkeypatch.setattr(attr, "__all__", [*attr.__all__, "LayerNewCam"])
    (new,) = [cls for cls in oracles.public_classes() if cls is LayerNewCam]
    with pytest.raises(
        AssertionError, match=r"LayerNewCam has no .*: add an Oracle .* in tests/or"
    ):
        oracles.oracle_of(new)


@pytest.mark.parametrize(("name", "scene"), PLACES)
def test_equals_the_literal_reference(name, scene):
    oracle = ORACLES[name]
    oracle.compare_on(scene)
    if name in TARGETED:
        oracle.compare_on(scene, 1)


@pytest.mark.parametrize(("name", "mutant"), MUTANTS)
def test_a_wrong_version_is_seen(name, mutant, monkeypatch):
    oracle = ORACLES[name]
    owner, attribute, wrong = oracle.mutants[mutant]
    monkeypatch.setattr(owner, attribute, wrong(getattr(owner, attribute)))
    with pytest.raises(AssertionError, match=r"not close|do not match"):
        oracle.compare_on_every_scene()


@pytest.mark.parametrize("name", TARGETED)
def test_another_class_is_seen(name):
    oracle = ORACLES[name]
    with pytest.raises(AssertionError, match="not close"):
        oracle.compare_on(oracle.scenes[0], [0, 4, 1], expected_of=[0, 4, 2])
