"""The second model of a comparison: its photos, its layers, and what is explained of it."""

import warnings
from typing import Any

from torch import Tensor, nn

from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.audited_model import AuditedModel, audited_model
from captum_cnn_ext.insights.inputs import Images, Photos, read_photos
from captum_cnn_ext.insights.layers import ChosenLayer, default_layers, named_layers
from captum_cnn_ext.insights.predictions import Explained, Predicted, explained_photos
from captum_cnn_ext.insights.report.audited import Rival
from captum_cnn_ext.insights.report.figure_code import model_code
from captum_cnn_ext.models import LoadedModel


def rival_of(
    model: nn.Module | LoadedModel,
    images: Images,
    own: AuditedModel,
    layers: list[ChosenLayer],
    inputs: Tensor,
    explained: Explained,
    predicted: Predicted | None,
) -> Rival:
    """The second model with the same photos; it has to take what the first was given.

    Args:
        own, layers, inputs, explained, predicted: the first model, its layers and inputs, and what
            is explained of it and predicted by it.

    Raises:
        ArgumentError: it is the first model, or does not take the photos.
    """
    prepared = dict[str, Any]()
    if not isinstance(model, LoadedModel):  # which knows how its own photos are prepared
        prepared = {"preprocess": own.preprocess, "mean": own.mean, "std": own.std}
    subject = audited_model(model, tensors=isinstance(images, Tensor), pictures=images, **prepared)
    if subject.model is own.model:
        raise ArgumentError("against: got the audited model itself, expected another one")
    photos = read_photos(images, subject.preprocess, subject.model)
    with state_as_found(subject.model, [photos.inputs]):
        theirs, prediction = _same(subject, photos, inputs, explained, predicted)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:  # the same layers where there are such
                names = [layer.name for layer in layers]
                found = named_layers(subject.model, names, photos.inputs[:1])
            except ArgumentError:
                found, _ = default_layers(subject.model, photos.inputs, theirs.targets)
    return Rival(subject, model_code(model), photos, prediction, theirs, found)


def _same(
    subject: AuditedModel,
    photos: Photos,
    inputs: Tensor,
    first: Explained,
    prediction: Predicted | None,
) -> tuple[Explained, Predicted | None]:
    """What is explained of the second model: the same as of the first, where it has the same."""
    if prediction is None:
        alike = photos.inputs.shape == inputs.shape  # the same box, not what is first there
        return explained_photos(subject, photos, first.targets if alike else first.given)
    explained, own = explained_photos(subject, photos, None)
    if own is not None and own.outputs.shape[1] == prediction.outputs.shape[1]:
        explained, own = explained_photos(subject, photos, first.targets)
    return explained, own
