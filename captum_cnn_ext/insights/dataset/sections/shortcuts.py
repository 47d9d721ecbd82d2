"""Shortcuts, tested: what of a class's images turns others into that class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence import Shortcuts, Suspect
from captum_cnn_ext.evidence.shortcuts.suspects import (
    LEAST_FLIPS,
    LEAST_FLIPS_OF_PROPERTY,
    claim,
    is_other_side,
)
from captum_cnn_ext.evidence.shortcuts.verdicts import MARKS
from captum_cnn_ext.insights.dataset.audited import AuditedData
from captum_cnn_ext.insights.dataset.pictures import boxed_picture, on_one_scale
from captum_cnn_ext.insights.report.blocks import (
    Block,
    Cell,
    Column,
    Facts,
    Group,
    Panels,
    SectionContent,
    Text,
    Tone,
)
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.insights.wording import listed, percent, rounded
from captum_cnn_ext.metrics import Interval

KEY = "shortcuts"
NO_SHORTCUT = "no-shortcut"  # ids of findings; this one is of all classes
SHORTCUT, PERHAPS = "shortcut", "perhaps-shortcut"  # a class and what it is recognised by follow
NAMES = 8  # of classes in one line
GIVERS = 5  # pictures of images that have it
SHOWN = 8  # suspects with pictures
IN_THE_FILE = ("from", "to", "lost", "lost by chance", "blanked", "blanked elsewhere",
               "outside object")  # fmt: skip
NEXT = (
    "Collect images of this class without it and of others with it, or remove it from the training "
    "images; train again, and audit the new model --against this one."
)
OF_TWO = " Of two classes it may as well be the opposite in the other one: look at both."
REVIEW = "Look at its pictures; more labelled images of this class would narrow the interval."

HOW_OFTEN = (
    "How often is this wrong? It was tried on 80 small networks whose truth is known, all without "
    "masks: it found 36 of 36 planted shortcuts that the networks had learnt (at least 90% with "
    "95% confidence), and named one in 0 of 40 networks without any (at most 9%). With masks, "
    "for larger networks and for other photos the rates can differ."
)


def build(audited: AuditedData, report: Report) -> SectionContent:
    """A table of what came of the tests and pictures of each suspect."""
    found = audited.shortcuts
    if isinstance(found, ArgumentError):  # such as that nothing is classified correctly
        report.unchecked.append(f"Whether the model takes shortcuts: {found}.")
        return SectionContent([Text(f"Nothing could be tested: {found}.", "note")])
    if found is None:
        raise AssertionError("the searches were left out")
    if not isinstance(found, Shortcuts):
        raise found
    for suspect in found.suspects:
        _find(audited, report, suspect, found.tests)
    if not found.shortcuts and found.classes:
        report.note(
            "fine",
            f"No shortcut was found in {len(found.classes)} classes: {found.candidates:,} features "
            f"were tried, {found.tests} of them turned enough images of other classes to be tested "
            "further, and none is a shortcut.",
            KEY, id=NO_SHORTCUT, numbers={"candidates": found.candidates, "tests": found.tests},
        )  # fmt: skip
    _say_what_was_not_tested(audited, report, found)
    text = (
        "A feature of one class's images is put into correctly classified images of other classes. "
        "Where these turn into the class, and the same from other classes does not do it, the "
        "model relies on that feature. It is called a shortcut only if it can hardly be the object "
        "itself: because it is the same picture in all images and nowhere else, lies outside the "
        "masks, or is a property of the whole image. Otherwise it is called a strategy."
    )
    blocks: list[Block] = [Text(text), _tested(audited, found)]
    if not found.suspects:
        return SectionContent([*blocks, Text("Nothing was found.", "note")])
    blocks.append(_table(audited, report, found.suspects))
    for number, suspect in enumerate(found.suspects[:SHOWN]):
        blocks.append(_pictures(audited, suspect))
        made = torch.stack([one.pixels for one in suspect.changed])
        report.keep(f"changed/{number}", made, f"images that were given the {suspect.kind}")
    return SectionContent(blocks)


def _tested(audited: AuditedData, found: Shortcuts) -> Block:
    """Which classes have a shortcut, which have none, and how much was tried."""
    named = {one.named for one in found.shortcuts}
    other = {label for label in found.classes if is_other_side(found, label)} - named
    open_ = {one.named for one in found.suspects if one.verdict == "not decided"} - named - other
    clear = [label for label in found.classes if label not in named | other | open_]
    facts = [
        ("A shortcut was found for", _classes(audited, sorted(named)) or "no class"),
        ("None was found for", _classes(audited, clear) or "no other class"),
        (
            "Tried",
            f"{found.candidates:,} features; {found.tests} turned enough images at a first look to "
            "be tested on others",
        ),
    ]
    for title, labels in (
        ("Not tested", found.untested),
        ("Not decided for", sorted(open_)),
        ("Known by the lack of it", sorted(other)),
    ):
        if labels:
            facts.insert(2, (title, _classes(audited, labels)))
    return Facts(facts)


def _classes(audited: AuditedData, labels: Sequence[int]) -> str:
    return listed([audited.classes[label] for label in labels], NAMES)


def _say_what_was_not_tested(audited: AuditedData, report: Report, found: Shortcuts) -> None:
    report.unchecked += [
        "Shortcuts of any other kind. Tested are a patch at its place, a small picture at any "
        "place, a border, bars at the edges, the background (if there are masks) and, of the whole "
        "image, brightness, contrast, cast and strength of colour, hue, sharpness, noise, "
        "compression and fine texture; each alone, not several that matter only together.",
        f"Weak shortcuts: what turns fewer than {LEAST_FLIPS:.0%} of other images (a property "
        f"of the whole image: {LEAST_FLIPS_OF_PROPERTY:.0%}) is not called one.",
        "Features that few images of a class have, and features that a class needs but that turn "
        "no other image by themselves.",
    ]
    if found.untested:
        report.unchecked.append(
            f"Shortcuts of {_classes(audited, found.untested)}: too few images that the model "
            "names rightly, or not among the classes whose evidence stands out."
        )


def _find(audited: AuditedData, report: Report, suspect: Suspect, tests: int) -> None:
    given = {
        "flips": suspect.flips, "flips_by_chance": suspect.null, "lost": suspect.lost,
        "lost_by_chance": suspect.lost_null, "leave_when_blanked": suspect.erased,
        "leave_when_blanked_elsewhere": suspect.erased_elsewhere,
        "p": suspect.p, "p_corrected": suspect.p_corrected,
        "sameness": suspect.sameness, "outside_of_object": suspect.outside,
    }  # fmt: skip
    numbers = {name: value for name, value in given.items() if value is not None}
    if suspect.verdict == "strategy":
        return
    tested = suspect.verdict == "shortcut"
    either = any(one.label != suspect.label for one in suspect.also if suspect.kind not in MARKS)
    report.note(
        "wrong" if tested else "unsure",
        claim(suspect, tests, audited.classes),
        KEY,
        (NEXT if tested else REVIEW) + (OF_TWO if either else ""),
        id=f"{SHORTCUT if tested else PERHAPS}-{suspect.named}-{suspect.kind}",
        subject=audited.classes[suspect.named],
        interval=Interval(suspect.flips, suspect.low, suspect.high),
        evidence=("shortcuts.csv",),
        numbers=numbers,
    )
    rows = np.flatnonzero(np.isin(audited.records.images, suspect.images))
    report.flag(rows, f"gives {suspect.kind}")


def _table(audited: AuditedData, report: Report, suspects: tuple[Suspect, ...]) -> Block:
    columns = [Column("class"), Column("what"), Column("where"), Column("verdict")]
    heads = ("turned", "from", "to", "by chance", "lost", "lost by chance", "blanked",
             "blanked elsewhere", "p", "sameness", "outside object")  # fmt: skip
    columns += [Column(head, number=True, shown=head not in IN_THE_FILE) for head in heads]
    rows: list[list[Cell]] = []
    told = [
        (one, one.verdict if one is s else f"same as {s.kind}")
        for s in suspects
        for one in (s, *s.also)
    ]
    for s, verdict in told:
        numbers = (s.flips, s.low, s.high, s.null, s.lost, s.lost_null, s.erased,
                   s.erased_elsewhere, s.p_corrected, s.sameness, s.outside)  # fmt: skip
        where = ", ".join(words for words in (s.place, s.part and f"mostly {s.part}") if words)
        rows.append(
            [audited.classes[s.label], s.kind, where, verdict, *(rounded(v) for v in numbers)]
        )
    caption = (
        "Turned: the share of other classes' images that become the class. By chance: with the "
        "same from other classes. p: of a permutation, corrected for all tests (Holm). Sameness: 0 "
        "is the same picture in all images, 1 as different as any. What became of the class's own "
        "images without it (lost, blanked) is in shortcuts.csv."
    )
    return report.tabulate("shortcuts", caption, columns, rows)


def _pictures(audited: AuditedData, suspect: Suspect) -> Group:
    boxes = suspect.boxes or (suspect.box,) * len(suspect.images)
    pictures = [
        boxed_picture(audited.images.image(n), box, audited.look, audited.path(n))
        for n, box in zip(suspect.images[:GIVERS], boxes, strict=False)
    ]
    what = suspect.kind
    if suspect.place:
        what = suspect.place if what in suspect.place else f"{what} at {suspect.place}"
    if suspect.part:
        what += f", mostly the patch at {suspect.part}"
    title = f"{audited.classes[suspect.named]}: {what} ({suspect.verdict})"
    tone: Tone = "warning" if suspect.verdict == "shortcut" else "note"
    panels = [Panels("Images it comes from", pictures), _before_and_after(audited, suspect)]
    return Group(title, [Text(suspect.sentence, tone), *panels])


def _before_and_after(audited: AuditedData, suspect: Suspect) -> Panels:
    """Images that were given it, in pairs, with what the model says of each."""
    boxes, pictures = suspect.boxes or (suspect.box,) * len(suspect.images), []
    for one in suspect.changed:
        path, giver = audited.path(one.image), audited.path(suspect.images[one.giver])
        before, after = (audited.classes[label] for label in (one.before, one.after))
        given, look = f"with that of {giver}", audited.look
        pair = torch.stack([audited.images.image(one.image).to(one.pixels), one.pixels])
        for image, box, title, caption, alt in zip(
            on_one_scale(pair, look),
            (None, boxes[one.giver]),
            (f"before: {before}", f"after: {after}"),
            (path, given),
            (f"{path}, called {before}", f"{path} {given}, called {after}"),
            strict=True,
        ):
            pictures.append(boxed_picture(image, box, look, title, caption, alt))
    turned = sum(one.after == suspect.label for one in suspect.changed)
    rest = len(suspect.changed) - turned
    title = (
        f"Images of other classes, before and after they were given it: {turned} that turned"
        f"{f' and {rest} that did not' if rest else ''}; in all {suspect.turned} of "
        f"{suspect.tries} tries on {suspect.receivers} images turned ({percent(suspect.flips)})"
    )
    return Panels(title, pictures, together=2)


SECTION = Section(KEY, "Shortcuts, tested", build)
