"""Images that no number of the audit speaks of: said before any number is."""

from __future__ import annotations

from collections import Counter

from captum_cnn_ext.evidence.records.record_job import NO_CLASS
from captum_cnn_ext.insights.dataset.context import DatasetContext

SECTION = "not_checked"  # where they are listed
KINDS = 3


def say_what_was_left_out(context: DatasetContext) -> None:
    """Findings on images whose label the model does not have, and on those that cannot be read."""
    skipped, used = context.records.skipped, len(context.records)
    total = used + len(skipped)
    strange = Counter(why for _, why in skipped if NO_CLASS in why)
    others = [(number, why) for number, why in skipped if NO_CLASS not in why]
    if strange:
        count = sum(strange.values())
        kinds = "; ".join(why for why, _ in strange.most_common(KINDS))
        context.find(
            "wrong", "labels-without-class",
            f"The labels of {count:,} of {total:,} images are no class of the model ({kinds}). "
            "Every number here is of the other images only.",
            SECTION, numbers={"left_out": float(count), "used": float(used)},
            next_step="Labels must be the indices of the model's outputs: folders that are not "
            "named as its classes are numbered in the order of their names, empty ones too. Name "
            "the classes with --class-names, or give a table with --labels.",
        )  # fmt: skip
    if others:
        number, why = others[0]
        name = context.images.name(number) or f"image {number}"
        context.find(
            "unsure", "images-left-out",
            f"{len(others):,} of {total:,} images could not be used, such as {name} ({why}). Every "
            "number here is of the other images only.",
            SECTION, numbers={"left_out": float(len(others)), "used": float(used)},
            next_step="Mend or remove them; the last section lists the first ones.",
        )  # fmt: skip
