"""What a network says of photos: classes with probabilities, and the scores that are explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.input_errors import input_errors_explained
from captum_cnn_ext._engine.judging.output_targets import fixed_target, is_function
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.judging.probabilities import (
    Ending,
    as_probabilities,
    check_class_scores,
)
from captum_cnn_ext._engine.judging.targets import as_target, select_score
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.running.batching import choices_of
from captum_cnn_ext._numbers import whole
from captum_cnn_ext.errors import ArgumentError, TargetError
from captum_cnn_ext.insights.inputs import Photos
from captum_cnn_ext.insights.on_photos import OnPhotos
from captum_cnn_ext.insights.wording import percent
from captum_cnn_ext.methods import AT_ONCE
from captum_cnn_ext.targets import AnyClass, Boxes, Target, target_code

if TYPE_CHECKING:
    from captum_cnn_ext.insights.audited_model import AuditedModel


@dataclass(frozen=True)
class Predicted:
    """The network's outputs (N, K) and the same as probabilities, with how these were made."""

    outputs: Tensor
    probabilities: Tensor
    rule: str

    __repr__ = brief


@dataclass(frozen=True)
class Explained:
    """What is explained in each photo, and how strong it is there.

    Attributes:
        targets: a class index for each photo, or a function of the model's output.
        names: the class, or what else is explained, in words.
        scores: of a class its probability, of anything else its score.
        boxes: where a box is explained, (left, top, right, bottom) of the network's input.
        given: what was asked for, as it was given.
    """

    targets: list[Any]
    names: list[str]
    scores: list[float]
    boxes: list[Any] | None = None
    given: Any = None

    __repr__ = brief

    @property
    def of_classes(self) -> bool:
        """Whether classes are explained, and the scores are probabilities."""
        return not is_function(self.targets)

    @property
    def numbers(self) -> list[str]:
        """The scores in words."""
        return [percent(s) if self.of_classes else f"{s:.3g}" for s in self.scores]

    @property
    def words(self) -> list[str]:
        """What is explained and its score, as a label says it."""
        between = " " if self.of_classes else ", score "
        pairs = zip(self.names, self.numbers, strict=True)
        return [f"{name}{between}{number}" for name, number in pairs]

    def box(self, photo: int) -> Any:
        """The box that is explained in a photo, or None."""
        return None if self.boxes is None else self.boxes[photo]

    def rows(self, rows: slice, like: Tensor) -> Any:
        """The targets of some photos, as every ``attribute`` and metric takes them."""
        own = self.targets[rows]
        return own if is_function(own) else torch.tensor(own, device=like.device)

    def code(self, rows: slice, by_model: bool = False) -> str:
        """Lines of Python that give some photos' ``target``.

        With ``by_model`` the model gives the one photo's score itself, as Captum's classes need it.
        """
        given = self.given
        if self.of_classes:
            return f"target = torch.tensor({self.targets[rows]}, device=x.device)"
        own = given[rows] if isinstance(given, list) and len(given) > 1 else given
        own = own[0] if isinstance(own, list) and len(own) == 1 else own
        text = target_code(own)
        if not text:
            return f"target = ...  # what was asked for: {' '.join(repr(own).split())}"
        scored = "\nmodel, target = target.of(model, x), None" if by_model and callable(own) else ""
        return f"from captum_cnn_ext import targets\ntarget = {text}{scored}"


def explained_photos(
    subject: AuditedModel, photos: Photos, target: Any
) -> tuple[Explained, Predicted | None]:
    """What a target means in each photo, and the predictions where the model gives class scores.

    Cost: one forward pass.

    Raises:
        ArgumentError: the outputs are no class scores, and no other target was given.
        TargetError: the output has no such target, or the input does not show its place.
    """
    inputs = photos.inputs
    if is_function(target):
        target, places = _on_inputs(target, photos, subject)
        meant = _explained_functions(subject, inputs, target, places)
        if isinstance(meant, Explained):
            return meant, None
        target = meant
    given = target
    prediction = predicted(*outputs_of(subject.model, inputs))
    classes = explained_classes(prediction.outputs, target, len(inputs))
    subject = subject.of_outputs(prediction.outputs.shape[1])
    names = [subject.class_name(index) for index in classes]
    rows = zip(prediction.probabilities, classes, strict=True)
    shares = [float(row[index]) for row, index in rows]
    return Explained(classes, names, shares, given=given), prediction


