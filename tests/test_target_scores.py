"""Differences, sums, numbers and likeness: by hand, and what they mean in changed outputs."""

import detectors
import models
import pytest
import torch

from captum_cnn_ext import attr, targets
from captum_cnn_ext._engine.judging.targets import select_score
from captum_cnn_ext.errors import ArgumentError, TargetError

Y = torch.tensor([[1.0, -2, 3, 0.5], [-1, 4, 2, -3]])


@pytest.mark.parametrize(
    ("target", "scores"),
    [
        (targets.Difference(2, 0), [2.0, 3.0]),
        (targets.Difference(2, targets.Several([0, 1])), [4.0, -1.0]),
        (targets.Several([0, 2]), [4.0, 1.0]),
        (targets.Several([0, 2], reduction="mean"), [2.0, 0.5]),
        (targets.Several([0, 2], weights=[2, -1]), [-1.0, -4.0]),
        (targets.Several([0, 2], weights=[2, -1], reduction="mean"), [-0.5, -2.0]),
        (targets.Several(), [4.5, 6.0]),
        (targets.Several(above=2.5), [3.0, 4.0]),
        (targets.Several(reduction="mean"), [1.5, 3.0]),
        (targets.Regression(index=1), [-2.0, 4.0]),
        (targets.Regression("lower", index=1), [2.0, -4.0]),
        (targets.Regression(2.5, index=2), [-0.5, -0.5]),
        (targets.AnyClass(2), [3.0, 2.0]),
    ],
    ids=repr,
)
def test_scores(target, scores):
    assert target(Y).tolist() == scores
    assert select_score(Y, [target, target]).tolist() == scores


def test_a_number_for_each_example_needs_no_index():
    for output in (Y[:, 0], Y[:, :1]):
        assert targets.Regression("higher")(output).tolist() == [1.0, -1.0]


def test_labels_stay_those_of_the_unchanged_image():
    first, second = targets.Several().fixed(Y)
    assert first(Y).tolist() == [4.5, -2.0]  # labels 0, 2 and 3
    assert second(-Y).tolist() == [-1.0, -6.0]
    pair = targets.Difference(targets.Several(), 1).fixed(Y)
    assert select_score(Y, pair).tolist() == [6.5, 2.0]
    assert select_score(-Y, pair).tolist() == [-6.5, -2.0]


def test_likeness_is_a_cosine():
    other = torch.tensor([1.0, 0, 1, 0])
    expected = torch.cosine_similarity(Y, other[None])
    torch.testing.assert_close(targets.Similarity(other)(Y), expected)
    torch.testing.assert_close(
        targets.Similarity(Y.flip(0))(Y), torch.cosine_similarity(Y, Y.flip(0))
    )
    fixed = targets.Similarity(Y.flip(0)).fixed(Y)
    torch.testing.assert_close(fixed[1](Y), torch.cosine_similarity(Y, Y[:1]))
    assert targets.Similarity(other)(torch.zeros(1, 4)).tolist() == [0.0]


def test_a_pair_likens_each_to_the_other():
    model, x = models.build(models.Net), models.image_batch()[:2]
    first, second = targets.Similarity.pair(model, x[:1], x[1:])
    y = model(x).detach()
    torch.testing.assert_close(first.other, y[1:])
    torch.testing.assert_close(second.other, y[:1])
    cam = attr.LayerHiResCam(model, "block")
    alone = attr.LayerHiResCam(lambda z: torch.cosine_similarity(model(z), y[1:]), model.block)
    torch.testing.assert_close(cam.attribute(x[:1], first), alone.attribute(x[:1]))


