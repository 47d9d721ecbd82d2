"""RISE and D-RISE against the papers' formulas, written out mask by mask and pixel by pixel."""

import models
import pytest
import torch
from references_masks import SIZE, rise, similarity
from torch import nn
from torchvision.models import detection

from captum_cnn_ext._engine.judging import detections
from captum_cnn_ext.attr import DRise, Rise
from captum_cnn_ext.attr.pixels import random_masks

X = models.image_batch(2)


# --- RISE --------------------------------------------------------------------------------------


CASES = [
    {},
    {"cells": 2, "seed": 7},
    {"probability": 0.2},
    {"baselines": 1.5},
    {"perturbations_per_eval": 4},
]


def check_rise(options):
    model = models.build(models.Functional)
    settings = {"n_samples": 21, "cells": 3, **options}
    found = Rise(model).attribute(X, target=[1, 4], **settings)
    reference = {k: v for k, v in settings.items() if k in ("cells", "probability", "seed")}
    for n, target in enumerate([1, 4]):
        expected = rise(
            lambda x, target=target: model(x).softmax(1)[0, target].detach(),
            X[n : n + 1], 21, blank=settings.get("baselines", 0.0), **reference,
        )  # fmt: skip
        torch.testing.assert_close(found[n, 0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("options", CASES, ids=str)
def test_rise_is_the_papers_formula(options):
    check_rise(options)


def test_single_precision_is_within_1e_5():
    model = models.build(models.Functional)
    exact = Rise(model).attribute(X, target=1, n_samples=300, cells=3)
    found = Rise(model.float()).attribute(X.float(), target=1, n_samples=300, cells=3)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_what_alone_counts_is_found():
    """A score that is one pixel: the map is highest there, whatever the noise."""
    x = torch.ones(1, 1, 12, 16)
    found = Rise(lambda x: x[:, 0, 3, 11], score="logit").attribute(x, n_samples=2000, cells=4)
    assert int(found.flatten().argmax()) == 3 * 16 + 11


def test_many_targets_share_the_passes():
    model = models.build(models.Net)
    calls = []
    model.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    rise, settings = Rise(model), {"n_samples": 12, "cells": 2}
    together = rise.attribute_targets(X, [0, 3, 4], **settings)
    assert sum(calls) == 24
    assert together.shape == (2, 3, 1, 5, 6)
    own = rise.attribute_targets(X, torch.tensor([[0, 3], [4, 1]]), **settings)
    for t, target in enumerate([0, 3, 4]):
        assert torch.equal(together[:, t], rise.attribute(X, target=target, **settings))
    assert torch.equal(own[:, 1], rise.attribute(X, target=torch.tensor([3, 1]), **settings))


def test_signals_volumes_pairs_and_further_arguments():
    signal = torch.randn(2, 2, 9, generator=torch.Generator().manual_seed(0)).double()
    found = Rise(models.one_dimensional()).attribute(signal, target=1, n_samples=5, cells=3)
    assert found.shape == (2, 1, 9)
    volume = torch.randn(1, 2, 3, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    found = Rise(models.three_dimensional()).attribute(
        volume, target=1, n_samples=5, cells=(1, 2, 2)
    )
    assert found.shape == (1, 1, 3, 3, 4)
    pair = Rise(models.build(models.TwoInputs)).attribute((X, X.flip(0)), target=1, n_samples=5,
                                                          cells=2)  # fmt: skip
    assert [tuple(maps.shape) for maps in pair] == [(2, 1, 5, 6)] * 2
    assert not torch.equal(*pair)
    scale = torch.tensor([2.0, 3.0]).double().reshape(2, 1)
    model = models.build(models.Net)
    scaled = Rise(lambda x, scale: model(x) * scale, score="logit")
    plain = Rise(model, score="logit").attribute(X, target=1, n_samples=5, cells=2)
    both = scaled.attribute(X, None, 1, scale, n_samples=5, cells=2)
    torch.testing.assert_close(both, plain * scale.reshape(2, 1, 1, 1))


def test_bytes_stay_bytes():
    seen = []

    def score(x):
        seen.append(x.dtype)
        return x.double().mean((1, 2, 3))

    image = torch.full((1, 3, 8, 8), 200, dtype=torch.uint8)
    found = Rise(score, score="logit").attribute(image, n_samples=4, cells=2)
    assert set(seen) == {torch.uint8}
    assert found.dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Rise(nn.Linear(3, 2)).attribute(torch.rand(2, 3)), r"inputs: .*\(N, C, \*pos"),
        (lambda: Rise(models.build(models.Net)).attribute(X, cells=9, target=1), "cells=9: .* 5"),
        (lambda: Rise(models.build(models.Net)).attribute(X, cells=(2, 2, 2)), "one for each axis"),
        (lambda: Rise(models.build(models.Net), score="p"), "score='p': expected one of"),
        (
            lambda: Rise(lambda x: x.mean().reshape(1), score="logit").attribute(
                X, n_samples=4, cells=2
            ),
            r"gave 1 score\(s\) for 4 masked inputs",
        ),
    ],
)
def test_what_cannot_be_explained_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- D-RISE ------------------------------------------------------------------------------------


