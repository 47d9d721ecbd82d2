"""Targets that are functions of the output: every class by a literal score, one image at a time."""

import dataclasses
import inspect

import captum.attr
import detectors
import models
import oracles
import pytest
import test_contract
import torch
from snapshots import nothing_left_behind

from captum_cnn_ext import attr, metrics, synthesis, targets
from captum_cnn_ext._engine.judging.targets import select_score
from captum_cnn_ext.errors import ArgumentError, TargetError

CLASS_ONLY = (attr.LayerCam, attr.LayerFinerCam, *oracles.WITHOUT_CLASS)
CLASSES = [c for c in test_contract.TARGETED if c not in CLASS_ONLY]
WINDOWS = {"sliding_window_shapes": (2, 2, 2), "strides": (2, 1, 1)}
PIXELS = {
    "Occlusion": lambda m, _, x, t: attr.Occlusion(m).attribute(x, **WINDOWS, target=t),
    "Rise": lambda m, _, x, t: attr.Rise(m, score="logit").attribute(
        x, None, t, n_samples=8, cells=3
    ),
    "GuidedBackprop": lambda m, _, x, t: attr.GuidedBackprop(m).attribute(x, t),
    "Deconvolution": lambda m, _, x, t: attr.Deconvolution(m).attribute(x, t),
    "GuidedCam": lambda m, at, x, t: attr.GuidedCam(attr.LayerHiResCam(m, at)).attribute(x, t),
}


def detector():
    return models._seeded(detectors.Spots()).double()


def segmenter():
    return models._seeded(detectors.Areas()).double()


def literal(model, x, kind):
    """The model with the score of its first box, or of its own area of class 1."""
    with torch.no_grad():
        output = model(x)
    if kind == "box":
        found = output[0]
        box, label = found["boxes"][0].tolist(), int(found["labels"][0])
        return detectors.Literal(model, detectors.score_of_box(box, label))
    pixels = (output["out"][0].argmax(0) == 1).nonzero().tolist()
    return detectors.Literal(model, detectors.score_of_area(1, pixels))


KINDS = {"box": (detector, targets.Boxes(0)), "area": (segmenter, targets.Segment(1))}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def run(cls, model, x, target):
    inner = getattr(model, "model", model)
    if isinstance(cls, str):
        return PIXELS[cls](model, inner.block, x, target)
    row = oracles.oracle_of(cls)
    if target is None and "score" in inspect.signature(cls.__init__).parameters:
        row = dataclasses.replace(row, options={**row.options, "score": "logit"})
    return row.attribute(model, inner.block, x, target)


@pytest.mark.filterwarnings("ignore:.*the layer has channels that sum to less than 0")
@EVERY_KIND
@pytest.mark.parametrize("cls", [*CLASSES, *PIXELS], ids=lambda c: getattr(c, "__name__", c))
def test_every_class_explains_it(cls, kind):
    make, target = KINDS[kind]
    model, x = make(), models.image_batch()[:2]
    with nothing_left_behind(model, x):
        found = run(cls, model, x, target)
    singles = [run(cls, literal(model, one, kind), one, None) for one in x.split(1)]
    torch.testing.assert_close(found, torch.cat(singles), rtol=1e-7, atol=1e-10)
    assert found.any()


def test_the_boxes_change_under_every_perturbation():
    """Or the test above would not see whether a box is matched."""
    model, x = detector(), models.image_batch()[:1]
    clean, changed = model(x)[0], [model(x * share)[0] for share in (0.0, 0.3, 0.7)]
    first = clean["boxes"][0]
    assert any(len(c["boxes"]) != len(clean["boxes"]) for c in changed)
    assert any(not torch.allclose(c["boxes"][0], first) for c in changed if len(c["boxes"]))


def first_box(model, x):
    return targets.Boxes(0).fixed(model(x))


def test_several_targets_of_one_pass():
    model, x = detector(), models.image_batch()[:2]
    cam = attr.LayerHiResCam(model, "block")
    each = [targets.Boxes(0), targets.Boxes(1), targets.Boxes(label=2)]
    found = cam.attribute_targets(x, each)
    torch.testing.assert_close(found, torch.stack([cam.attribute(x, t) for t in each], 1))
    own = cam.attribute_targets(x, [[t] for t in first_box(model, x)])
    torch.testing.assert_close(own[:, 0], found[:, 0])


