"""Do pictures, labels and names fit the model? Judged before the pass, said before any number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence.records.record_job import NO_CLASS
from captum_cnn_ext.insights.audited_model import AuditedModel, ClassNames
from captum_cnn_ext.insights.dataset.audited import AuditedData
from captum_cnn_ext.insights.report.findings import Report

LISTED = "not_checked"  # the section that lists the images left out
KINDS = 3  # of labels without a class, in a sentence


def judge_numbering(
    subject: AuditedModel, count: int | None, source: Any, class_names: ClassNames | None
) -> None:
    """Refuse names of another number than the model's outputs, and labels that are none of these.

    Args:
        subject: the model.
        count: how many outputs it has; None where it gives no class scores.
        source: the data set; what it says of its ``labels`` counts.
        class_names: as the user gave them; None takes the model's.

    Raises:
        ArgumentError: as said.
    """
    if count is None:
        return  # the pass says what it expects
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


def say_what_numbers_hold_for(audited: AuditedData, report: Report) -> None:
    """Findings where pictures are prepared, or classes numbered, by a guess, and on images that no
    number speaks of."""
    guess, rival = audited.subject.guess, audited.rival
    other = None if rival is None or guess is not None else rival[0].guess
    if guess is not None:
        report.note(
            "wrong" if audited.misled else "unsure", guess.doubt, "accuracy", guess.next_step,
            id="preprocessing-guessed", numbers={},
        )  # fmt: skip
    if other is not None:
        report.note(
            "unsure", f"Of the older model: {other.doubt}", "comparison", other.next_step,
            id="preprocessing-guessed-of-older", numbers={},
        )  # fmt: skip
    source, outputs = audited.images.dataset, audited.records.classes
    classes = len(getattr(source, "classes", None) or ())
    by_order = getattr(source, "by_order", hasattr(source, "class_to_idx"))  # as ImageFolder
    if by_order and 0 < classes < outputs:
        report.note(
            "wrong",
            f"Only the order of their names says that the {classes} classes of this data set are "
            f"the model's outputs 0 to {classes - 1}, of {outputs} that it has. If they are "
            "others, no number on this page holds.",
            "accuracy",
            "Name all classes of the model with --class-names, in the order of its outputs; or "
            "name folders and labels by the numbers of their outputs. Then audit again.",
            id="classes-by-order", numbers={"classes": classes, "outputs": outputs},
        )  # fmt: skip
    skipped, used = audited.records.skipped, len(audited.records)
    total, only = used + len(skipped), "Every number here is of the other images only."
    strange = Counter(why for _, why in skipped if NO_CLASS in why)
    others = [(number, why) for number, why in skipped if NO_CLASS not in why]
    if strange:
        count = sum(strange.values())
        kinds = "; ".join(why for why, _ in strange.most_common(KINDS))
        report.note(
            "wrong",
            f"The labels of {count:,} of {total:,} images are no class of the model ({kinds}). "
            f"{only}",
            LISTED,
            "Labels must be the indices of the model's outputs: folders that are not named as its "
            "classes are numbered in the order of their names, empty ones too. Name the classes "
            "with --class-names, or give a table with --labels.",
            id="labels-without-class", numbers={"left_out": count, "used": used},
        )  # fmt: skip
    if others:
        number, why = others[0]
        report.note(
            "unsure",
            f"{len(others):,} of {total:,} images could not be used, such as "
            f"{audited.path(number)} ({why}). {only}",
            LISTED, "Mend or remove them; the last section lists the first ones.",
            id="images-left-out", numbers={"left_out": len(others), "used": used},
        )  # fmt: skip
