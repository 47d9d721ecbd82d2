"""What is audited of a labelled data set: facts that sections read and none of them changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.evidence import (
    ImageRecords,
    Shortcuts,
    Strategies,
    find_shortcuts,
    strategies,
)
from captum_cnn_ext.evidence.records.record_job import LabelledImages
from captum_cnn_ext.insights.audited_model import AuditedModel
from captum_cnn_ext.insights.dataset.map_statistics import map_statistics
from captum_cnn_ext.insights.dataset.pictures import Look, overlay_picture
from captum_cnn_ext.insights.dataset.scores import ClassScore, class_scores
from captum_cnn_ext.insights.pictures import scale
from captum_cnn_ext.insights.report.blocks import Picture
from captum_cnn_ext.insights.wording import short
from captum_cnn_ext.metrics import wilson

Found = TypeVar("Found")


@dataclass(frozen=True)
class AuditedData:
    """A model, its records of a labelled data set, and what is read off these, each once.

    Rows are those of the records. ``images`` gives network inputs by number, ``groups`` has a word
    for each row or none, ``rival`` is an older model with its records of the same data set,
    ``twin`` has those of the model trained again. ``testing`` says whether shortcuts are searched.
    """

    subject: AuditedModel
    images: LabelledImages
    records: ImageRecords
    classes: Sequence[str]
    groups: Sequence[str]
    notes: Sequence[str]
    seed: int
    rival: tuple[AuditedModel, ImageRecords] | None = None
    twin: ImageRecords | None = None
    testing: bool = True
    show_progress: bool = False

    __repr__ = brief

    @cached_property
    def scores(self) -> list[ClassScore]:
        """How often each class is found, and how often it is right when named."""
        records = self.records
        return class_scores(records.labels, records.predictions, records.classes)

    @cached_property
    def at_chance(self) -> bool:
        """Whether the model may be right no more often than one answer for all would be."""
        right, counts = np.array(self.records.correct), np.bincount(self.records.labels)
        return wilson(int(right.sum()), len(right)).low <= int(counts.max()) / len(right)

    @property
    def misled(self) -> bool:
        """Whether that may be because its preprocessing was guessed."""
        several = len(set(self.records.labels.tolist())) > 1
        return self.subject.guess is not None and self.at_chance and several

    @cached_property
    def statistics(self) -> dict[str, npt.NDArray[np.float32]]:
        """For each row where its map lies."""
        return map_statistics(self.records)

    @cached_property
    def strategies(self) -> Strategies | Exception | None:
        """Images that are recognised alike, or why they were not found; None where left out."""
        return _outcome(lambda: strategies(self.records, seed=self.seed)) if self.testing else None

    @cached_property
    def shortcuts(self) -> Shortcuts | Exception | None:
        """What the tests found, or what kept them from it; None where they were left out."""
        if not self.testing:
            return None
        groups = self.strategies.groups if isinstance(self.strategies, Strategies) else None
        return _outcome(
            lambda: find_shortcuts(
                self.subject.model,
                self.images.dataset,
                self.records,
                preprocess=self.images.preprocess,
                groups=groups,
                class_names=self.classes,
                seed=self.seed,
                show_progress=self.show_progress,
            )
        )

    @property
    def masked(self) -> bool:
        """Whether any image has a mask."""
        shares = self.records.columns.get("object_share")
        return shares is not None and bool(np.isfinite(shares).any())

    @property
    def look(self) -> Look:
        """What undoes the preprocessing, for pictures."""
        return scale(self.subject.mean, self.subject.std)

    def short(self, index: int) -> str:
        """A class in a sentence: its name in quotation marks, cut where it is long."""
        return f"“{short(self.classes[index])}”"

    def path(self, number: int) -> str:
        """The name of an image of the data set, or its number."""
        return self.images.name(number) or f"image {number}"

    def input(self, row: int) -> Tensor:
        """The network input (C, H, W) of a row, read again."""
        return self.images.image(int(self.records.images[row]))

    def picture(self, row: int, caption: str, records: ImageRecords | None = None) -> Picture:
        """An image with the evidence for what is predicted over it, of these records or others."""
        records = self.records if records is None else records
        number = int(records.images[row])
        map_ = torch.from_numpy(np.array(records.maps[row], dtype=np.float32))
        return overlay_picture(
            self.images.image(number), map_, self.look, self.path(number), caption
        )

    def mean_picture(self, label: int, map_: npt.NDArray[np.float32], caption: str) -> Picture:
        """The mean image of a class, blank where it has none, with a map over it."""
        image = self.records.mean_images[label]
        image = np.zeros_like(image, np.float32) if np.isnan(image).any() else image
        given, name = (torch.from_numpy(image), torch.from_numpy(map_)), self.classes[label]
        alt = f"mean image of {name} with the mean map over it"
        return overlay_picture(*given, self.look, name, caption, alt)


def _outcome(search: Callable[[], Found]) -> Found | Exception:
    """What a search finds, or its error: the section on it fails and the others go on."""
    try:
        return search()
    except Exception as error:
        return error
