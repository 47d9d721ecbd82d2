"""What a shortcut search found, in numbers and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from captum_cnn_ext._engine.one_line_repr import brief

# Set on networks and artefacts of development, see benchmarks/results/shortcut_truth.md
LEAST_FLIPS = 0.3
LEAST_FLIPS_OF_PROPERTY = 0.4  # of the whole image
LEAST_ABOVE_NULL = 0.25

THINGS = {
    "brightness": "the brightness",
    "contrast": "the contrast",
    "colour": "the cast of colour",
    "saturation": "the strength of colour",
    "hue": "the hue",
    "sharpness": "the sharpness",
    "noise": "the noise",
    "blockiness": "the edges of compressed blocks",
    "texture": "the fine texture",
    "padding": "the bars at the edges",
    "background": "the background",
    "border": "the border",
    "patch": "a patch at its place",
    "picture": "a small picture at any place",
}


@dataclass(frozen=True)
class Changed:
    """An image of another class that was given the thing, and what the model says of it.

    Args:
        image: its number in the data set.
        giver: the place in ``Suspect.images`` of the image that gave it.
        before, after: the classes that the model names; before, it was right.
        pixels: (C, H, W), the network input that was tested.
    """

    image: int
    giver: int
    before: int
    after: int
    pixels: Tensor = field(compare=False)

    __repr__ = brief


@dataclass(frozen=True)
class Suspect:
    """One thing that images of a class have, given to images of other classes.

    Args:
        label: the class.
        kind: "patch" (at its place), "picture" (wherever it is), "border", "background", "padding"
            (bars at the edges), or a property of the whole image: "brightness", "contrast",
            "colour", "saturation", "hue", "sharpness", "noise", "blockiness" or "texture".
        place: where, in words; "" for a property of the whole image.
        box: rows and columns (top, left, bottom, right) of a patch or border, in pixels, the last
            two exclusive; of a border or background the ``part`` that counts.
        flips: the share of correctly classified images of other classes that turn into the class.
        low, high: the ends of its 95 % interval.
        all_flips: the same share by all tried images of the class instead of the half of them that
            gives the most, which ``flips`` is of.
        null: ``flips`` when images of other classes give the same.
        lost: the share of images of the class that leave it when others give them the same.
        lost_null: ``lost`` when images of their own class give it.
        p: of the permutation of who gives.
        p_corrected: by Holm, for the number of tests.
        sameness: how different what is given is from image to image, as against other classes; 0
            is the same picture, 1 no more alike than any two images, or an empty part that most
            others have elsewhere. None for a property.
        outside: the share of the given pixels outside of the object; None without masks.
        images: numbers, in the data set, of images that give it, the better half.
        verdict: "shortcut", "strategy" or "not decided".
        sentence: all this in plain words.
        boxes: where each of ``images`` has it, for a patch or a picture.
        erased: the share of ``images`` that leave the class when their patch is blanked with the
            mean colour; None for what is no patch or picture.
        erased_elsewhere: the same share, the mean over all other windows of that size.
        receivers: images of other classes to which each of ``images`` gave it.
        held_by: of two classes the other one, where its images have something at this place that
            those of ``label`` lack, and giving it to them was not enough.
        also: other suspects that are the same fact: the same images carry them, or they are what
            the other one of two classes lacks.
        part: in words the one compact place of a border or background in which all that give it
            are the same picture, if by it alone half as many turn; else "".
        part_flips: the share that turns by that part alone.
        changed: a few images of other classes that were given it, those first that turned.
    """

    label: int
    kind: str
    place: str
    box: tuple[int, int, int, int] | None
    flips: float
    low: float
    high: float
    all_flips: float
    null: float
    lost: float
    lost_null: float
    p: float
    p_corrected: float
    sameness: float | None
    outside: float | None
    images: tuple[int, ...]
    verdict: str
    sentence: str
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    erased: float | None = None
    erased_elsewhere: float | None = None
    receivers: int = 0
    held_by: int | None = None
    also: tuple[Suspect, ...] = ()
    part: str = ""
    part_flips: float | None = None
    changed: tuple[Changed, ...] = ()

    __repr__ = brief

    @property
    def named(self) -> int:
        """The class that has it: ``label``, or of two classes the other one."""
        return self.label if self.held_by is None else self.held_by

    @property
    def tries(self) -> int:
        """How often an image of another class was given it."""
        return self.receivers * len(self.images)

    @property
    def turned(self) -> int:
        """In how many of these ``tries`` it turned; their share is ``flips``."""
        return round(self.flips * self.tries)


@dataclass(frozen=True)
class Shortcuts:
    """What was tested, and what came of it.

    Args:
        suspects: shortcuts first, then what is not decided and strategies; those of a class with
            the most telling one first.
        classes: that were tested.
        untested: classes with too few correctly classified images, that were not asked for, or for
            which the number of classes was bounded.
        candidates: how many transplants had a first look.
        tests: how many went through the whole test, for which p-values are corrected.
        passes: images that the model was run on.
    """

    suspects: tuple[Suspect, ...]
    classes: tuple[int, ...]
    untested: tuple[int, ...]
    candidates: int
    tests: int
    passes: int

    __repr__ = brief

    def __str__(self) -> str:
        named = ", ".join(f"{s.kind} of class {s.named}" for s in self.shortcuts) or "none"
        return (
            f"shortcuts: {named}; {self.tests} tests of {self.candidates} candidates in "
            f"{len(self.classes)} classes"
        )

    @property
    def shortcuts(self) -> tuple[Suspect, ...]:
        """The suspects of which the verdict is "shortcut"."""
        return tuple(s for s in self.suspects if s.verdict == "shortcut")


def is_other_side(found: Shortcuts, label: int) -> bool:
    """Whether, of two classes, ``label`` is known by lacking what the other one has."""
    return any(
        one.named != label and label in {one.label, *(two.label for two in one.also)}
        for one in found.shortcuts
    )


def claim(suspect: Suspect, tests: int, class_names: Sequence[str] | None = None) -> str:
    """What a suspect says to a reader who knows no statistics: words first, numbers after them."""
    name, thing = _name(suspect.label, class_names), with_part(suspect)
    if suspect.held_by is not None:
        thing += f", which {_name(suspect.held_by, class_names)} has and {name} lacks,"
    elif suspect.part:
        thing += ","
    says = f"The model relies on {thing} to recognise {name}"
    if suspect.verdict == "strategy":
        says = (
            f"{thing[0].upper()}{thing[1:]} decides for {name}, and may be the object itself, "
            "since it differs from image to image, or is found elsewhere, as parts of objects do"
        )
    elif suspect.verdict == "not decided":
        says = f"Not decided whether the model relies on {thing} to recognise {name}"
    few = ""
    if suspect.verdict == "not decided":
        few = (
            f". That is too few to call it a shortcut: {LEAST_FLIPS:.0%} are needed "
            f"({LEAST_FLIPS_OF_PROPERTY:.0%} for a property of the whole image), and "
            f"{100 * LEAST_ABOVE_NULL:.0f} points more than by chance"
        )
    if suspect.part_flips is not None:
        few += f". That patch alone turns {suspect.part_flips:.0%}"
    wide = ", but how many it turns is uncertain" if suspect.high - suspect.low > 0.5 else ""
    of = f"{suspect.turned} of {suspect.tries} tries on {suspect.receivers} images"
    return (
        f"{says}: put into correctly classified images of other classes, it turns "
        f"{_many(suspect.flips)} of them into {name} ({suspect.flips:.0%}, {of}; 95% interval "
        f"{suspect.low:.0%} to {suspect.high:.0%}); the same taken from other classes turns "
        f"{_many(suspect.null)} ({suspect.null:.0%}). That is not chance "
        f"(p = {suspect.p_corrected:.3f}, corrected for {tests} tests){wide}{few}."
        f"{_also(suspect, class_names)}"
    )


def _also(suspect: Suspect, class_names: Sequence[str] | None) -> str:
    """The other things that are the same fact; of two classes also from the other side."""
    things: tuple[dict[str, None], dict[str, None]] = ({}, {})
    for one in suspect.also:
        other_side = one.label != suspect.label
        of = f" of {_name(one.label, class_names)}" if other_side else ""
        things[other_side][f"{thing_of(one)}{of}"] = None
    own, rest = (list(names) for names in things)
    text = f" Also seen as {_listed(own)}, which the same images have." if own else ""
    if not rest:
        return text
    return f"{text} Of two classes {_listed(rest)} is the same fact from the other side."


def _listed(things: list[str]) -> str:
    return " and ".join([", ".join(things[:-1]), things[-1]] if things[1:] else things)


def thing_of(suspect: Suspect) -> str:
    """What a suspect is, and where, in words."""
    if suspect.kind == "patch":
        return f"the patch at {suspect.place}"
    return suspect.place if suspect.kind == "border" else THINGS[suspect.kind]


def with_part(suspect: Suspect) -> str:
    """The same, with the part of it that counts."""
    mostly = f", mostly the patch at {suspect.part}" if suspect.part else ""
    return thing_of(suspect) + mostly


def sentence(suspect: Suspect, tests: int, class_names: Sequence[str] | None = None) -> str:
    """The claim, what happens when the thing is taken away, and why it is called a shortcut."""
    name = _name(suspect.label, class_names)
    text = f"{claim(suspect, tests, class_names)} {_removed(suspect, name)}"
    return f"{text} {_because(suspect)}" if suspect.verdict == "shortcut" else text


def _name(label: int, class_names: Sequence[str] | None) -> str:
    return class_names[label] if class_names is not None else f"class {label}"


def _removed(suspect: Suspect, name: str) -> str:
    """What becomes of the class's images without it."""
    text = (
        f"Of the {len(suspect.images)} images that gave it, {_many(suspect.lost)} are no longer "
        f"called {name} when they get that of other classes ({suspect.lost:.0%})"
    )
    if suspect.erased is not None and suspect.erased_elsewhere is not None:
        text += (
            f", and {_many(suspect.erased)} when it is blanked ({suspect.erased:.0%}; "
            f"{suspect.erased_elsewhere:.0%} when as much is blanked elsewhere)"
        )
    if suspect.verdict != "shortcut" or suspect.flips < 0.5:
        return f"{text}."
    if suspect.erased is not None and suspect.erased < 0.5 <= suspect.lost:
        return f"{text}: exchanging it changes the answer, blanking it does not."
    needed = max(suspect.lost, suspect.erased or 0.0) >= 0.5
    return f"{text}: it is {'enough and needed' if needed else 'enough but not needed'}."


def _many(share: float) -> str:
    words = ((0.9, "nearly all"), (0.6, "most"), (0.4, "about half"), (0.1, "some"))
    if share in (0.0, 1.0):
        return "all" if share else "none"
    return next((word for least, word in words if share >= least), "hardly any")


def _because(suspect: Suspect) -> str:
    if suspect.kind in ("patch", "border", "picture"):
        reasons = []
        if suspect.outside is not None and suspect.outside > 0.9:
            reasons.append(f"{suspect.outside:.0%} of it lies outside the objects.")
        if suspect.sameness is not None and (not reasons or suspect.sameness <= 0.2):
            reasons.append(
                "It is the same picture in the images that it comes from: they differ there "
                f"{suspect.sameness:.0%} as much as images of other classes do."
            )
        return " ".join(reasons)
    if suspect.kind == "padding":
        return "They are the same in the images that they come from."
    if suspect.kind == "background":
        return "It lies outside the objects."
    return (
        "It is a property of the whole image. Where objects fill their images it can be the "
        "objects' own: look at the images that it comes from."
    )
