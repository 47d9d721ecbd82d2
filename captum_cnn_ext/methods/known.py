"""What is known of each method, and methods by name."""

import inspect
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.errors import ArgumentError, nearest
from captum_cnn_ext.methods.expression import evaluate, imported

OURS, CAPTUM, CONTROL = "captum-cnn-ext", "Captum", "control"
INPUT, LAYER, LAYERS, NO_MAP = "input", "layer", "layers", "no map"
_ENTRIES = Path(__file__).with_name("methods.json")


@dataclass(frozen=True)
class KnownMethod:
    """A method as one chooses it, with the settings that it is compared with everywhere.

    Attributes:
        name: what it is called in tables and on the command line.
        at: what its map for a class is drawn at: the input, one layer, several layers joined; or
            that it gives no map for a class.
        question, cost, paper: in words.
        origin: the library it comes from; a control knows nothing of the network.
        path: the class (of a control: the function) by its dotted path.
        gradient: whether it needs gradients of the score.
        noisy: whether Captum's ``NoiseTunnel`` averages it over noisy copies of the input.
        absolute: whether the map has the absolute values of what the class gives.
        also: other names that are understood.
        about: the idea, where the class's docstring does not say it as ours do.
        creation: what the class is created with beside the model and its layers.
        settings: the function of `settings.py` that gives what ``attribute`` gets beside inputs
            and target, where that is not the default.
        advice: when to take it and when not, by the league of `bench.truths`.
        mean_rank: of that league over its tasks, at the better layer; 1 is best, None took no part.
        of_boxes: whether it gives a map of the input for a box of a detector.
    """

    name: str
    at: str
    question: str
    cost: str
    paper: str
    origin: str
    path: str
    gradient: bool = True
    noisy: bool = False
    absolute: bool = False
    also: Sequence[str] = ()
    about: str = field(default="", repr=False)
    creation: Mapping[str, Any] = field(default_factory=dict, repr=False)
    settings: str = ""
    advice: str = ""
    mean_rank: float | None = None
    of_boxes: bool = False

    __repr__ = brief

    @property
    def idea(self) -> str:
        """What it computes, in one sentence; of our classes the first one of their docstring."""
        text = self.about or inspect.getdoc(evaluate(imported(self.path))) or ""
        return " ".join(text.split("\n\n")[0].split())


def known_methods() -> dict[str, KnownMethod]:
    """Every method of this package, Captum's that go well beside them, and controls, by name.

    Example::

        >>> from captum_cnn_ext.insights import known_methods
        >>> known_methods()["LayerReciproCam"].question
        'What if one position were all there is?'
    """
    return {entry["name"]: KnownMethod(**entry) for entry in json.loads(_ENTRIES.read_bytes())}


def find_methods(names: Iterable[str]) -> list[KnownMethod]:
    """The methods of these names; ``gradcam++`` is read as ``LayerGradCamPlusPlus``.

    Raises:
        ArgumentError: there is no such method, it gives no map for a class, or one comes twice.
    """
    known = known_methods()
    found: dict[str, KnownMethod] = {}
    asked: dict[str, str] = {}
    for name in names:
        method = known.get(name) or _read(name, known)
        if method is None:
            raise ArgumentError(
                f"methods: {name!r} is not a known method{nearest(name, list(known))}"
            )
        if method.of_boxes:
            method = replace(method, at=INPUT)
        if method.at == NO_MAP:
            raise ArgumentError(
                f"methods: {method.name} gives no map for a class; `captum-cnn-ext list-methods` "
                "says which do"
            )
        if method.name in found:
            first = asked[method.name]
            also = "" if first == name else f", as {first!r} and as {name!r}"
            raise ArgumentError(f"methods: {method.name} is there twice{also}")
        found[method.name], asked[method.name] = method, name
    if not found:
        raise ArgumentError("methods: got none, expected at least one name")
    return list(found.values())


def _read(name: str, known: Mapping[str, KnownMethod]) -> KnownMethod | None:
    readings = {_plain(name): method for name, method in known.items()}
    readings |= {_plain(other): method for method in known.values() for other in method.also}
    read = _plain(name)
    old = re.sub("^captum|,.*$", "", read)  # "Captum SmoothGrad, 8 samples", as version 0.1 said
    method = next((readings[r] for r in (read, f"layer{read}", old) if r in readings), None)
    if method is not None and old != read:
        words = f"the method {name!r} is called {method.name!r} now"
        warnings.warn(words, DeprecationWarning, stacklevel=4)
    return method


def _plain(name: str) -> str:
    """A name as one types it: no case, no blanks, + read as plus."""
    return re.sub(r"[\s_-]", "", name.lower().replace("+", "plus"))
