"""What every section of an audit may use: the model, its inputs, predictions, layers, a clock."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_cnn_ext._engine.backward.coverage import Coverage
from captum_cnn_ext._engine.judging.outputs import output_expression
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.evidence import (
    LayerTable,
    ReceptiveField,
    layer_table,
)
from captum_cnn_ext.evidence.fields.receptive_field import fields_of_calls
from captum_cnn_ext.insights.audited_model import AuditedModel
from captum_cnn_ext.insights.inputs import Photos
from captum_cnn_ext.insights.layers import ChosenLayer
from captum_cnn_ext.insights.report.blocks import Cell, Column, Table
from captum_cnn_ext.insights.report.clock import stopwatch
from captum_cnn_ext.insights.report.findings import Finding, Verdict
from captum_cnn_ext.insights.report.provenance import fingerprint
from captum_cnn_ext.methods import AT_ONCE, KnownMethod

CALLED_OFTEN = r"layer .* is called \d+ times"


@dataclass(frozen=True)
class Predicted:
    """The network's outputs (N, K) and the same as probabilities, with how these were made."""

    outputs: Tensor
    probabilities: Tensor
    rule: str

    __repr__ = brief


@dataclass(frozen=True)
class Timing:
    """How long one method took for all photos."""

    method: str
    origin: str
    layer: str
    seconds: float


@dataclass(frozen=True)
class MethodParameters:
    """The parameters that a method ran with."""

    method: str
    origin: str
    parameters: str


@dataclass(frozen=True)
class RuleCoverage:
    """What a backward rule met on its way from a layer to the pixels."""

    layer: str
    rule: str
    coverage: Coverage


@dataclass(frozen=True)
class Rival:
    """The second model of a comparison, what it was given and what it says.

    ``code`` is the Python that loads it.
    """

    subject: AuditedModel
    code: str
    photos: Photos
    predicted: Predicted
    layers: list[ChosenLayer]


@dataclass(frozen=True)
class Problem:
    """Something that failed and is missing from the report."""

    where: str
    error: Exception

    __repr__ = brief

    def __str__(self) -> str:
        return f"{self.where}: {error_text(self.error)}"