def test_captums_noise_tunnel_follows_the_box_of_the_image():
    model, x = detector(), models.image_batch()[:2]
    cam, seen = attr.LayerHiResCam(model, model.block), []
    fixed = first_box(model, x)
    handle = model.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    found = captum.attr.NoiseTunnel(cam).attribute(x, nt_samples=6, stdevs=0.5, target=fixed)
    handle.remove()
    noisy = seen[0].reshape(2, 6, *x.shape[1:])
    for n, one in enumerate(x.split(1)):
        expected = attr.LayerHiResCam(literal(model, one, "box"), model.block).attribute(noisy[n])
        torch.testing.assert_close(found[n], expected.mean(0))


@EVERY_KIND
def test_captums_own_classes_take_the_scored_model(kind):
    make, target = KINDS[kind]
    model, x = make(), models.image_batch()[:2]
    scored = target.of(model, x)
    with nothing_left_behind(model, x):
        found = captum.attr.IntegratedGradients(scored).attribute(x, target=[0, 1], n_steps=5)
        cam = captum.attr.LayerGradCam(target.of(model), model.block).attribute(x)
    for n, one in enumerate(x.split(1)):
        alone = literal(model, one, kind)
        expected = captum.attr.IntegratedGradients(alone).attribute(one, n_steps=5)
        torch.testing.assert_close(found[n : n + 1], expected)
        expected = captum.attr.LayerGradCam(alone, model.block).attribute(one)
        torch.testing.assert_close(cam[n : n + 1], expected)
        single = captum.attr.IntegratedGradients(target.of(model, one)).attribute(one, n_steps=5)
        torch.testing.assert_close(single, found[n : n + 1])


def test_layers_of_a_scored_model_have_the_models_names():
    model, x = detector(), models.image_batch()[:2]
    scored = targets.Boxes(0).of(model)
    by_name = attr.LayerHiResCam(scored, "block").attribute(x)
    assert torch.equal(by_name, attr.LayerHiResCam(model, "block").attribute(x, targets.Boxes(0)))


@EVERY_KIND
def test_metrics_score_it(kind):
    make, target = KINDS[kind]
    model, x = make(), models.image_batch()[:2]
    maps = torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    for metric in (metrics.insertion, metrics.deletion):
        found = metric(model, x, maps, target, steps=4).scores
        for n, one in enumerate(x.split(1)):
            alone = literal(model, one, kind)
            own = metric(alone, one, maps[n : n + 1], None, steps=4, score="logit").scores
            torch.testing.assert_close(found[n : n + 1], own)


def test_images_are_made_for_it():
    model = segmenter()

    def image(objective):
        options = {"image": (2, 5, 6), "steps": 3, "seed": 1}
        return synthesis.maximize(model, objective, **options).images

    whole = targets.Segment(1, mask=torch.ones(5, 6), reduction="sum")
    found = image(synthesis.Target(whole))
    expected = image(synthesis.Custom(None, lambda out: out["out"][:, 1].sum((1, 2))))
    assert torch.equal(found, expected)


def test_the_tail_of_a_layer_gives_scores():
    model, x = detector(), models.image_batch()[:2]
    tail = attr.TailForward(model, "block", x, target=targets.Boxes(0))
    ig = captum.attr.IntegratedGradients(tail)
    arguments = {"additional_forward_args": (tail.rows,), "n_steps": 5}
    found = ig.attribute(tail.activation, **arguments)
    expected = attr.LayerIntegratedGradients(model, "block")
    base = torch.zeros_like(x)
    with torch.no_grad():
        start = model.block(torch.relu(model.stem(base)))
    shifted = ig.attribute(tail.activation, baselines=start, **arguments)
    ours = expected.attribute(x, target=targets.Boxes(0), n_steps=5)
    torch.testing.assert_close(ours, shifted)
    assert not torch.allclose(found, shifted)
    delta = expected.compute_convergence_delta(ours, base, x, targets.Boxes(0))
    scores = torch.stack(
        [t(model(one))[0] for t, one in zip(tail._target, x.split(1), strict=True)]
    )
    gone = torch.stack([t(model(base[:1]))[0] for t in tail._target])
    torch.testing.assert_close(delta, ours.sum((1, 2, 3)) - (scores - gone))


