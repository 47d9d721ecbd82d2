"""Search for shortcuts: candidates, a first look, the whole test, a verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.progress import tqdm
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext._numbers import as_count, as_indices, as_seed
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence.records.record_result import ImageRecords
from captum_cnn_ext.evidence.shortcuts.candidates import Candidate, candidates
from captum_cnn_ext.evidence.shortcuts.erasure import Eraser
from captum_cnn_ext.evidence.shortcuts.permutation import holm
from captum_cnn_ext.evidence.shortcuts.places import evidence, named
from captum_cnn_ext.evidence.shortcuts.samples import (
    Sample,
    classes_of,
    predictor,
    sample_of,
)
from captum_cnn_ext.evidence.shortcuts.suspects import (
    Changed,
    Shortcuts,
    Suspect,
    sentence,
)
from captum_cnn_ext.evidence.shortcuts.transplants import (
    DONORS,
    LEAST_DONORS,
    SCREENED,
    Trial,
    first_look,
    run_trial,
    split,
)
from captum_cnn_ext.evidence.shortcuts.verdicts import (
    Judged,
    one_finding_each,
    verdict,
    with_holders,
)
from captum_cnn_ext.evidence.streams.image_stream import Preprocess

# Set on networks and artefacts of development, see benchmarks/results/shortcut_truth.md
LEAST_LOOK = 0.12  # flips in the first look that call for the whole test
EACH = 4  # whole tests of a class, at most
DRAWN = 20  # classes that give images, at least: what is tested of one needs others


def find_shortcuts(
    model: nn.Module,
    dataset: Any,
    records: ImageRecords,
    *,
    preprocess: Preprocess | None = None,
    groups: Any = None,
    classes: Any = None,
    most_classes: int = 20,
    most_tests: int = 12,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    internal_batch_size: int = 64,
    show_progress: bool = False,
) -> Shortcuts:
    r"""Which shortcuts a model takes: what of a class's images turns others into that class.

    .. math:: \text{flips} = \frac{1}{|D|\,|X|} \sum_{d \in D} \sum_{x \in X}
        \big[\operatorname{arg\,max} f(T(x, d)) = c\big]

    T gives a correctly classified image x of another class one thing of the image d of class c:
    a patch at its place, a small picture where the model looks, a border, the background where
    there are masks, bars at the edges, or a property of the whole image, such as its brightness
    (see ``PROPERTIES``).
    D is the half of twelve donors that turns the most of other images x, because not every image
    of a class need have the shortcut. The same is done with donors of other classes; p is that of
    2,000 permutations of who the donors are, corrected by Holm for the number of tests.

    The verdict is *shortcut* where p <= 0.05, flips are at least 0.3 (0.4 for properties) and 0.25
    above those of other classes, and what is given is beyond what objects are: the same picture,
    bars or texture in the donors (``Suspect.sameness``), outside of the masks, or a property of the
    whole image. A patch that does as much and differs as objects do is a *strategy*. Below that a
    suspect is *not decided* where p <= 0.05, and not named otherwise. "Relies on" is what is meant,
    not "wrong", and images that are cut from one photo hold the same picture. The bounds were set
    on other networks and artefacts than those on which the benchmark reports how many shortcuts are
    found and how often one is named where there is none.

    A background or a border may turn images by a small thing in it. Where all that give it are the
    same picture in one compact place, this is given alone, and is named if it turns half as many
    (``Suspect.part_flips``).

    A suspected patch is also taken away: blanked in the images that have it, by exact occlusion,
    against blanking as much elsewhere in them (``Suspect.erased``).

    Things that the same images carry, such as a blur and the texture that it takes away, are one
    finding (``Suspect.also``). Of two classes "this one has it" and "the other one lacks it" are
    one fact too: the one that has it is named.

    References: Neuhaus, Augustin, Boreiko, Hein, *Spurious features everywhere*, 2022,
    arXiv:2212.04871 (a feature alone that triggers the class); Adebayo, Muelly, Abelson, Kim, *Post
    hoc explanations may be ineffective for detecting unknown spurious correlation*, 2022,
    arXiv:2212.04629.

    Cost: for each class about 27 candidates of 16 forward passes, for each whole test 144 and,
    where the best donors flip a quarter of their images, 480 more; and where a patch is suspected
    some hundred changed windows, and where a part of a background is, 108 passes.

    Args:
        model: the network, in evaluation mode.
        dataset: that of the records, with (image, label) or (image, label, mask).
        records: of ``image_records``.
        preprocess: as for the records.
        groups: (N,) the strategy of each row of the records, -1 for none; places where a strategy
            looks are candidates too.
        classes: indices of classes to test; None takes those whose evidence lies most elsewhere
            than that of others, of those with enough images that are right. What they have is
            given to images of others too, of twenty classes at least where there are as many.
        most_classes, most_tests: bounds of the cost; of two classes, what the other one has where
            one lacks something is tested too, so that whole tests may be twice as many.
        class_names: for the sentences.
        seed: of the draws.
        internal_batch_size: images per pass.
        show_progress: draw a progress bar over candidates and tests.

    Raises:
        ArgumentError: the data set is another one than that of the records, or none of its images
            is classified correctly; a model in training mode.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.evidence import find_shortcuts, image_records
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.AdaptiveAvgPool2d(1),
        ...     torch.nn.Flatten()).eval()
        >>> for parameter, values in zip(net.parameters(), ([-1.0, 1.0], [1.0, 0.0])):
        ...     parameter.data = torch.tensor(values).view_as(parameter)
        >>> data = [(torch.rand(1, 16, 16) * 0.2 + 0.6 * (n % 2), n % 2) for n in range(120)]
        >>> found = find_shortcuts(net, data, image_records(net, "0", data))
        >>> found.shortcuts[0].kind, found.shortcuts[0].flips
        ('brightness', 1.0)
    """
    seed, most_tests = as_seed("seed", seed), as_count("most_tests", most_tests)
    rows = as_count("internal_batch_size", internal_batch_size)
    wanted = _classes(records, classes, as_count("most_classes", most_classes))
    groups = None if groups is None else torch.as_tensor(np.asarray(groups), device="cpu")
    if groups is not None and groups.shape != (len(records),):
        raise ArgumentError(
            f"groups: has shape {tuple(groups.shape)}, expected one number for each of the "
            f"{len(records)} records"
        )
    drawn = _with_others(records, wanted)
    sample = sample_of(model, dataset, records, drawn, SCREENED + DONORS, preprocess, seed)
    judge = predictor(model, records, rows)
    passes = 0

    def predict(images: Tensor) -> Tensor:
        nonlocal passes
        passes += len(images)
        return judge(images)

    with state_as_found(model, [sample.images]):
        splits = {label: split(sample, label, seed + label) for label in wanted}
        usable = {label: parts for label, parts in splits.items() if parts is not None}
        grouped = None if groups is None else groups[sample.rows].to(sample.labels.device)
        every = [one for label in usable for one in candidates(sample, label, grouped)]
        with tqdm(total=len(every), desc="first look", disable=not show_progress) as bar:
            looks = []
            for one in every:
                looks.append(first_look(predict, usable[one.label], one))
                bar.update()
        chosen = with_holders(sample, _worth_a_test(every, looks, most_tests), usable)
        trials = [
            run_trial(predict, sample, usable[one.label], one, seed)
            for one in tqdm(chosen, desc="tests", disable=not show_progress)
        ]
    corrected = holm([1.0 if trial is None else trial.p for trial in trials])
    eraser = Eraser(model, sample, lambda outputs: classes_of(outputs, records))
    suspects = [
        Judged(_suspect(trial, p, sample, eraser, records), trial)
        for trial, p in zip(trials, corrected, strict=True)
        if trial is not None
    ]
    found = one_finding_each([one for one in suspects if one.suspect.verdict], sample)
    labels = set(np.unique(records.labels).tolist())
    return Shortcuts(
        tuple(
            dataclasses.replace(one, sentence=sentence(one, len(trials), class_names))
            for one in found
        ),
        tuple(usable),
        tuple(sorted(labels - set(usable))),
        len(every),
        len(trials),
        passes,
    )


def _classes(records: ImageRecords, given: Any, most: int) -> list[int]:
    """The classes to test: those given, or those that look most elsewhere than others do."""
    if given is not None:
        wanted = as_indices("classes", given)
        wrong = [label for label in wanted if not 0 <= label < records.classes]
        if wrong:
            raise ArgumentError(f"classes={wrong}: the model has {records.classes} classes")
        return list(dict.fromkeys(wanted))
    present, images = np.unique(records.labels[records.correct], return_counts=True)
    enough = present[images >= 2 * LEAST_DONORS]  # else they could not be split
    if len(present) > most and len(enough):
        present = enough
    if len(present) <= most:
        return [int(label) for label in present]
    shares = torch.cat(
        [
            evidence(torch.from_numpy(np.array(records.maps[start : start + 1024])))
            for start in range(0, len(records), 1024)
        ]
    )
    labels, usual = torch.from_numpy(np.array(records.predictions)).long(), shares.mean(0)
    apart = [float((shares[labels == int(label)].mean(0) - usual).amax()) for label in present]
    return sorted(int(present[k]) for k in np.argsort(apart)[::-1][:most])


def _with_others(records: ImageRecords, wanted: Sequence[int]) -> list[int]:
    """The classes to draw images of: those to test, then those of which most images are right."""
    present, images = np.unique(records.labels[records.correct], return_counts=True)
    most_first = present[np.argsort(-images, kind="stable")].tolist()
    others = [label for label in most_first if label not in wanted]
    return sorted([*wanted, *others[: max(0, DRAWN - len(wanted))]])


def _worth_a_test(every: Sequence[Candidate], looks: Sequence[float], most: int) -> list[Candidate]:
    """Those that flipped the most, a few of each class."""
    taken: list[Candidate] = []
    for k in sorted(range(len(every)), key=lambda k: -looks[k]):
        same = sum(one.label == every[k].label for one in taken)
        if looks[k] >= LEAST_LOOK and same < EACH and len(taken) < most:
            taken.append(every[k])
    return taken


def _suspect(
    trial: Trial, p: float, sample: Sample, eraser: Eraser, records: ImageRecords
) -> Suspect:
    place, box = trial.where()
    judged, boxes = verdict(trial, p), trial.boxes()
    erased = eraser.erased(trial.givers.tolist(), boxes) if judged and boxes else None
    leave, leave_elsewhere = erased or (None, None)
    low, high = trial.ends
    rows = sample.rows[trial.givers.cpu()].numpy()
    return Suspect(
        label=trial.candidate.label,
        kind=trial.kind,
        place=place,
        box=box,
        flips=trial.flips,
        low=low,
        high=high,
        all_flips=trial.all_flips,
        null=trial.null,
        lost=trial.lost,
        lost_null=trial.lost_null,
        p=trial.p,
        p_corrected=p,
        sameness=trial.sameness,
        outside=trial.outside,
        images=tuple(int(records.images[row]) for row in rows),
        verdict=judged,
        sentence="",  # told when all suspects are known
        boxes=tuple(boxes),
        erased=leave,
        erased_elsewhere=leave_elsewhere,
        receivers=trial.receivers,
        part=named(trial.part[0], sample.size) if trial.part is not None else "",
        part_flips=trial.part[1] if trial.part is not None else None,
        changed=_changed(trial, sample, records) if judged else (),
    )


def _changed(trial: Trial, sample: Sample, records: ImageRecords) -> tuple[Changed, ...]:
    """The images that were given it and are shown, made once more as they were for the test."""
    images, givers, said = torch.tensor(trial.shown, device=sample.images.device).T
    made = trial.candidate.give(images, trial.givers[givers]).cpu()
    rows, labels = sample.rows[images.cpu()].numpy(), sample.labels[images].tolist()
    numbers = records.images[rows].tolist()
    found = zip(numbers, givers.tolist(), labels, said.tolist(), made, strict=True)
    return tuple(Changed(*one) for one in found)
