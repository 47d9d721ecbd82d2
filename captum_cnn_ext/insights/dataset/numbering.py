"""Whether labels and names are those of the model's outputs: judged before the pass over images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import ArgumentError
from captum_cnn_ext._engine.running.forward import run_forward
from captum_cnn_ext.insights.audited_model import AuditedModel, ClassNames
from captum_cnn_ext.insights.dataset.context import DatasetContext


def judge_numbering(
    subject: AuditedModel, image: Tensor, source: Any, class_names: ClassNames | None
) -> None:
    """Refuse names of another number than the model's outputs, and labels that are none of these.

    Args:
        subject: the model.
        image: one input (C, H, W), where the model is.
        source: the data set; what it says of its ``labels`` counts.
        class_names: as the user gave them; None takes the model's.

    Raises:
        ArgumentError: as said.
    """
    with torch.no_grad():
        outputs = run_forward(subject.model, (image[None].clone(),))
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        return  # the pass says what it expects
    count = outputs.shape[1]
    names = subject.class_names if class_names is None else class_names
    fits = {count, 2} if count == 1 else {count}
    if names is not None and not isinstance(names, Mapping) and len(names) not in fits:
        raise ArgumentError(
            f"class_names: {len(names)} names for a model with {count} outputs; expected one for "
            "each output, in their order"
        )
    labels = getattr(source, "labels", None) or ()
    if labels and min(labels) >= max(count, 2):
        raise ArgumentError(
            f"dataset: all labels are above the model's outputs, which are 0 to {count - 1}; the "
            f"smallest label is {min(labels)}. Folders and labels that are numbers are taken as "
            "indices of outputs; where they are names, give the names of all outputs in their "
            "order (class_names=, --class-names)"
        )


def say_how_classes_are_numbered(context: DatasetContext, source: Any) -> None:
    """A finding where only the order of names says which output is which, and some are missing."""
    classes = len(getattr(source, "classes", None) or ())
    by_order = getattr(source, "by_order", hasattr(source, "class_to_idx"))  # as ImageFolder
    outputs = context.records.classes
    if not by_order or not 0 < classes < outputs:
        return
    context.find(
        "wrong", "classes-by-order",
        f"Only the order of their names says that the {classes} classes of this data set are the "
        f"model's outputs 0 to {classes - 1}, of {outputs} that it has. If they are others, no "
        "number on this page holds.",
        "accuracy", numbers={"classes": float(classes), "outputs": float(outputs)},
        next_step="Name all classes of the model with --class-names, in the order of its outputs; "
        "or name folders and labels by the numbers of their outputs. Then audit again.",
    )  # fmt: skip
