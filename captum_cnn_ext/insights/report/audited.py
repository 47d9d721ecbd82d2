"""What is audited: the model, its photos and predictions, the layers and methods looked at."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.fingerprints import fingerprint
from captum_cnn_ext._engine.judging.outputs import output_expression
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.evidence import LayerTable, ReceptiveField, layer_table
from captum_cnn_ext.evidence.fields.receptive_field import fields_of_calls
from captum_cnn_ext.insights.audited_model import AuditedModel
from captum_cnn_ext.insights.inputs import Photos
from captum_cnn_ext.insights.layers import ChosenLayer
from captum_cnn_ext.insights.predictions import Explained, Predicted
from captum_cnn_ext.methods import AT_ONCE, KnownMethod


@dataclass(frozen=True)
class Rival:
    """The second model of a comparison, what it was given and what it says.

    ``code`` is the Python that loads it; ``explained`` is what is explained of it.
    """

    subject: AuditedModel
    code: str
    photos: Photos
    predicted: Predicted | None
    explained: Explained
    layers: list[ChosenLayer]


@dataclass(frozen=True)
class Audited:
    """What an audit was asked, with what the network says of the photos. Nothing changes it.

    ``explained`` is what is explained in each photo; ``predicted`` the classes that the network
    sees, None where it is no classifier or something else than a class is explained.
    ``section_keys`` is what is in the report, ``command`` what makes it again.
    """

    subject: AuditedModel
    photos: Photos
    predicted: Predicted | None
    explained: Explained
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
    def targets(self) -> list[Any]:
        """The class explained for each photo, or another target."""
        return self.explained.targets

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
        if not self.explained.of_classes:
            return ""  # the targets take them out
        with torch.no_grad():
            return output_expression(self.model(self.inputs[:1]))

    @cached_property
    def weights_sha256(self) -> str:
        """The fingerprint of the model's parameters and buffers."""
        return fingerprint(self.model.state_dict())

    def share(self, photo: int, target: int) -> float:
        """The probability of a class for a photo, where there are predictions."""
        assert self.predicted is not None
        return float(self.predicted.probabilities[photo, target])

    def in_batches(self, run: Callable[[Tensor, Any], Tensor]) -> Tensor:
        """``run(inputs, targets)`` over the photos, a few at once; its results joined."""
        parts = [slice(i, i + AT_ONCE) for i in range(0, len(self.photos), AT_ONCE)]
        inputs = self.inputs.clone()
        return torch.cat([run(inputs[p], self.explained.rows(p, inputs)).detach() for p in parts])
