"""The second model of a comparison: its photos, its layers, and what is explained of it."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import ArgumentError
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext.insights.audited_model import AuditedModel, audited_model
from captum_cnn_ext.insights.inputs import Images, Photos, read_photos
from captum_cnn_ext.insights.layers import default_layers, named_layers
from captum_cnn_ext.insights.predictions import Explained, Predicted, explained_photos
from captum_cnn_ext.insights.report.context import AuditContext, Rival
from captum_cnn_ext.insights.report.figure_code import model_code
from captum_cnn_ext.models import LoadedModel


def rival_of(
    model: nn.Module | LoadedModel, images: Images, context: AuditContext, layers: Any
) -> Rival:
    """The second model with the same photos; it has to take what the first was given.

    Raises:
        ArgumentError: it is the first model, or does not take the photos.
    """
    own, prepared = context.subject, dict[str, Any]()
    if not isinstance(model, LoadedModel):  # which knows how its own photos are prepared
        prepared = {"preprocess": own.preprocess, "mean": own.mean, "std": own.std}
    subject = audited_model(model, tensors=isinstance(images, Tensor), **prepared)
    if subject.model is own.model:
        raise ArgumentError("against: got the audited model itself, expected another one")
    photos = read_photos(images, subject.preprocess, subject.model)
    with state_as_found(subject.model, [photos.inputs]):
        explained, prediction = _rivals_score(context, subject, photos)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:  # the same layers where there are such
                names = [layer.name for layer in context.layers]
                found = named_layers(subject.model, names, photos.inputs[:1])
            except ArgumentError:
                found, _ = default_layers(subject.model, photos.inputs[:1])
    return Rival(subject, model_code(model), photos, prediction, explained, found)


def _rivals_score(
    context: AuditContext, subject: AuditedModel, photos: Photos
) -> tuple[Explained, Predicted | None]:
    """What is explained of the second model: the same as of the first, where it has the same."""
    own = context.predicted
    if own is None:
        alike = photos.inputs.shape == context.inputs.shape  # the same box, not what is first there
        return explained_photos(
            subject, photos, context.targets if alike else context.explained.given
        )
    explained, prediction = explained_photos(subject, photos, None)
    if prediction is not None and prediction.outputs.shape[1] == own.outputs.shape[1]:
        explained, prediction = explained_photos(subject, photos, context.targets)
    return explained, prediction
