"""A shortcut that is in a network is found and named; a network without one has none."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext._intervals import wilson_ends
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence import ImageRecords, find_shortcuts, image_records, strategies
from captum_cnn_ext.evidence.shortcuts.candidates import Candidate, candidates
from captum_cnn_ext.evidence.shortcuts.erasure import Eraser
from captum_cnn_ext.evidence.shortcuts.permutation import (
    best_half,
    difference,
    holm,
    interval,
    permutation_p,
)
from captum_cnn_ext.evidence.shortcuts.places import window
from captum_cnn_ext.evidence.shortcuts.same_picture import differences, is_everywhere
from captum_cnn_ext.evidence.shortcuts.samples import predictor, sample_of
from captum_cnn_ext.evidence.shortcuts.search import _with_others
from captum_cnn_ext.evidence.shortcuts.strategies import k_means, silhouettes
from captum_cnn_ext.evidence.shortcuts.suspects import Suspect, claim, is_other_side
from captum_cnn_ext.evidence.shortcuts.transplants import Trial, run_trial, split
from captum_cnn_ext.evidence.shortcuts.verdicts import Judged, one_finding_each, verdict

SIDE = 16
TAG = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])


def net(rows, tag=0.0, level=0.0):
    """Three classes by the third of the rows that is brightest; class 1 also by tag or brightness.

    The tag is in the top right corner, and its weights sum to 0 on a plain corner.
    """
    weights = torch.zeros(3, SIDE, SIDE)
    for label, (top, bottom) in enumerate(rows):
        weights[label, top:bottom] = 1.0 / (bottom - top)
    weights[1, :3, -3:] += tag * (TAG / TAG.sum() - (1 - TAG) / (1 - TAG).sum())
    weights[1] += level / SIDE**2
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(SIDE**2, 3)).eval()
    model[0].weight.data.fill_(1.0)
    model[0].bias.data.zero_()
    model[2].weight.data = 10 * weights.flatten(1)
    model[2].bias.data = torch.tensor([0.0, -10 * 0.45 * level, 0.0])
    return model


ROWS = ((0, 5), (5, 11), (11, 16))


def blobs(count=40, share=0.0, shift=0.0):
    """A bright bar of random width in the rows of the class; the tag or a shift on class 1."""
    generator = torch.Generator().manual_seed(1)
    data = []
    for number in range(3 * count):
        label, image = number % 3, 0.3 * torch.rand(1, SIDE, SIDE, generator=generator)
        top, bottom = ROWS[label]
        start, width = torch.randint(0, 6, (2,), generator=generator).tolist()
        image[:, top:bottom, start : start + 4 + width] += 0.4
        if label == 1 and number // 3 < share * count:
            image[0, :3, -3:] = TAG
        data.append((image + shift * (label == 1), label))
    return data


@pytest.fixture(scope="module")
def tagged():
    model, data = net(ROWS, tag=5.0), blobs(share=0.7)
    return model, data, image_records(model, "0", data)


def test_a_tag_in_a_part_of_a_class_is_found_at_its_place(tagged):
    model, data, records = tagged
    assert records.correct.mean() > 0.9
    found = find_shortcuts(model, data, records, class_names=["a", "b", "c"])
    first = found.shortcuts[0]
    assert (first.label, first.kind) == (1, "patch")
    assert first.place.startswith("the top right corner")
    top, left, bottom, right = first.box
    assert (top, right) == (0, SIDE)
    assert bottom <= 4
    assert left >= SIDE - 4
    assert first.flips > 0.9
    assert first.null < 0.1
    assert first.p_corrected < 0.05
    assert first.sameness < 0.1
    assert 0.5 < first.all_flips < first.flips
    assert all(number % 3 == 1 and number // 3 < 28 for number in first.images)
    assert {s.label for s in found.shortcuts} == {1}
    assert first.sentence.startswith("The model relies on the patch at the top right corner")
    assert (
        "to recognise b: put into correctly classified images of other classes, it turns all of"
        in first.sentence
    )
    assert "same picture" in first.sentence
    assert first.boxes == (first.box,) * len(first.images)
    # its own bar is still there, and enough
    assert (first.erased, first.lost) == (0.0, 0.0)
    assert (
        "none are no longer called b when they get that of other classes (0%), and none"
        in first.sentence
    )
    assert ": it is enough but not needed." in first.sentence


def test_the_same_data_without_the_shortcut_in_the_model():
    """The data hold the tag; the model does not look at it."""
    model, data = net(ROWS), blobs(share=0.7)
    found = find_shortcuts(model, data, image_records(model, "0", data))
    assert not found.shortcuts
    assert found.classes == (0, 1, 2)
    assert found.candidates > 30


def test_brightness_is_named():
    model, data = net(ROWS, level=60.0), blobs(shift=0.3)
    records = image_records(model, "0", data)
    assert records.correct.mean() > 0.9
    first = find_shortcuts(model, data, records).shortcuts[0]
    assert (first.label, first.kind, first.place) == (1, "brightness", "")
    assert "property of the whole image" in first.sentence


def test_a_tag_that_is_all_a_class_has_is_missed_when_it_is_blanked():
    model = net(ROWS, tag=5.0)
    data = [(image.clone(), label) for image, label in blobs(share=1.0)]
    for image, label in data:
        if label == 1:
            image[:, 5:11] = 0.0  # no bar
    first = find_shortcuts(model, data, image_records(model, "0", data)).shortcuts[0]
    assert (first.label, first.kind) == (1, "patch")
    assert first.erased == 1.0
    assert first.erased_elsewhere < 0.1
    assert "all when it is blanked (100%; 0% when as much is blanked elsewhere)" in first.sentence
    assert ": it is enough and needed." in first.sentence


def test_bars_at_the_edges_are_named():
    """Class 1 by bars above and below; others by the third of the columns that is brightest."""
    generator = torch.Generator().manual_seed(3)
    data = []
    for number in range(120):
        label, image = number % 3, 0.3 * torch.rand(1, SIDE, SIDE, generator=generator)
        left, right = ROWS[label]
        image[..., left:right] += 0.4
        if label == 1:
            image[:, :3], image[:, -3:] = 1.0, 1.0
        data.append((image, label))
    model = net(((0, 1),) * 3)
    weights = torch.zeros(3, SIDE, SIDE)
    for label in (0, 2):
        weights[label, 4:-4, slice(*ROWS[label])] = 1.0
    weights[1, :3] = weights[1, -3:] = 3.0
    model[2].weight.data = weights.flatten(1)
    model[2].bias.data = torch.tensor([0.0, -180.0, 0.0])
    records = image_records(model, "0", data)
    assert records.correct.mean() > 0.95
    found = find_shortcuts(model, data, records)
    (first,) = [s for s in found.shortcuts if s.label == 1]
    assert (first.kind, first.box, first.boxes, first.erased) == ("padding", None, (), None)
    assert first.flips > 0.9
    assert first.null < 0.1
    assert first.sameness < 0.1
    assert first.sentence.startswith("The model relies on the bars at the edges to recognise")
    assert "They are the same" in first.sentence


def test_a_hue_is_a_shortcut_and_one_finding_with_its_cast():
    """Class 1 is green, others are red or blue; brightness and strength of colour are random."""
    generator = torch.Generator().manual_seed(4)
    data = []
    for number in range(120):
        label = number % 3
        image = 0.2 * torch.rand(3, SIDE, SIDE, generator=generator)
        image[label] += 0.2 + 0.6 * torch.rand(1, generator=generator)
        data.append((image, label))
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    model[0].weight.data = torch.eye(3)[:, :, None, None]
    model[0].bias.data.zero_()
    records = image_records(model, "0", data)
    sample = sample_of(model, data, records, [0, 1, 2], 28, None, 0)
    (one,) = [c for c in candidates(sample, 1) if c.kind == "hue"]
    trial = run_trial(predictor(model, records, 64), sample, split(sample, 1, 0), one, 0)
    assert (trial.flips, trial.null, trial.sameness) == (1.0, 0.0, None)
    assert verdict(trial, 0.05) == "shortcut"
    named = [s.kind for s in find_shortcuts(model, data, records).shortcuts if s.label == 1]
    assert "colour" in named
    assert "hue" not in named


def two_classes(enough=True):
    """Class 1 has the tag on noise, class 0 noise alone; or class 1 is the tag and a bright middle.

    The network knows class 1 by the tag where that is enough, else by both together.
    """
    generator = torch.Generator().manual_seed(5)
    data = []
    for number in range(80):
        label, image = number % 2, 0.3 * torch.rand(1, SIDE, SIDE, generator=generator)
        if label:
            image[0, :3, -3:] = TAG
            image[0, 6:10, 6:10] += 0.0 if enough else 0.6
        data.append((image, label))
    model = net(((0, 1),) * 3)
    weights = torch.zeros(3, SIDE, SIDE)
    weights[1, :3, -3:] = 10 * (TAG / TAG.sum() - (1 - TAG) / (1 - TAG).sum())
    if not enough:
        weights[1, 6:10, 6:10] = 10 / 16
    model[2].weight.data = weights.flatten(1)
    model[2].bias.data = torch.tensor([0.0, -5.0 if enough else -13.0, -99.0])
    return model, data


def test_of_two_classes_the_one_that_has_it_is_named():
    model, data = two_classes()
    records = image_records(model, "0", data)
    assert records.correct.all()
    found = find_shortcuts(model, data, records, class_names=["plain", "tagged", "none"])
    assert {(one.label, one.kind, one.held_by) for one in found.shortcuts} == {(1, "patch", None)}
    assert found.shortcuts[0].sentence.startswith("The model relies on the patch at the top right")
    assert "to recognise tagged" in found.shortcuts[0].sentence


def test_of_two_classes_what_is_needed_but_not_enough_is_named_by_who_has_it():
    model, data = two_classes(enough=False)
    records = image_records(model, "0", data)
    assert records.correct.all()
    found = find_shortcuts(model, data, records, class_names=["plain", "tagged", "none"])
    first = found.shortcuts[0]
    assert (first.label, first.kind, first.held_by) == (0, "patch", 1)
    assert ", which tagged has and plain lacks, to recognise plain" in first.sentence
    alone = find_shortcuts(model, data, records, classes=[0])
    assert alone.classes == (0,)
    assert {(one.label, one.held_by) for one in alone.shortcuts} == {(0, 1)}


@pytest.mark.parametrize("seed", range(6))
def test_of_two_classes_of_noise_neither_has_anything_anywhere(seed):
    generator = torch.Generator().manual_seed(seed)
    data = [
        (0.2 * torch.rand(1, 16, 16, generator=generator) + 0.6 * (n % 2), n % 2)
        for n in range(120)
    ]
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    for parameter, values in zip(model.parameters(), ([-1.0, 1.0], [1.0, 0.0]), strict=True):
        parameter.data = torch.tensor(values).view_as(parameter)
    found = find_shortcuts(model, data, image_records(model, "0", data))
    assert (found.shortcuts[0].kind, found.shortcuts[0].held_by) == ("brightness", None)
    assert is_other_side(found, 1 - found.shortcuts[0].named)


@pytest.mark.parametrize("images", [8, 12])
def test_a_class_too_small_to_give_is_no_class_that_has_it(images):
    model, data = two_classes(enough=False)
    plain, tagged = ([one for one in data if one[1] == label] for label in (0, 1))
    data = tagged[:30] + plain[:images]
    found = find_shortcuts(model, data, image_records(model, "0", data))
    assert found.classes == (0,)
    assert found.untested == (1,)


def test_two_causes_in_other_images_are_two_findings():
    model, data = net(ROWS, level=60.0), blobs()
    weights = model[2].weight.data.view(3, SIDE, SIDE).clone()
    weights[1, 3:6, 10:13] += 300 * (TAG / TAG.sum() - (1 - TAG) / (1 - TAG).sum())
    model[2].weight.data = weights.flatten(1)
    generator = torch.Generator().manual_seed(6)
    for number, (image, label) in enumerate(data):
        if label == 1 and number // 3 % 2:
            image[0, 3:6, 10:13] = TAG
            image[0, 6:11] = 0.3 * torch.rand(5, SIDE, generator=generator)
        elif label == 1:
            image += 0.3
    found = find_shortcuts(model, data, image_records(model, "0", data))
    kinds = [one.kind for one in found.shortcuts if one.label == 1]
    assert {"brightness", "patch"} <= set(kinds)
    assert not any(one.also for one in found.shortcuts if one.kind == "patch")


def test_what_the_same_images_carry_is_one_finding():
    device = torch.device("cpu")
    places = {"patch": window(0, 0, (8, 8), device), "far": window(6, 6, (8, 8), device)}

    def judged(kind, carriers, flips=0.9, label=1, sort="shortcut"):
        place = places.get(kind)
        kind = "patch" if place is not None else kind
        trial = Trial(
            candidate=Candidate(label, kind, lambda images, donors: images, place),
            flips=flips, ends=(0, 1), all_flips=0.5, null=0.0, lost=0.0, lost_null=0.0, p=0.001,
            sameness=None, givers=torch.zeros(1), same_at=None, size=(8, 8), outside=None,
            carriers=frozenset(carriers), carrier_share=len(carriers) / 12, receivers=18,
        )  # fmt: skip
        suspect = Suspect(
            label=label, kind=kind, place="a corner", box=None, flips=flips, low=0.0, high=1.0,
            all_flips=0.5, null=0.0, lost=0.0, lost_null=0.0, p=0.001, p_corrected=0.001,
            sameness=None, outside=None, images=(1,), verdict=sort, sentence="", receivers=18,
        )  # fmt: skip
        return Judged(suspect, trial)

    def named(*found, classes=3):
        sample = type("Sample", (), {"labels": torch.arange(classes)})
        return [
            (one.label, one.kind, tuple(two.kind for two in one.also))
            for one in one_finding_each(found, sample)
        ]

    half, rest = range(6), range(6, 12)
    blur, fine = judged("sharpness", half), judged("texture", half, 0.7)
    assert named(blur, fine) == [(1, "sharpness", ("texture",))]
    assert named(blur, judged("texture", rest, 0.7)) == [
        (1, "sharpness", ()), (1, "texture", ())
    ]  # fmt: skip
    # six of ten of the images that carry either
    assert named(blur, judged("texture", range(10), 0.7)) == [(1, "sharpness", ("texture",))]
    assert len(named(blur, judged("texture", range(11), 0.7))) == 2
    assert named(judged("patch", half), judged("far", half, 0.7)) == [
        (1, "patch", ()), (1, "patch", ())
    ]  # fmt: skip
    assert len(named(blur, judged("texture", half, 0.7, sort="strategy"))) == 2
    # the opposite in the other class is another fact, but of two classes
    other = judged("sharpness", half, 0.7, label=0)
    assert len(named(blur, other)) == 2
    assert named(blur, other, classes=2) == [(1, "sharpness", ("sharpness",))]
    (one,) = one_finding_each([blur, fine], type("Sample", (), {"labels": torch.arange(3)}))
    assert claim(one, 3).endswith(" Also seen as the fine texture, which the same images have.")
    assert "(90%, 16 of 18 tries on 18 images; 95% interval" in claim(one, 3)


def test_hue_needs_three_channels_and_bars_need_some(tagged):
    model, data, records = tagged
    sample = sample_of(model, data, records, [0, 1, 2], 28, None, 0)
    kinds = {one.kind for one in candidates(sample, 1)}
    assert "brightness" in kinds
    assert kinds & {"hue", "colour", "saturation", "padding"} == set()


def test_what_is_erased_elsewhere_does_not_touch_it(tagged):
    model, data, records = tagged
    sample = sample_of(model, data, records, [0, 1, 2], 28, None, 0)
    asked = []

    class Watched(Eraser):
        def __init__(self):
            super().__init__(model, sample, lambda outputs: outputs.argmax(1))
            given = self.windows.outputs
            self.windows.outputs = lambda *a: asked.append(a[1:]) or given(*a)

    row = int((sample.labels == 1).nonzero()[0])
    Watched().erased([row], [(1, 11, 5, 14)])
    ((starts, size),) = asked
    assert size == (4, 3)
    assert starts[0].tolist() == [1, 11]
    rest = starts[1:].tolist()
    assert len(rest) == 3 * 4 - 1
    assert all(abs(top - 1) >= 4 or abs(left - 11) >= 3 for top, left in rest)
    # all but the whole image: nowhere else
    assert Eraser(model, sample, lambda o: o.argmax(1)).erased([row], [(0, 0, 16, 15)]) is None


def test_masks_tell_what_is_outside(tagged):
    model, data, records = tagged
    masked = []
    for image, label in data:
        mask = torch.zeros(SIDE, SIDE)
        mask[slice(*ROWS[label]), :10] = 1
        masked.append((image, label, mask))
    found = find_shortcuts(model, masked, records)
    first = found.shortcuts[0]
    assert first.kind in ("patch", "background")
    assert first.label == 1
    patches = [s for s in found.suspects if s.kind == "patch" and s.label == 1]
    assert patches
    assert patches[0].outside == 1.0
    assert "outside the objects" in patches[0].sentence


def test_seeds_repeat_and_nothing_is_left_behind(tagged):
    model, data, records = tagged
    with nothing_left_behind(model, *[image for image, _ in data[:6]]):
        first = find_shortcuts(model, data, records, seed=3)
    assert find_shortcuts(model, data, records, seed=3) == first
    assert first.passes < 3 * 22 * 16 + 12 * 700


def test_a_failing_model_is_left_as_it_was(tagged):
    model, data, records = tagged

    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = copy.deepcopy(model)

        def forward(self, x):
            raise RuntimeError("broken")

    broken = Broken().eval()
    with nothing_left_behind(broken), pytest.raises(RuntimeError, match="broken"):
        find_shortcuts(broken, data, records)


def test_wrong_arguments_are_named(tagged):
    model, data, records = tagged
    with pytest.raises(ArgumentError, match="it has 30 images, but the records speak of number"):
        find_shortcuts(model, data[:30], records)
    with pytest.raises(ArgumentError, match=r"groups: has shape \(3,\)"):
        find_shortcuts(model, data, records, groups=[0, 0, 1])
    with pytest.raises(ArgumentError, match=r"classes=\[7\]: the model has 3 classes"):
        find_shortcuts(model, data, records, classes=[1, 7])
    with pytest.raises(ArgumentError, match="training mode"):
        find_shortcuts(copy.deepcopy(model).train(), data, records)


def test_classes_are_chosen_among_those_that_can_be_tested(tagged):
    model, data, records = tagged
    right = np.array(records.correct)
    rows = {label: np.flatnonzero(right & (records.labels == label)) for label in range(3)}
    few = np.sort(np.concatenate([rows[0], rows[1][:7], rows[2]]))
    some = [data[int(records.images[row])] for row in few]
    records = image_records(model, "0", some)
    # the class with the tag looks more elsewhere than another, but has too few images
    assert find_shortcuts(model, some, records, most_classes=2, most_tests=1).classes == (0, 2)


@pytest.mark.parametrize("asked", [[1], [2, 1], [0, 1]])
def test_classes_that_are_not_tested_still_receive(tagged, asked):
    """What is found of a class is the same, whichever others are tested beside it."""
    model, data, records = tagged

    def told(found):
        fields = [copy.copy(vars(one)) for one in found.suspects if one.label in asked]
        return [{**f, "p_corrected": None, "sentence": None} for f in fields]

    found = find_shortcuts(model, data, records, classes=asked)
    assert found.classes == tuple(asked)
    assert found.untested == tuple({0, 1, 2} - set(asked))
    assert {one.label for one in found.suspects} <= set(asked)
    assert (found.shortcuts[0].label, found.shortcuts[0].kind) == (1, "patch")
    assert told(found) == told(find_shortcuts(model, data, records))


def test_the_one_class_that_is_chosen_is_tested_on_the_others(tagged):
    model, data, records = tagged
    found = find_shortcuts(model, data, records, most_classes=1)
    assert len(found.classes) == 1
    assert found.candidates > 15


def test_twenty_classes_receive_those_with_the_most_right_images():
    labels = np.repeat(np.arange(30), np.arange(1, 31))
    records = SimpleNamespace(labels=labels, correct=labels != 29)
    assert _with_others(records, [3]) == [3, *range(10, 29)]
    assert _with_others(records, [29, 3]) == [3, *range(11, 29), 29]
    assert _with_others(records, range(25)) == list(range(25))


def test_few_images_are_said_and_not_tested(tagged):
    model = tagged[0]
    data = blobs(count=3)
    found = find_shortcuts(model, data, image_records(model, "0", data))
    assert not found.suspects
    assert found.classes == ()
    assert found.untested == (0, 1, 2)


def test_best_half_and_difference_by_hand():
    first = torch.tensor([[0, 0], [1, 1], [1, 0], [1, 1.0]])
    second = torch.tensor([[1, 1], [1, 0], [0, 0], [0, 1.0]])
    own = torch.tensor([True, True, False, False])
    assert best_half(first, own).tolist() == [False, True, False, False]
    assert best_half(first, ~own).tolist() == [False, False, False, True]
    assert float(difference(first, second, own)) == pytest.approx(0.5 - 0.5)
    assert float(difference(first, second, torch.tensor([True, False, True, False]))) == (
        pytest.approx(0.0 - 0.5)
    )


def test_permutation_has_its_level_and_its_power():
    generator = torch.Generator().manual_seed(0)
    own = torch.arange(24) < 12
    values = []
    for seed in range(200):
        rates = torch.rand(24, 1, generator=generator)
        flips = torch.rand(24, 24, generator=generator) < rates
        values.append(permutation_p(flips[:, :6], flips[:, 6:], own, permutations=199, seed=seed))
    assert 0.005 <= np.mean(np.array(values) <= 0.05) <= 0.095
    flips = own[:, None].expand(24, 24)
    assert permutation_p(flips[:, :6], flips[:, 6:], own, permutations=999) == 1 / 1000


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_intervals():
    assert wilson_ends(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert interval(torch.ones(6, 18)) == pytest.approx(wilson_ends(1.0, 18))
    half = torch.zeros(6, 400)
    half[:3] = 1  # donors differ, so that more images say no more
    low, high = interval(half)
    assert low < 0.25
    assert high > 0.75


def records_of(contributions, maps, labels, predictions):
    n, classes = len(labels), 2
    given = {"labels": labels, "predictions": predictions, "maps": maps, "images": np.arange(n)}
    blank = {
        "confidences": np.ones(n),
        "label_probabilities": np.ones(n),
        "probabilities": np.ones((n, classes)),
        "strengths": np.ones(n),
        "contributions": contributions,
        "columns": {},
        "mean_images": np.zeros((classes, 1, 32, 32)),
        "counts": np.bincount(labels, minlength=classes),
    }
    return ImageRecords("layer", classes, skipped=(), remarks=(), settings={}, **given, **blank)


def test_strategies_tell_two_groups_from_one():
    """Class 0 has two ways: channels 0 to 2 at the top, 3 to 5 at the bottom; class 1 has one."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    contributions = 0.02 * random.normal(size=(120, 8))
    maps = 0.05 * random.random((120, 8, 8))
    for n in range(60):
        way = n % 3 == 0
        contributions[n, 3 * way : 3 * way + 3] += 0.3
        maps[n, 6 if way else 1, 2] += 1
    predictions = labels.copy()
    labels[0] = 1  # one of the smaller group is wrong
    found = strategies(records_of(contributions, maps, labels, predictions), most=3)
    first, second = found.of(0)
    assert (len(first), len(second)) == (40, 20)
    assert set(second.rows) == set(range(0, 60, 3))
    assert (first.accuracy, second.accuracy) == (1.0, 0.95)
    assert second.centre[0] > 0.6 > 0.4 > first.centre[0]
    assert {unit for unit, _ in first.units[:6]} == set(range(6))
    assert found.scores[0] > found.null[0]
    assert len(found.of(1)) == 1
    assert found.groups[:60].tolist().count(second.number) == 20


