"""The top of a report on photos: what was seen, found and left unchecked, and what words mean."""

from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.findings import Finding, Overview, Report
from captum_cnn_ext.insights.wording import percent, short

TERMS = (
    ("What this page can tell you", "where in each photo the evidence for a class is, according to "
     "several methods, and whether those methods deserve belief here. It cannot tell whether the "
     "network is right."),
    ("Layer, channel", "a network computes its answer in steps (layers). Each layer gives a stack "
     "of small pictures, its channels; each channel responds to one kind of pattern. Layers are "
     "named as in the code; early ones see details, the deepest sees whole objects."),
    ("Class, score, probability", "the network gives every class a score; softmax turns the "
     "scores into probabilities."),
    ("Map", "a picture of which places raised the score of a class, also called attribution or "
     "heat map. Each method makes it in another way."),
    ("Verdicts", "red: something is broken, repair it first. Yellow: look yourself before you rely "
     "on it. What was left unchecked is listed: about it the page says nothing."),
)  # fmt: skip
NOT_RUN = {
    "methods": "Whether the maps are faithful, compared with two baselines.",
    "checks": "Whether the maps depend on the network's weights.",
}


def overview_of(audited: Audited, report: Report) -> Overview:
    """What the network saw, what was found, what was not looked at."""
    saw, explained, prediction = [], audited.explained, audited.predicted
    for photo, name in enumerate(audited.photos.names):
        score = "" if explained.of_classes else "score "
        what = f"{short(explained.names[photo])}, {score}{explained.numbers[photo]}"
        text = f"{short(name)}: {what}"
        if prediction is not None:
            best = int(prediction.probabilities[photo].argmax())
            if explained.targets[photo] != best:
                label, share = audited.subject.class_name(best), audited.share(photo, best)
                text = f"{short(name)}: {short(label)}, {percent(share)}; explained is {what}"
        saw.append(text)
    failed = [Finding("wrong", f"This report is not complete: {p}", "") for p in report.problems]
    unchecked = [text for key, text in NOT_RUN.items() if key not in audited.section_keys]
    unchecked += report.unchecked
    unchecked += [f"Pictures: {audited.photos.skipped}."] if audited.photos.skipped else []
    unchecked.append(
        "Whether the predictions are right: the photos have no labels. Use --data FOLDER with "
        "one folder for each class."
    )
    return Overview(
        tuple(saw),
        (*failed, *report.findings),
        tuple(unchecked),
        terms=TERMS,
        before="" if audited.subject.guess is None else "The preprocessing of photos is a guess.",
    )
