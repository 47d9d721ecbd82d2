"""What a visitor may choose to explain: classes, boxes by number, areas of classes."""

from captum_cnn_ext.insights.explorer.computing.what_it_says import AREAS, BOXES
from captum_cnn_ext.insights.explorer.views import Views

NO_CLASS = -1
TYPICAL_BOXES = 10


def target_choices(views: Views) -> list[tuple[str, int | str]]:
    """What can be explained: labels and values; others may be typed."""
    kind, classes = views.session.kind, range(views.session.classes)
    if kind == BOXES:
        return [(f"box {number}", f"box:{number}") for number in range(TYPICAL_BOXES)]
    if kind == AREAS:
        return [(views.class_label(index), f"class:{index}") for index in classes]
    # typing narrows the list, and the shortest name that is left is what was typed
    order = sorted(classes, key=lambda index: len(views.class_label(index)))
    named: list[tuple[str, int | str]] = [(views.class_label(i), i) for i in order]
    return [("the most probable class", NO_CLASS), *named]


def chosen_target(wanted: int | str) -> int | str | None:
    """What was chosen or typed, as the session explains it; None is the strongest class."""
    return None if wanted == NO_CLASS else wanted