def test_few_images_have_no_strategy():
    labels = np.zeros(10, dtype=int)
    given = records_of(np.ones((10, 4)), np.ones((10, 8, 8)), labels, labels)
    found = strategies(given)
    assert found.groups.tolist() == [-1] * 10
    assert not found.found


def test_k_means_and_silhouettes_by_hand():
    points = torch.tensor([[[0.0], [1.0], [10.0], [12.0]]])
    middles = k_means(points, 2, torch.Generator().manual_seed(0))
    assert sorted(middles.flatten().tolist()) == [0.5, 11.0]
    groups = torch.tensor([[0, 0, 1, 1]])
    expected = np.mean([1 - 1 / 11, 1 - 1 / 10, 1 - 2 / 9.5, 1 - 2 / 11.5])
    assert float(silhouettes(points, groups, 2)) == pytest.approx(expected, abs=1e-4)
    alone = torch.tensor([[0, 0, 0, 1]])  # a point that is alone counts 0
    expected = np.mean([1 - 5.5 / 12, 1 - 5 / 11, (2 - 9.5) / 9.5, 0])
    assert float(silhouettes(points, alone, 2)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        ("patch", {}, "shortcut"),
        ("patch", {"flips": 0.31, "null": 0.0}, "shortcut"),
        ("patch", {"flips": 0.29, "null": 0.0}, "not decided"),
        ("patch", {"null": 0.7}, "not decided"),
        ("patch", {"sameness": 0.5}, "strategy"),
        ("patch", {"sameness": 0.5, "outside": 0.95}, "shortcut"),
        ("picture", {"sameness": 0.18}, "strategy"),
        ("texture", {"sameness": 0.18}, "shortcut"),
        ("brightness", {"sameness": None}, "shortcut"),
        ("brightness", {"sameness": None, "flips": 0.39}, "not decided"),
    ],
)
def test_verdicts(kind, change, expected):
    given = dict(flips=0.9, null=0.1, sameness=0.1, outside=None, p=0.001) | change
    place = window(0, 0, (8, 8), torch.device("cpu")) if kind == "patch" else None
    trial = Trial(
        candidate=Candidate(1, kind, lambda images, donors: images, place),
        ends=(0.0, 1.0),
        all_flips=0.5,
        lost=0.0,
        lost_null=0.0,
        givers=torch.zeros(1),
        same_at=None,
        size=(8, 8),
        carriers=frozenset(),
        carrier_share=0.5,
        receivers=18,
        **given,
    )
    assert verdict(trial, 0.05) == expected
    assert verdict(trial, 0.051) == ""