def test_functions_of_your_own():
    model, x = segmenter(), models.image_batch()
    cam = attr.LayerHiResCam(model, "block")
    found = cam.attribute(x, lambda out: out["out"][:, 2].mean((1, 2)))
    whole = targets.Segment(2, mask=torch.ones(5, 6, dtype=torch.bool))
    torch.testing.assert_close(found, cam.attribute(x, whole))
    with pytest.raises(TargetError, match=r"gives \(3, 5, 6\); expected a tensor \(N,\)"):
        cam.attribute(x, lambda out: out["out"][:, 2])
    with pytest.raises(TargetError, match="the function gives float; expected"):
        cam.attribute(x, lambda out: 1.0)


def test_d_rise_takes_one_box():
    model, x = detector().float(), models.image_batch()[:2].float()
    rise, options = attr.DRise(model), {"n_samples": 8, "cells": 3}
    found = rise.attribute(x, target=targets.Boxes(1, label=2), **options)
    numbers = [int(row) for row in targets.Boxes(1, label=2).numbers(model(x))]
    assert torch.equal(found, rise.attribute(x, target=numbers, **options))
    with pytest.raises(TargetError, match="objects in image 0; D-RISE explains one"):
        rise.attribute(x, target=targets.Boxes(label=2), **options)


def test_a_class_of_a_detector_is_answered_with_its_targets():
    model, x = detector(), models.image_batch()
    with pytest.raises(ArgumentError, match=r"explain target=captum_cnn_ext.targets.Boxes\(0\)"):
        attr.LayerHiResCam(model, "block").attribute(x, target=1)


def test_classes_that_need_a_class_say_so():
    model, x = models.build(models.Net), models.image_batch()
    with pytest.raises(TargetError, match=r"which only a class has \(targets.Difference"):
        attr.LayerFinerCam(model, "block").attribute(x, targets.Segment(1))
    cam = attr.LayerCam(model, "block", classifier=torch.nn.Linear(4, 5).double())
    for target in (targets.Boxes(0), targets.Several(), targets.Difference(1, targets.Several())):
        with pytest.raises(TargetError, match="reads the weights of classes; expected class"):
            cam.attribute(x, target)


@pytest.mark.parametrize("classifier", [None, "head.2"])
def test_cam_of_sums_of_classes(classifier):
    head = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 5)]
    model = models._seeded(models.Net(torch.nn.Sequential(*head)))
    x, w = models.image_batch(), model.head[2].weight.detach()
    cam, maps = attr.LayerCam(model, "relu", classifier=classifier), model.features(x).detach()

    def weighted(rows):
        return torch.einsum("nk,nkhw->nhw", torch.stack(rows), maps)[:, None]

    some = targets.Several([0, targets.Difference(3, 1)], weights=[2.0, -1.0], reduction="mean")
    cases = {
        "difference": (targets.Difference(2, 4), [w[2] - w[4]] * 3),
        "several": (some, [(2 * w[0] - w[3] + w[1]) / 2] * 3),
        "one for each": ([targets.Difference(2, 4), 1, some],
                         [w[2] - w[4], w[1], (2 * w[0] - w[3] + w[1]) / 2]),
    }  # fmt: skip
    for target, rows in cases.values():
        torch.testing.assert_close(cam.attribute(x, target), weighted(rows))


# --- what the targets mean ---------------------------------------------------------------------

BOXES = torch.tensor([[0.0, 0, 4, 4], [1, 0, 5, 4], [10, 10, 14, 14], [0, 0, 4, 4]])
FOUND = [{"boxes": BOXES, "labels": torch.tensor([1, 1, 1, 2]),
          "scores": torch.tensor([0.9, 0.8, 0.5, 0.3])}]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "score"),
    [
        (targets.Boxes(0), 0.9),
        (targets.Boxes(2), 0.5),
        (targets.Boxes(0, label=2), 0.3),
        (targets.Boxes(label=1), 2.2),
        (targets.Boxes(label=1, reduction="mean"), 2.2 / 3),
        (targets.Boxes(label=1, reduction="max"), 0.9),
        (targets.Boxes(label=9), 0.0),
        (targets.Boxes(at=(0.5, 1)), 1.2),
        (targets.Boxes(0, at=(12, 12)), 0.5),
        (targets.Boxes(overlapping=(10, 10, 14, 13)), 0.5),
        (targets.Boxes(overlapping=(10, 10, 14, 11)), 0.0),  # an overlap of a quarter
        (targets.Boxes(overlapping=(10, 10, 14, 11), iou=0.25), 0.5),
        (targets.Boxes(overlapping=(0, 0, 4, 4), label=2), 0.3),
        (targets.Boxes(0, overlapping=(1, 0, 5, 4), label=1), 0.9),  # the strongest that overlaps
    ],
    ids=repr,
)
def test_boxes_are_chosen(target, score):
    torch.testing.assert_close(target(FOUND), torch.tensor([score]))


