"""Metrics beside torchcam's (extra ``bench``) and Quantus', where both define the same.

Quantus is LGPL, so never a dependency: ``pip install quantus==0.6.0`` for these tests. Its
PixelFlipping takes each channel of a pixel as a feature of its own, so that images here have one
channel; with NumPy 2.4 its areas (``trapz``) fail, and its ROAD on three channels.
"""

import contextlib
import sys

import numpy as np
import pytest
import torch
from torch import nn

from captum_cnn_ext import metrics

SIDE = 12

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def quantus():
    absent = "tensorflow" not in sys.modules
    if absent:
        sys.modules["tensorflow"] = None  # beside PyTorch it ends the process
    try:
        yield pytest.importorskip("quantus")
    finally:
        if absent:
            del sys.modules["tensorflow"]


@pytest.fixture(scope="module")
def case():
    """A seeded network of probabilities, images whose darkest value is 0, maps, boxes."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3),
        nn.Softmax(1),
    ).eval()  # fmt: skip
    x = torch.rand(3, 1, SIDE, SIDE, generator=generator)
    x[:, 0, 0, 0] = 0
    given = torch.randn(3, 1, SIDE, SIDE, generator=generator)
    boxes = metrics.box_masks([[0, 0, 6, 6], [2, 3, 12, 9], [0, 0, 12, 12]], (SIDE, SIDE))
    return model, x, given, boxes


QUIET = {"disable_warnings": True, "display_progressbar": False, "normalise": False}


def scored(metric, model, x, given, **more):
    plain = {"x_batch": x.numpy(), "y_batch": np.array([0, 1, 2]), "a_batch": given.numpy().copy()}
    return np.asarray(metric(model=model, device="cpu", channel_first=True, **plain, **more))


def test_sparseness(quantus, case):
    model, x, given, _ = case
    theirs = scored(quantus.Sparseness(abs=True, **QUIET), model, x, given)
    assert metrics.sparseness(given, x).tolist() == pytest.approx(theirs, abs=1e-6)


def test_pointing_game_and_energy(quantus, case):
    model, x, given, boxes = case
    more = {"s_batch": boxes[:, None].numpy()}
    theirs = scored(quantus.PointingGame(abs=False, **QUIET), model, x, given, **more)
    ours = metrics.pointing_game(given, boxes, x, tolerance=0)
    assert ours.tolist() == theirs.reshape(-1).tolist()
    assert 0 < float(ours.sum()) < 3
    positive = given.relu()
    found = scored(quantus.RelevanceMassAccuracy(abs=False, **QUIET), model, x, positive, **more)
    ours = metrics.energy_in_box(given, boxes, x)
    assert ours.tolist() == pytest.approx(found.reshape(-1), abs=1e-6)


def test_pixel_flipping_is_the_deletion_curve(quantus, case):
    model, x, given, _ = case
    flipping = quantus.PixelFlipping(
        features_in_step=SIDE, abs=False, perturb_baseline="black", return_aggregate=False, **QUIET
    )
    theirs = scored(flipping, model, x, given)
    ours = metrics.deletion(model, x, given, [0, 1, 2], steps=SIDE, blank=0.0, score="logit")
    np.testing.assert_allclose(ours.scores[:, 1:], theirs, atol=1e-6)
    assert np.abs(np.diff(theirs)).max() > 1e-3


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_imputation_of_road(quantus, case, share):
    _, x, given, _ = case
    image = x[0].numpy().astype(np.float64)
    removed = np.argsort(-given[0].numpy().reshape(-1))[: round(share * SIDE * SIDE)]
    from quantus.functions.perturb_func import noisy_linear_imputation

    theirs = noisy_linear_imputation(image, removed, noise=0)
    mask = torch.zeros(SIDE * SIDE, dtype=torch.bool)
    mask[torch.from_numpy(removed)] = True
    ours = metrics.impute(torch.from_numpy(image)[None], mask.reshape(1, SIDE, SIDE), 1e-9)
    np.testing.assert_allclose(ours[0], theirs, atol=1e-6)


class Given:
    """What torchcam takes as an extractor of maps: one that has them already."""

    def __init__(self, model, given):
        self.model, self.given = model, given

    def __call__(self, class_idx, scores):
        return [self.given]

    def fuse_cams(self, cams):
        return cams[0]

    def _hooks_off(self):
        return contextlib.nullcontext()


def test_confidence_is_torchcams(case):
    peer = pytest.importorskip("torchcam.metrics")
    model, x, given, _ = case
    shown = given - given.amin((2, 3), keepdim=True)
    shown = (shown / shown.amax((2, 3), keepdim=True)).repeat(3, 1, 1, 1)
    x, classes = x.repeat(3, 1, 1, 1), [0, 0, 0, 1, 1, 1, 2, 2, 2]
    theirs = peer.ClassificationMetric(Given(model, shown[:, 0]))
    theirs.update(x, classes)
    ours = metrics.confidence(model, x, shown, classes, score="logit")
    found = theirs.summary()
    assert float(ours.average_drop.mean()) == pytest.approx(found["avg_drop"], abs=1e-5)
    assert float(ours.increase.mean()) == pytest.approx(found["conf_increase"])
    assert 0 < found["avg_drop"]
    assert 0 < found["conf_increase"] < 1


def test_curves_are_torchcams(case):
    peer = pytest.importorskip("torchcam.metrics")
    model, x, given, _ = case
    theirs = peer.DeletionInsertionMetric(Given(model, given[:, 0]), steps=SIDE)
    theirs.update(x, [0, 1, 2])
    up, down = metrics.insertion_and_deletion(
        model, x, given, [0, 1, 2], steps=SIDE, score="logit", insertion_blank=0.0,
        deletion_blank=0.0,
    )  # fmt: skip
    found = theirs.summary()
    assert float(up.area.mean()) == pytest.approx(found["insertion_auc"], abs=1e-6)
    assert float(down.area.mean()) == pytest.approx(found["deletion_auc"], abs=1e-6)
    assert abs(found["insertion_auc"] - found["deletion_auc"]) > 1e-4