@pytest.mark.parametrize(("value", "expected"), [(0.0, True), (0.2, True), (0.4, False)])
def test_an_empty_part_that_all_others_have_elsewhere_is_no_thing(value, expected):
    """What is found again with a tenth of the difference that it has at its place, 0.1 of 1."""
    others, donors = torch.zeros(4, 1, 12, 12), torch.zeros(3, 1, 12, 12)
    others[:, :, 2:7, 2:7] = torch.linspace(0.95, 1.05, 4).view(4, 1, 1, 1) + value
    donors[:, :, 3:6, 3:6] = value
    donors[:, :, 5, 5] = 9.0  # not the same in all, and not asked for
    same = torch.zeros(12, 12, dtype=torch.bool)
    same[3:6, 3:6] = True
    same[5, 5] = False
    assert is_everywhere(donors, others, same) is expected
    assert is_everywhere(donors, others, torch.zeros_like(same)) is False


def one_by_one(images, part, counted):
    """Squared differences of a part from every place of images, pixel by pixel."""
    images, part = images.double(), part.double()
    size = [side - length + 1 for side, length in zip(images.shape[2:], counted.shape, strict=True)]
    found = torch.zeros(len(images), *size, dtype=torch.float64)
    for image, top, left in np.ndindex(*found.shape):
        for row, column in counted.nonzero().tolist():
            apart = images[image, :, top + row, left + column] - part[:, row, column]
            found[image, top, left] += apart.square().sum()
    return found