def test_both_maps_of_a_pair_show_the_stroke_that_it_shares():
    """Two letters by code: a bar in common, and an upright of each one's own."""
    first, second = torch.zeros(2, 1, 1, 16, 16)
    bar = (..., slice(8, 12), slice(0, 16))
    first[bar] = second[bar] = 1
    first[..., 0:8, 0:4] = second[..., 0:8, 12:16] = 1
    embedding = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten())
    sides = targets.Similarity.pair(embedding, first, second)
    for x, target in zip((first, second), sides, strict=True):
        lost = attr.Occlusion(embedding).attribute(x, (1, 4, 4), strides=(1, 4, 4), target=target)
        assert (lost[bar] > 0).all()
        assert (lost[..., 0:8, :] <= 1e-6).all()  # its own upright makes it less alike
        assert (lost[..., 0:8, :] < -0.01).any()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("3", 3),
        ("box:3", "Boxes(box 3)"),
        ("class:3", "AnyClass(class 3)"),
        ("class:7@120,80", "AnyClass(class 7 at 120, 80 of the photo)"),
        (" 7@12,8 ", "AnyClass(class 7 at 12, 8 of the photo)"),
    ],
)
def test_what_a_command_line_says(text, meant):
    found = targets.target_from_text(text)
    assert found == meant or repr(found) == meant


@pytest.mark.parametrize("text", ["", "box", "box:", "box:-1", "cat", "class:3@4", "3,4", "1.5"])
def test_what_no_command_line_says(text):
    with pytest.raises(ArgumentError, match="expected a class as 3, box:3"):
        targets.target_from_text(text)


def test_any_class_asks_the_output():
    maps = torch.rand(1, 3, 4, 5)
    found = [{"boxes": torch.tensor([[0.0, 0, 4, 4]]), "labels": torch.tensor([2]),
              "scores": torch.tensor([0.75])}]  # fmt: skip
    assert targets.AnyClass(2).meant_by(Y) == 2
    assert repr(targets.AnyClass(2).meant_by(maps)) == "Segment(class 2 in its own area)"
    assert targets.AnyClass(2, at=(4, 3))(maps)[0] == maps[0, 2, 3, 4]
    assert targets.AnyClass(2)(found).tolist() == [0.75]
    assert targets.AnyClass(2, at=(1, 1))(found).tolist() == [0.75]
    (fixed,) = targets.AnyClass(2, at=(1, 1)).fixed(found)
    assert repr(fixed) == "Boxes(the box of class 2 over 0, 0, 4, 4)"
    with pytest.raises(TargetError, match="is a classifier, whose output"):
        targets.AnyClass(2, at=(1, 1))(Y)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: targets.Difference(1, [2, 3]), r"b=\[2, 3\]: expected one class"),
        (lambda: targets.Difference(1, 2.5), "expected an integer"),
        (lambda: targets.Difference(1, 9)(Y), "expected an index from 0 to 3"),
        (lambda: targets.Several([]), r"targets=\[\]: expected a list"),
        (lambda: targets.Several([1, 2], weights=[1]), "got 1 for 2 targets"),
        (lambda: targets.Several(weights=[1]), "expected targets= with them"),
        (lambda: targets.Several(above=3.5)(Y), "example 0 has no label above 3.5; .* 3"),
        (lambda: targets.Several()(torch.rand(2, 3, 4)), r"expected an output \(N, classes\)"),
        (lambda: targets.Regression("up"), "expected 'higher', 'lower' or a number"),
        (lambda: targets.Regression()(Y), "predicts 4 numbers; expected index= from 0 to 3"),
        (lambda: targets.Regression(index=4)(Y), "predicts 4 numbers"),
        (lambda: targets.Similarity([1, 2]), r"expected an embedding \(D,\) or \(N, D\)"),
        (lambda: targets.Similarity(torch.rand(3))(Y), "expected the same length"),
        (lambda: targets.Similarity(torch.rand(3, 4))(Y), "one for all or one for each"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize(
    "target",
    [targets.Difference(1, 2), targets.Several([0, 2], weights=[1, -2]), targets.Similarity(Y[0])],
    ids=repr,
)
def test_guided_backpropagation_knows_what_they_are_made_of(target):
    """No warning (an error here) of operations that may be rectifiers in disguise."""
    model = detectors.Areas()
    whole = lambda x: model(x)["out"].mean((2, 3))[:, [0, 1, 2, 0]]  # noqa: E731
    assert attr.GuidedBackprop(whole).attribute(models.image_batch().float(), target).any()