def test_a_vanished_box_scores_zero_with_a_gradient():
    (fixed,) = targets.Boxes(2).fixed(FOUND)
    scores = torch.tensor([0.9], requires_grad=True)
    gone = [{"boxes": BOXES[:1], "labels": torch.tensor([1]), "scores": scores}]
    found = fixed(gone)
    (gradient,) = torch.autograd.grad(found.sum(), scores)
    assert found.tolist() == [0.0]
    assert gradient.tolist() == [0.0]
    empty = {"boxes": BOXES[:0], "labels": torch.tensor([]).long(), "scores": scores[:0]}
    assert fixed([empty]).tolist() == [0.0]
    # the same place, another class
    other = [{"boxes": BOXES[2:3], "labels": torch.tensor([2]), "scores": scores}]
    assert fixed(other).tolist() == [0.0]


def test_one_dictionary_for_all_examples():
    joined = {k: torch.stack([v, v.flip(0)]) for k, v in FOUND[0].items()}
    torch.testing.assert_close(targets.Boxes(0)(joined), torch.tensor([0.9, 0.3]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: targets.Boxes(), "expected an index, as Boxes"),
        (lambda: targets.Boxes(-1), "index=-1: expected an integer of at least 0"),
        (lambda: targets.Boxes(True), "index=True: expected an integer"),
        (lambda: targets.Boxes(0, iou=0), "iou=0"),
        (lambda: targets.Boxes(0, at=(1,)), r"expected a point \(x, y\)"),
        (lambda: targets.Boxes(0, at=3), r"at=3: expected a point"),
        (lambda: targets.Boxes(overlapping=(4, 0, 0, 4)), r"expected \(left, top, right, bottom"),
        (lambda: targets.Boxes(0, reduction="avg"), "reduction='avg': expected one of"),
        (
            lambda: targets.Boxes(9)(FOUND),
            "finds 4 such object.* from 0 to 3.*roi_heads.score_thresh",
        ),
        (lambda: targets.Boxes(0, label=5)(FOUND), "finds no such object in image 0, but"),
        (lambda: targets.Boxes(0)(torch.rand(2, 5)), "a list with a dictionary for each example"),
        (lambda: targets.Segment(1)(torch.rand(2, 5)), r"\(N, classes, \*positions\)"),
        (lambda: targets.Segment(5)(torch.rand(2, 5, 3, 3)), "expected a label from 0 to 4"),
        (lambda: targets.Segment(1, at=(3, 0))(torch.rand(2, 5, 4, 3)), r"below \(3, 4\)"),
        (lambda: targets.Segment(1, at=(0.5, 0)), "expected whole pixels"),
        (lambda: targets.Segment(1, at=(0, 0), mask=torch.ones(2, 2)), "expected one of them"),
        (lambda: targets.Segment(1, mask=torch.zeros(2, 2)), "is empty"),
        (
            lambda: targets.Segment(1, mask=torch.ones(2, 2))(torch.rand(2, 5, 3, 3)),
            r"expected a mask of shape \(3, 3\)",
        ),
        (
            lambda: targets.Segment(1)(torch.tensor([[[[1.0]], [[0.0]]]])),
            r"class 1 is predicted nowhere in image 0; predicted are \[0\]",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_areas():
    maps = torch.arange(24.0).reshape(2, 3, 2, 2)
    maps[0, 1] = torch.tensor([[50.0, 0], [0, 60]])
    maps[1, 1, 0, 0] = 70
    torch.testing.assert_close(targets.Segment(1)(maps), torch.tensor([55.0, 70.0]))
    torch.testing.assert_close(targets.Segment(1, reduction="sum")(maps), torch.tensor([110.0, 70]))
    torch.testing.assert_close(targets.Segment(0, at=(1, 0))(maps), torch.tensor([1.0, 13.0]))
    weights = torch.tensor([[0.5, 0], [0, 1.5]])
    torch.testing.assert_close(targets.Segment(0, mask=weights)(maps), torch.tensor([2.25, 14.25]))
    own = torch.tensor([[[1, 0], [0, 0]], [[0, 0], [0, 1]]]).bool()
    torch.testing.assert_close(targets.Segment(0, mask=own)(maps), torch.tensor([0.0, 15.0]))
    shares = maps.softmax(1)[:, 1]
    found = targets.Segment(1, at=(0, 0), score="probability")(maps)
    torch.testing.assert_close(found, shares[:, 0, 0])
    fixed = targets.Segment(1).fixed(maps)
    torch.testing.assert_close(fixed[0](maps), torch.tensor([55.0, (70 + 19) / 2]))
    one = torch.tensor([[[[1.0, -1], [3, -2]]]])
    torch.testing.assert_close(targets.Segment(0)(one), torch.tensor([2.0]))
    volume = torch.arange(24.0).reshape(1, 2, 2, 2, 3)
    assert targets.Segment(1, at=(2, 1, 0))(volume).tolist() == [17.0]
    (kept,) = targets.Segment(0, mask=torch.ones(2, 2, 3).bool()).fixed(volume)
    assert kept.is_fixed
    assert kept(volume).tolist() == [5.5]


def test_raw_heads_become_boxes():
    """Both layouts, with and without objectness, weak ones and overlapping ones left out."""
    rows = torch.tensor(
        [[8.0, 8, 4, 4, 0.1, 0.9], [9, 8, 4, 4, 0.1, 0.8], [9, 8, 4, 4, 0.7, 0.1],
         [30, 30, 4, 8, 0.2, 0.26], [50, 50, 4, 4, 0.2, 0.1]]
    )  # fmt: skip
    (found,) = targets.RawBoxes()(rows.T[None])
    assert found["labels"].tolist() == [1, 0, 1]
    assert found["scores"].tolist() == pytest.approx([0.9, 0.7, 0.26])
    assert found["boxes"].tolist() == [[6, 6, 10, 10], [7, 6, 11, 10], [28, 26, 32, 34]]
    seen = torch.cat([rows[:, :4], torch.full((5, 1), 0.5), rows[:, 4:]], 1)[None]
    read = targets.RawBoxes(columns=2, objectness=True, score_above=0.2)
    (found,) = read((seen, "what training needs"))
    assert found["scores"].tolist() == pytest.approx([0.45, 0.35])
    corners = torch.cat([rows[:, :2] - 2, rows[:, :2] + 2, torch.logit(rows[:, 4:])], 1)[None]
    read = targets.RawBoxes(columns=2, form="corners", logits=True)
    torch.testing.assert_close(targets.Boxes(0, read=read)(corners), torch.tensor([0.9]))
    with pytest.raises(ArgumentError, match="a tensor with three dimensions"):
        targets.RawBoxes()(torch.rand(3, 5))


@pytest.mark.parametrize("target", [[True, False], (True, 0), True])
def test_truth_values_are_no_classes(target):
    with pytest.raises(TargetError, match="expected an integer"):
        select_score(torch.rand(2, 5), target)


def test_a_name_is_told_how_it_becomes_a_class():
    with pytest.raises(TargetError, match=r"class_names.index\('zebra'\)"):
        select_score(torch.rand(2, 5), "zebra")


@pytest.mark.parametrize("target", [[1, 2], torch.tensor([1, 2]), [(1,), (2,)]])
def test_a_list_of_another_length_names_the_length(target):
    with pytest.raises(TargetError) as raised:
        select_score(torch.rand(3, 5), target)
    assert "got 2 targets for 3 example(s)" in str(raised.value)
    assert "a list of length 3" in str(raised.value)


@pytest.mark.parametrize("target", [(1, 2), (1, 2, 3), [1, 2, 3]])
def test_messages_are_ours(target):
    output = torch.rand(3, 5) if isinstance(target, tuple) else torch.rand(3, 5, 2)
    with pytest.raises(TargetError, match="expected one class index") as raised:
        select_score(output, target)
    assert not any(word in str(raised.value) for word in ("Output must", "valid", "dimension 1"))
