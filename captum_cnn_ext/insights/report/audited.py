"""What is audited: the model, its photos and predictions, the layers and methods looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.outputs import output_expression
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.evidence import LayerTable, ReceptiveField, layer_table
from captum_cnn_ext.evidence.fields.receptive_field import fields_of_calls
from captum_cnn_ext.insights.audited_model import AuditedModel
from captum_cnn_ext.insights.inputs import Photos
from captum_cnn_ext.insights.layers import ChosenLayer
from captum_cnn_ext.insights.report.provenance import fingerprint
from captum_cnn_ext.methods import AT_ONCE, KnownMethod


@dataclass(frozen=True)
class Predicted:
    """The network's outputs (N, K) and the same as probabilities, with how these were made."""

    outputs: Tensor
    probabilities: Tensor
    rule: str

    __repr__ = brief


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
class Audited:
    """What an audit was asked, with what the network says of the photos. Nothing changes it.

    ``targets`` is the class explained for each photo, ``section_keys`` what is in the report,
    ``command`` what makes it again.
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
    command: str = ""
    section_keys: tuple[str, ...] = ()
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

    def in_batches(self, run: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """``run(inputs, targets)`` over the photos, a few at once; its results joined."""
        targets = torch.tensor(self.targets, device=self.inputs.device)
        parts = zip(
            torch.split(self.inputs.clone(), AT_ONCE), torch.split(targets, AT_ONCE), strict=True
        )
        return torch.cat([run(inputs, target).detach() for inputs, target in parts])