def outputs_of(model: nn.Module, inputs: Tensor) -> tuple[Tensor, bool]:
    """The scores (N, classes), a few images at a time, and whether they are probabilities."""
    with torch.no_grad(), input_errors_explained(model, (inputs,)), Ending() as ending:
        found = [output_tensor(model(chunk), "model") for chunk in torch.split(inputs, AT_ONCE)]
        return torch.cat(found), ending.gave(found[-1])


def predicted(outputs: Tensor, given: bool = False) -> Predicted:
    """Outputs (N, K) as probabilities, and in words how; ``given`` says that they are some.

    Raises:
        ArgumentError: the outputs are no class scores (N, K), or not finite.
    """
    check_class_scores(outputs)
    outputs = outputs.detach().float()
    if not outputs.isfinite().all():
        raise ArgumentError("model: its outputs for these images are not finite numbers")
    found = as_probabilities(outputs, given)
    rule = "Probabilities are the softmax of the network's outputs (logits)."
    if found.equal(outputs):
        rule = "The network's outputs are probabilities already; they are shown as they are."
    elif outputs.shape[1] == 1:
        rule = "The network has one output; its sigmoid is shown as a probability."
    return Predicted(outputs, found, rule)


def _on_inputs(target: Any, photos: Photos, subject: AuditedModel) -> tuple[Any, list[str]]:
    """Points of photos as points of the network's inputs, and in words where they were."""
    each = target if isinstance(target, list) else [target]
    if not any(isinstance(one, AnyClass) and one.at and one.on_photo for one in each):
        return target, [""] * len(photos)
    each = each * len(photos) if len(each) == 1 else each
    found, places = list[Any](), list[str]()
    lies = OnPhotos(photos, subject.preprocess).geometries
    for one, geometry, name in zip(each, lies, photos.names, strict=True):
        moved = isinstance(one, AnyClass) and one.at and one.on_photo
        places.append(f" ({', '.join(f'{v:g}' for v in one.at)} of the photo)" if moved else "")
        if moved:
            try:
                one = replace(one, at=geometry.point_to_input(one.at), on_photo=False)
            except ArgumentError as error:
                raise TargetError(f"target={one!r}: of {name}, {error}") from error
        found.append(one)
    return found, places


def _explained_functions(
    subject: AuditedModel, inputs: Tensor, target: Any, places: list[str]
) -> Explained | int:
    """What functions of the output mean in each photo; a class index where they mean one."""
    fixed, scores, model = list[Any](), list[float](), subject.model
    with torch.no_grad(), input_errors_explained(model, (inputs,)):
        for start in range(0, len(inputs), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            output = model(inputs[rows])
            own = choices_of(as_target(target), rows, len(inputs))
            if isinstance(own, AnyClass):
                own = own.meant_by(output, inputs.shape[2:])
                if isinstance(own, int):
                    return own
            found = fixed_target(own, output)
            found = found if isinstance(found, list) else [found]
            fixed += found if len(found) > 1 else found * len(inputs[rows])
            scores += select_score(output, found).tolist()
    names = [_said(one, subject) + place for one, place in zip(fixed, places, strict=True)]
    boxes = [one.overlapping if isinstance(one, Boxes) else None for one in fixed]
    return Explained(fixed, names, scores, boxes if any(boxes) else None, target)


def _said(target: Any, subject: AuditedModel) -> str:
    if isinstance(target, Target):
        return target.said(subject.class_name)
    return subject.class_name(target) if isinstance(target, int) else "own score"


def explained_classes(outputs: Tensor, target: Any, photos: int) -> list[int]:
    """The class explained for each photo: the strongest, or the one that was asked for.

    Raises:
        ArgumentError: not one integer, or not one for each photo.
        TargetError: the network has no such class.
    """
    if target is None:
        return [int(index) for index in outputs.argmax(1)]
    target = as_target(target)
    if isinstance(target, Tensor):
        target = target.tolist()
    targets = list(target) if isinstance(target, Sequence) else [target] * photos
    if len(targets) != photos or None in map(whole, targets):
        raise ArgumentError(
            f"target={target!r}: expected a class index, or one for each of {photos} photo(s)"
        )
    select_score(outputs, torch.tensor(targets, device=outputs.device))
    return [index % outputs.shape[1] for index in targets]