@torch.no_grad()
def test_d_rise_is_the_papers_formula():
    detector = models.as_detector(models.build(models.Functional))
    settings = {"n_samples": 21, "cells": 2, "seed": 3}
    targets = [0, 1, {"boxes": (1.0, 0.5, 3.0, 4.0), "labels": 1}]
    found = DRise(detector).attribute_targets(X, targets, **settings)
    plain = detector(X)
    for n in range(2):
        objects = [(plain[n]["boxes"][t], plain[n]["labels"][t]) for t in (0, 1)]
        objects.append((torch.tensor([1.0, 0.5, 3.0, 4.0]), 1))
        for t, (box, label) in enumerate(objects):
            expected = rise(
                lambda x, box=box, label=label: similarity(box, label, detector(x)[0]),
                X[n : n + 1], 21, 2, seed=3,
            )  # fmt: skip
            torch.testing.assert_close(found[n, t, 0], expected, rtol=1e-5, atol=1e-7)
    own = DRise(detector).attribute(X, target=[1, 0], **settings)
    assert torch.equal(own[0], found[0, 1])
    assert torch.equal(own[1], found[1, 0])
    assert torch.equal(DRise(detector).attribute(X, **settings), found[:, 0])


def test_class_probabilities_are_compared_by_their_cosine():
    wanted = detections.Detections(
        torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([0]), torch.ones(1), torch.tensor([[3.0, 4]])
    )
    found = detections.Detections(
        torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([1]), torch.tensor([0.5]),
        torch.tensor([[4.0, 3]]),
    )  # fmt: skip
    none = detections.Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0))
    assert float(detections.similarities(wanted, [found])) == pytest.approx(0.5 * 24 / 25)
    assert detections.similarities(wanted, [found, none]).tolist() == [[0.0], [0.0]]


def few(detector, **options):
    return DRise(detector).attribute(X, n_samples=2, cells=2, **options)


DETECTORS = {
    "fasterrcnn": lambda: detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=3, box_score_thresh=0.0, min_size=64,
        rpn_pre_nms_top_n_test=20, rpn_post_nms_top_n_test=10),
    "ssdlite": lambda: detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3, score_thresh=0.0, topk_candidates=20,
        detections_per_img=10),
}  # fmt: skip


@pytest.mark.parametrize("name", DETECTORS)
def test_torchvisions_detectors(name):
    torch.manual_seed(0)
    detector = DETECTORS[name]().eval()
    images = torch.rand(2, 3, *SIZE).repeat_interleave(8, 2).repeat_interleave(8, 3)[..., :40, :48]
    found = DRise(detector).attribute(images, target=1, n_samples=4, cells=4)
    assert found.shape == (2, 1, 40, 48)
    with torch.no_grad():
        (plain,) = detector(images[:1])
        generator = torch.Generator().manual_seed(0)
        masks = random_masks.RandomMasks.drawn((40, 48), 4, 0.5, 4, generator, images)
        total = torch.zeros(40, 48)
        for mask in masks.of(slice(0, 4)):
            (seen,) = detector(images[:1] * mask)
            total += mask * similarity(plain["boxes"][1], plain["labels"][1], seen)
    torch.testing.assert_close(found[0, 0], total / 2, rtol=1e-3, atol=1e-5)
    assert float(total.max()) > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: few(d, target=3),
         "target=3: the detector finds 3 object.s. in image 0; expected a number from 0 to 2"),
        (lambda d: few(d, target="cat"), "number of a detection"),
        (lambda d: few(d, target=[0]), "one for each of 2"),
        (lambda d: few(d, target={"boxes": (0, 0, 1, 1)}), "dictionary with boxes"),
        (lambda d: few(lambda x: x), "got a tensor"),
        (lambda d: few(lambda x: d(x)[:1]), "detections of 1 images for 2"),
        (lambda d: few(lambda x: [{"boxes": 1}]), "without labels, scores"),
    ],
)  # fmt: skip
def test_what_is_no_detection_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call(models.as_detector(models.build(models.Net)))