@pytest.mark.parametrize("middle", [0.0, 1000.0])
def test_differences_of_a_part_from_every_place(middle):
    """Those of single precision are as exact, though small beside the sums."""
    generator = torch.Generator().manual_seed(0)
    images = middle + torch.rand(2, 3, 9, 7, generator=generator)
    counted = torch.rand(4, 3, generator=generator) < 0.7
    part = images[1, :, 5:9, 2:5].clone()  # in the last rows
    found, expected = differences(images, part, counted), one_by_one(images, part, counted)
    assert expected[1, 5, 2] == 0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13 * (1 + middle) ** 2)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.09, 0.1, 0.3])
def test_a_part_is_everywhere_where_the_closest_places_say_so(noise):
    generator = torch.Generator().manual_seed(0)
    donors = torch.rand(3, 2, 10, 10, generator=generator)
    others = torch.rand(5, 2, 10, 10, generator=generator)
    part, same = donors.median(0).values[:, 1:4, 6:10], torch.zeros(10, 10, dtype=torch.bool)
    others[:, :, 5:8, 2:6] = part + noise * torch.randn(5, 2, 3, 4, generator=generator)
    same[1:4, 6:10] = ~torch.eye(3, 4, dtype=torch.bool).roll(1, 1)
    apart = one_by_one(others, part, same[1:4, 6:10])
    share = apart.flatten(1).amin(1).median() / apart[:, 1, 6].median()
    assert is_everywhere(donors, others, same) is bool(share <= 0.1)


@pytest.mark.parametrize("seed", range(4))
def test_what_others_have_at_the_same_place_is_everywhere(seed):
    """None is a tenth of no difference, whatever rounding leaves."""
    others = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    others[:, :, 2:5, 3:6] = torch.tensor([3.0, 0.7, -2.0])[:, None, None]
    same = torch.zeros(12, 12, dtype=torch.bool)
    same[2:5, 3:6] = True
    assert is_everywhere(others, others, same)


def test_a_test_ends_early_where_nothing_flips(tagged):
    model, data, records = tagged
    sample = sample_of(model, data, records, [0, 1, 2], 28, None, 0)
    parts, seen = split(sample, 1, 0), []

    def never(images):
        seen.append(len(images))
        return torch.zeros(len(images))

    one = candidates(sample, 1)[0]
    assert run_trial(never, sample, parts, one, 0) is None
    assert sum(seen) == 24 * 6

    def always(images):
        return torch.ones(len(images))

    trial = run_trial(always, sample, parts, one, 0)
    assert (trial.flips, trial.null, trial.lost, trial.p) == (1.0, 1.0, 0.0, 1.0)
