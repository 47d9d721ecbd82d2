"""What is audited: the model, and in words how it and its inputs were prepared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import runnable
from captum_cnn_ext._engine.judging.inputs import check_initialised
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._numbers import as_numbers
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.inputs import Preprocess, normalisation
from captum_cnn_ext.models import LoadedModel
from captum_cnn_ext.models.guessed import ASSUMED, REMEDY, Guess, assumed, settled
from captum_cnn_ext.models.untrained import UNTRAINED

DONE_BEFORE = "done before the audit"
ClassNames = Sequence[str] | Mapping[int, str]


@dataclass(frozen=True)
class AuditedModel:
    """The audited model. ``mean`` and ``std`` undo the normalisation of its inputs."""

    model: nn.Module
    name: str
    weights: str
    notes: tuple[str, ...]
    class_names: ClassNames | None
    mean: list[float] | None
    std: list[float] | None
    preprocess: Preprocess | None
    preprocessing: str

    __repr__ = brief

    @property
    def untrained(self) -> bool:
        """Whether its weights are certain to be random."""
        return UNTRAINED in self.notes

    @property
    def guess(self) -> Guess | None:
        """How its pictures were prepared, where nobody said how."""
        if self.preprocessing == DONE_BEFORE or not isinstance(self.preprocess, Guess):
            return None
        return self.preprocess

    @contextmanager
    def first_pass(self) -> Iterator[None]:
        """Where the model refuses its inputs, say that their preprocessing was only assumed."""
        try:
            yield
        except ArgumentError as error:
            guess = next((note for note in self.notes if note.startswith(ASSUMED)), None)
            if guess is None or self.preprocessing == DONE_BEFORE:
                raise
            raise ArgumentError(f"{error}; {guess}: {REMEDY}") from error

    def of_outputs(self, count: int) -> AuditedModel:
        """The same for a model with so many outputs: a single one speaks for class 1 of two."""
        names = self.class_names
        if count != 1 or (names is not None and len(names) != 2):
            return self
        return replace(self, class_names=[self.class_name(1)])

    def class_name(self, index: int) -> str:
        """The name of a class, or its number where it has none."""
        names = self.class_names
        if isinstance(names, Mapping):
            return str(names.get(index, f"class {index}"))
        return str(names[index]) if names is not None and index < len(names) else f"class {index}"


def audited_model(
    model: nn.Module | LoadedModel,
    *,
    tensors: bool,
    pictures: Any = (),
    preprocess: Preprocess | None = None,
    class_names: ClassNames | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    notes: Sequence[str] = (),
) -> AuditedModel:
    """Join what the model brings and what the user says; the user's word counts.

    Args:
        tensors: whether its inputs are tensors already.
        pictures: what is looked at where a preprocessing has to be guessed; with a warning.

    Raises:
        TypeError: ``model`` is neither a module nor a loaded model, ``class_names`` is a text.
    """
    if class_names is not None and (
        isinstance(class_names, str) or not hasattr(class_names, "__len__")
    ):
        raise TypeError(f"class_names={class_names!r}: expected a list of names, or a dict")
    if isinstance(model, LoadedModel):
        check_initialised(model.model)
        own = preprocess is None
        model = settled(model, pictures) if own and not tensors else model
        known = [note for note in model.notes if (own and not tensors) or "assumed" not in note]
        return AuditedModel(
            model.model,
            f"{model.name or 'model'} ({type(model.model).__name__})",
            model.weights or "not known",
            (*known, *notes),
            model.class_names if class_names is None else class_names,
            _floats("mean", mean) or (list(model.mean) if own else None),
            _floats("std", std) or (list(model.std) if own else None),
            model.preprocess if own else preprocess,
            DONE_BEFORE if tensors else _described(preprocess or model.preprocess),
        )
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model: expected a torch.nn.Module or a LoadedModel, got {type(model).__name__}"
        )
    check_initialised(model)
    given: Any = preprocess  # tensors need none
    asked = given is not None or tensors
    loaded = LoadedModel(model, given) if asked else settled(assumed(model), pictures)
    preprocess, notes = loaded.preprocess, (*notes, *loaded.notes)
    found = normalisation(preprocess) or (None, None)
    found = found if asked else (list(loaded.mean), list(loaded.std))
    plain = runnable(model)  # compiled code does not call the hooks that Captum's methods need
    assert isinstance(plain, nn.Module)
    return AuditedModel(
        plain,
        type(plain).__name__,
        "as they were in memory",
        tuple(notes),
        class_names,
        _floats("mean", mean) or found[0],
        _floats("std", std) or found[1],
        preprocess,
        DONE_BEFORE if tensors else _described(preprocess),
    )


def _floats(name: str, values: Sequence[float] | Tensor | None) -> list[float] | None:
    return None if values is None else list(as_numbers(name, values))


def _described(preprocess: Any) -> str:
    """A preprocessing in words, without addresses in memory."""
    text = f"guessed: {preprocess.words}" if isinstance(preprocess, Guess) else repr(preprocess)
    if text.startswith("<"):
        text = getattr(preprocess, "__qualname__", type(preprocess).__qualname__)
    return re.sub(r" at 0x[0-9a-f]+", "", text)
