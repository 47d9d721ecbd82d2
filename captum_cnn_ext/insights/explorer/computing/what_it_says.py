"""What a network says of an image, whatever its kind: classes, the boxes it finds, areas."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.detections import as_detections
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.judging.probabilities import Ending
from captum_cnn_ext._engine.running.forward import run_model
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.predictions import predicted

CLASSES, BOXES, AREAS = "classes", "boxes", "areas"


@dataclass(frozen=True)
class Said:
    """One thing that the network says of an image.

    Args:
        label: a class.
        share: how sure, or of an area how much of the image, 0 to 1.
        target: what explains it: the class, or as a command line has it, ``box:0``, ``class:3``.
    """

    label: int
    share: float
    target: int | str


def output_for(model: nn.Module, inputs: Tensor) -> tuple[Any, bool]:
    """What the model gives for images, without gradients; whether these are probabilities."""
    with torch.no_grad(), Ending() as ending:
        output = run_model(model, (inputs.clone(),))
    return output, ending.gave(output)


def kind_of(output: Any) -> tuple[str, int]:
    """What kind of thing the network says, and how many classes it tells apart, 0 if not known.

    Raises:
        ArgumentError: neither class scores, nor boxes, nor maps of classes.
    """
    try:
        as_detections(output)
    except ArgumentError:
        scores = output_tensor(output)
        if scores.ndim == 4:
            return AREAS, scores.shape[1]
        return CLASSES, predicted(scores).outputs.shape[1]
    return BOXES, 0


def everything_said(kind: str, output: Any, given: bool = False) -> list[Said]:
    """All that the network says of the one image in its output, the surest first.

    ``given`` says that the output is probabilities already.
    """
    if kind == BOXES:
        (found,) = as_detections(output)
        pairs = zip(found.labels.tolist(), found.scores.tolist(), strict=True)
        return [Said(label, share, f"box:{n}") for n, (label, share) in enumerate(pairs)]
    scores = output_tensor(output)
    if kind == AREAS:
        areas = (scores[0] > 0) if scores.shape[1] == 1 else _one_hot(scores[0].argmax(0), scores)
        shares = areas.flatten(1).double().mean(1)
    else:
        shares = predicted(scores, given).probabilities[0]
    order = shares.argsort(descending=True, stable=True).tolist()
    each = [(label, float(shares[label])) for label in order]
    if kind == AREAS:
        return [Said(label, share, f"class:{label}") for label, share in each if share]
    return [Said(label, share, label) for label, share in each]


def _one_hot(labels: Tensor, scores: Tensor) -> Tensor:
    classes = torch.arange(scores.shape[1], device=scores.device)
    return labels[None] == classes.reshape(-1, 1, 1)