def error_text(error: Exception) -> str:
    """An exception as a reader understands it: its kind and its message."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


@dataclass
class AuditContext:
    """What an audit has found so far; one section may use what earlier ones kept.

    ``targets`` is the class explained for each photo. ``arrays`` is what goes into the file of
    arrays, ``problems`` what failed, ``remarks`` the warnings that were given, each after where.
    ``findings`` and what is ``unchecked`` go onto the top of the report, ``tables`` into files
    beside it.
    """

    subject: AuditedModel
    photos: Photos
    predicted: Predicted
    targets: list[int]
    target_given: bool
    layers: list[ChosenLayer]
    layer_reason: str
    layers_suggested: bool
    methods: list[KnownMethod]
    seed: int
    command: str
    bar: tqdm[Any]
    on_step: Callable[[str], object]
    forward_seconds: float
    section_keys: tuple[str, ...] = ()
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    array_words: dict[str, str] = field(default_factory=dict)
    timings: list[Timing] = field(default_factory=list)
    parameters: list[MethodParameters] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    maps: dict[tuple[str, str], Tensor] = field(default_factory=dict)  # of (place, method)
    unfit: set[tuple[str, str]] = field(default_factory=set)  # methods that could not run there
    coverage: list[RuleCoverage] = field(default_factory=list)
    rival: Rival | None = None

    __repr__ = brief

    @property
    def model(self) -> nn.Module:
        """The audited model."""
        return self.subject.model

    @property
    def inputs(self) -> Tensor:
        """The network inputs (N, C, H, W), on the model's device."""
        return self.photos.inputs

    @cached_property
    def table(self) -> LayerTable:
        """The model's layers for one image; a ``ValueError`` where they cannot be listed."""
        return layer_table(self.model, self.inputs[:1])

    @cached_property
    def calls(self) -> dict[str, list[tuple[tuple[int, ...], ReceptiveField | None]]]:
        """Shape and receptive field of each layer's calls; empty where none could be followed."""
        try:
            return fields_of_calls(self.model, self.inputs[:1])
        except (ValueError, RuntimeError):
            return {}

    @cached_property
    def scores(self) -> str:
        """What takes the scores out of the model's output, as Python; empty for a tensor."""
        with torch.no_grad():
            return output_expression(self.model(self.inputs[:1]))

    @cached_property
    def weights_sha256(self) -> str:
        """The fingerprint of the model's parameters and buffers."""
        return fingerprint(self.model.state_dict())

    def share(self, photo: int, target: int) -> float:
        """The probability of a class for a photo."""
        return float(self.predicted.probabilities[photo, target])

    def keep(self, name: str, values: Any, words: str) -> None:
        """Put an array into the file beside the report, with a description in words.

        Raises:
            ValueError: there is an array of that name already.
        """
        if name in self.arrays:
            raise ValueError(f"name={name!r}: an array of this name is kept already")
        self.arrays[name] = as_array(values)
        self.array_words[name] = words

    def find(
        self, verdict: Verdict, text: str, section: str, next_step: str = "", **numbers: float
    ) -> None:
        """Put a sentence onto the top of the report, and what the reader should do about it.

        ``section`` is the key of where to read on.
        """
        self.findings.append(
            Finding(verdict, text, section, tuple(numbers.items()), next_step=next_step)
        )

    def tabulate(
        self,
        name: str,
        caption: str,
        columns: Sequence[Column],
        rows: Sequence[Sequence[Cell]],
        anchors: Sequence[str] = (),
    ) -> Table:
        """A table that is also saved beside the report under ``name``, a file's name.

        Raises:
            ValueError: there is a table of that name already, or the name is no file's.
        """
        if name in self.tables or not re.fullmatch(r"[a-z0-9_]+", name):
            raise ValueError(
                f"name={name!r}: expected lower-case letters, digits and underscores, and a name "
                f"not in use; there are {', '.join(self.tables) or 'none'} already"
            )
        self.tables[name] = Table(caption, columns, rows, anchors)
        return self.tables[name]

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show ``name`` in the progress bar while the block runs, and count one step after it."""
        self.bar.set_description_str(name[:34].ljust(34))
        self.on_step(name)
        yield
        self.bar.update(1)

    def in_batches(self, run: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """``run(inputs, targets)`` over the photos, a few at once; its results joined."""
        targets = torch.tensor(self.targets, device=self.inputs.device)
        chunks = [
            run(inputs, target).detach()
            for inputs, target in zip(
                torch.split(self.inputs.clone(), AT_ONCE),
                torch.split(targets, AT_ONCE),
                strict=True,
            )
        ]
        return torch.cat(chunks)

    def timed(
        self, method: str, origin: str, layer: str, run: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """As `in_batches`, each batch seeded, the time kept and warnings turned into remarks."""

        def seeded(inputs: Tensor, targets: Tensor) -> Tensor:
            torch.manual_seed(self.seed)
            return run(inputs, targets)

        with self.listening(f"{method} at {layer}" if layer else method):
            seconds, result = stopwatch(lambda: self.in_batches(seeded), self.inputs)
        self.timings.append(Timing(method, origin, layer, seconds))
        return result

    @contextmanager
    def listening(self, where: str) -> Iterator[None]:
        """Keep the block's warnings for the report instead of printing them."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            finally:
                texts = [" ".join(str(warning.message).split()) for warning in caught]
                if self.layers_suggested:  # a suggested layer is suggested for its last call
                    texts = [text for text in texts if not re.match(CALLED_OFTEN, text)]
                self.remarks += [(where, text) for text in dict.fromkeys(texts)]


def as_array(values: Any) -> npt.NDArray[Any]:
    """Anything as an array that needs no pickle; half precision becomes single."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
        return np.asarray(values.numpy())
    return np.asarray(values)
