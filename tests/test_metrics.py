"""Metrics at their ends on models whose answer is known, and against slow loops."""

import models
import numpy as np
import pytest
import references_metrics as slow
import torch
from captum.attr import LayerGradCam, Saliency
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext import metrics
from captum_cnn_ext.attr import LayerHiResCam
from captum_cnn_ext.metrics import maps
from captum_cnn_ext.metrics.faithfulness import curves
from captum_cnn_ext.metrics.sanity import randomization

SIDE = 12


class Pixels(nn.Module):
    """Two classes: the sum of known pixels of the first channel, and nothing."""

    def __init__(self, weight):
        super().__init__()
        self.weight, self.rows, self.calls = nn.Parameter(weight), 0, 0

    def forward(self, x):
        self.rows += len(x)
        self.calls += 1
        score = (x[:, 0] * self.weight).sum((1, 2))
        return torch.stack([score, 0 * score], 1)


@pytest.fixture
def known():
    """Ten pixels carry the whole score of an image of ones; the map of their weights."""
    weight = torch.zeros(SIDE, SIDE).double()
    places = torch.randperm(SIDE * SIDE, generator=torch.Generator().manual_seed(0))[:10]
    weight.view(-1)[places] = torch.arange(1.0, 11.0).double() / 55
    return Pixels(weight).eval(), torch.ones(2, 3, SIDE, SIDE).double(), weight


def test_insertion_and_deletion_at_their_ends(known):
    """Perfect: all of the score in the first step. Worst: in the last. Random: the diagonal."""
    model, x, weight = known
    kwargs = {"target": 0, "score": "logit", "blank": 0.0, "steps": 12}  # 12 pixels in each step
    perfect, worst = (v[None, None].expand(2, 1, SIDE, SIDE) for v in (weight, -weight))
    up = metrics.insertion(model, x, perfect, **kwargs)
    assert up.scores[0].tolist() == pytest.approx([0] + [1] * 12)
    assert up.area.tolist() == pytest.approx([1 - 1 / 24] * 2)
    assert metrics.insertion(model, x, worst, **kwargs).area.tolist() == pytest.approx([1 / 24] * 2)
    assert metrics.deletion(model, x, perfect, **kwargs).area.tolist() == pytest.approx(
        [1 / 24] * 2
    )
    down = metrics.deletion(model, x, worst, **kwargs)
    assert down.area.tolist() == pytest.approx([1 - 1 / 24] * 2)
    areas = [
        metrics.insertion(model, x[:1], metrics.random_map(x[:1], seed), **kwargs).area
        for seed in range(40)
    ]
    assert float(torch.cat(areas).mean()) == pytest.approx(0.5, abs=0.05)


def test_curves_equal_the_loop():
    model = models.build(models.Net)
    x = models.image_batch()
    found_maps = torch.randn(3, *x.shape[2:], generator=torch.Generator().manual_seed(1)).double()
    found_maps[1] = found_maps[1].round()  # ties
    target = [0, 4, 2]
    up, down = metrics.insertion_and_deletion(
        model, x, found_maps, target, steps=7, insertion_blank=0.3, deletion_blank="mean"
    )
    alone = (
        metrics.insertion(model, x, found_maps, target, steps=7, blank=0.3),
        metrics.deletion(model, x, found_maps, target, steps=7, blank="mean"),
    )
    for n in range(3):

        def score(image, n=n):
            with torch.no_grad():
                return float(model(torch.from_numpy(image)[None]).softmax(1)[0, target[n]])

        image = x[n].numpy()
        mean = np.broadcast_to(image.mean((1, 2), keepdims=True), image.shape)
        right = (
            slow.curve(score, np.full_like(image, 0.3), image, found_maps[n].numpy(), 7),
            slow.curve(score, image, mean, found_maps[n].numpy(), 7),
        )
        for found, single, literal in zip((up, down), alone, right, strict=True):
            assert found.scores[n].tolist() == pytest.approx(literal, abs=1e-12)
            assert single.scores[n].tolist() == pytest.approx(literal, abs=1e-12)
            assert float(found.area[n]) == pytest.approx(slow.area(literal), abs=2e-2)


def test_passes_of_the_model_are_counted(known):
    model, x, weight = known
    given = weight[None, None].expand(2, 1, SIDE, SIDE)
    for run, rows in (
        (lambda: metrics.insertion_and_deletion(model, x, given, 0), 49),  # 24 steps; at most 50
        (lambda: metrics.insertion(model, x, given, 0), 25),
        (lambda: metrics.deletion(model, x, given, 0), 25),
        (lambda: metrics.confidence(model, x, given, 0), 2),
        (lambda: metrics.road(model, x, given, 0), 8),
        (lambda: metrics.sparseness(given, x), 0),
    ):
        model.rows = 0
        with nothing_left_behind(model, x, given):
            run()
            assert model.rows == rows * len(x)
            model.rows = 0
    model.calls = 0
    metrics.insertion(model, x, given, 0, internal_batch_size=100)
    assert model.calls == len(x)
    metrics.insertion(model, x, given, 0, internal_batch_size=10)
    assert model.calls == len(x) + 3 * len(x)


def test_confidence_by_hand(known):
    model, x, weight = known
    kwargs = {"target": 0, "score": "logit"}
    perfect = (weight > 0).double()[None, None].expand(2, 1, SIDE, SIDE)
    assert metrics.average_drop(model, x, perfect, **kwargs).tolist() == pytest.approx([0, 0])
    assert metrics.average_drop(model, x, -perfect, **kwargs).tolist() == pytest.approx([1, 1])
    half = (weight >= 6 / 55).double()[None, None].expand(2, 1, SIDE, SIDE)
    assert metrics.average_drop(model, x, half, **kwargs).tolist() == pytest.approx([15 / 55] * 2)
    assert metrics.increase_in_confidence(model, x, half, **kwargs).tolist() == [0, 0]
    # where a pixel speaks against the class, hiding it raises the score
    against = Pixels(torch.where(weight >= 9 / 55, -weight, weight.clone())).eval()
    kept = (against.weight > 0).double()[None, None].expand(2, 1, SIDE, SIDE)
    assert metrics.increase_in_confidence(against, x, kept, **kwargs).tolist() == [1, 1]
    flat = torch.ones(2, 1, SIDE, SIDE)
    assert metrics.average_drop(model, x, flat, **kwargs).tolist() == pytest.approx([1, 1])


def test_imputation_equals_a_dense_solve():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 2, 11, 9, generator=generator).double()
    removed = (
        torch.rand(3, 11, 9, generator=generator) < torch.tensor([0.3, 0.9, 0.0])[:, None, None]
    )
    removed[0, :7, :6] = True  # a hole that touches two borders
    found = metrics.impute(images, removed, tolerance=1e-12)
    for n in range(3):
        right = slow.imputed(images[n].numpy(), removed[n].numpy())
        np.testing.assert_allclose(found[n], right, atol=1e-9)
    assert torch.equal(
        torch.where(removed[:, None], 0, found), torch.where(removed[:, None], 0, images)
    )
    gone = metrics.impute(images, torch.ones_like(removed))
    torch.testing.assert_close(gone, images.mean((2, 3), keepdim=True).expand_as(images))
    coarse = metrics.impute(images.float(), removed)
    torch.testing.assert_close(coarse, found.float(), atol=2e-3, rtol=0)


def test_road_at_its_ends(known):
    """The score is in ten pixels of noise: a perfect map loses it at once, its opposite never."""
    model, _, weight = known
    x = torch.zeros(2, 3, SIDE, SIDE).double()
    x[:, 0] = (weight > 0).double()
    kwargs = {"target": 0, "score": "logit", "noise": 0.0, "shares": (0.2, 0.5)}
    given = weight[None, None].expand(2, 1, SIDE, SIDE)
    right, wrong = (metrics.road(model, x, m, **kwargs) for m in (given, -given))
    assert right.most_relevant_first.abs().max() < 1e-9
    assert right.least_relevant_first.tolist() == [pytest.approx([1, 1])] * 2
    assert right.score.tolist() == pytest.approx([0.5, 0.5])
    assert wrong.score.tolist() == pytest.approx([-0.5, -0.5])
    noisy = [metrics.road(model, x, given, 0, seed=s).score for s in (0, 0, 1)]
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])


def test_localization_by_hand():
    x = torch.zeros(2, 3, 20, 20)
    given = torch.zeros(2, 1, 20, 20)
    given[0, 0, 3, 4], given[0, 0, 15, 15] = 2, 6
    given[1, 0, 3, 4], given[1, 0, 15, 15] = 2, -6
    masks = metrics.box_masks([[2, 1, 6, 5], [2, 1, 6, 5]], (20, 20))
    assert masks[0].nonzero().amin(0).tolist() == [1, 2]
    assert masks[0].nonzero().amax(0).tolist() == [4, 5]
    assert metrics.pointing_game(given, masks, x, tolerance=0).tolist() == [0, 1]
    near = float(np.hypot(15 - 4, 15 - 5))
    for tolerance, hit in ((int(near), 0), (int(near) + 1, 1)):
        found = metrics.pointing_game(given, masks, x, tolerance=tolerance)
        assert found.tolist() == [hit, 1]
    assert metrics.energy_in_box(given, masks, x).tolist() == [0.25, 1]
    assert metrics.energy_in_box(-given[:1].relu(), masks[:1], x[:1]).tolist() == [0]
    with pytest.raises(ValueError, match="masks: expected a tensor of shape"):
        metrics.energy_in_box(given, masks[:1], x)


def test_sparseness_and_correlation_equal_the_definitions():
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(4, 9, 7, generator=generator).double()
    given[1], given[2], given[3] = 1, 0, given[3].round()
    x = torch.zeros(4, 3, 9, 7)
    found = metrics.sparseness(given, x)
    assert found.tolist() == pytest.approx(
        [slow.gini(given[0]), 0, 0, slow.gini(given[3])], abs=1e-6
    )
    stats = pytest.importorskip("scipy.stats")
    other = torch.randn(4, 9, 7, generator=generator).double().mul(2).round()
    right = [
        stats.spearmanr(a.reshape(-1), b.reshape(-1)).statistic
        for a, b in ((given[0], other[0]), (given[3], other[3]))
    ]
    ours = metrics.rank_correlation(given, other)
    assert ours[[0, 3]].tolist() == pytest.approx(right, abs=1e-6)
    assert ours[[1, 2]].tolist() == [0, 0]
    both = metrics.agreement({"a": given, "b": other}, x)
    torch.testing.assert_close(both[:, 0, 1], ours)
    assert both[0].diagonal().tolist() == pytest.approx([1, 1])


def test_bootstrap():
    values = torch.randn(60, generator=torch.Generator().manual_seed(0)).double() + 3
    found = metrics.bootstrap(values)
    assert found.mean == pytest.approx(float(values.mean()))
    # the percentile interval of a mean is close to the normal one
    half = 1.96 * float(values.std(correction=0)) / 60**0.5
    assert found.low == pytest.approx(found.mean - half, abs=0.03)
    assert found.high == pytest.approx(found.mean + half, abs=0.03)
    assert metrics.bootstrap(values) == found
    photos = [n // 15 for n in range(60)]  # four photos: less is known than of sixty
    together = metrics.bootstrap(torch.arange(60.0) // 15, groups=photos)
    apart = metrics.bootstrap(torch.arange(60.0) // 15)
    assert together.mean == apart.mean == 1.5
    assert together.high - together.low > 2 * (apart.high - apart.low)
    alone = metrics.bootstrap([1.0, 2.0], groups=["cat", "cat"])  # one photo says nothing of others
    assert alone.mean == 1.5
    assert np.isnan([alone.low, alone.high]).all()
    with pytest.raises(ValueError, match="values: expected one number or more"):
        metrics.bootstrap([])


def test_parameter_randomization_knows_a_blind_method():
    """An edge detector does not look at the weights; the gradient does."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(512, 3),
    ).eval()  # fmt: skip
    x = torch.rand(2, 3, SIDE, SIDE)

    def gradient(m, x):
        return Saliency(m).attribute(x.clone().requires_grad_(), 1)

    with nothing_left_behind(model, x):
        blind = metrics.parameter_randomization(model, lambda m, x: x, x)
        found = metrics.parameter_randomization(model, gradient, x)
        single = metrics.parameter_randomization(
            model, gradient, x, layers=["0", "5"], mode="independent"
        )
    assert found.layers == ("5", "2", "0")
    assert blind.rank_correlation.tolist() == [[pytest.approx(1)] * 2] * 3
    assert blind.similarity.tolist() == [[pytest.approx(1)] * 2] * 3
    assert found.rank_correlation.abs().max() < 0.75
    assert found.similarity.max() < 0.7
    assert single.layers == ("0", "5")
    with pytest.raises(ValueError, match="'1': this layer has no parameters"):
        metrics.parameter_randomization(model, lambda m, x: x, x, layers=["1"])
    with pytest.raises(ValueError, match=r"mode='cascade'.*nearest: 'cascading'"):
        metrics.parameter_randomization(model, lambda m, x: x, x, mode="cascade")


def test_similarity_is_scikit_images():
    skimage = pytest.importorskip("skimage.metrics")
    one, two = torch.rand(2, 1, 30, 20, generator=torch.Generator().manual_seed(0)).double()
    right = skimage.structural_similarity(
        one[0].numpy(), two[0].numpy(), data_range=1, use_sample_covariance=False
    )
    assert float(randomization.structural_similarity(one, two)) == pytest.approx(right, abs=1e-9)


def test_any_attribution_is_taken():
    model, x = models.build(models.Net), models.image_batch()
    for given in (
        LayerHiResCam(model, "block").attribute(x, 1),
        LayerGradCam(model, model.block).attribute((x,), 1),
        Saliency(model).attribute(x.clone().requires_grad_(), 1),
    ):
        assert metrics.as_maps(given, x).shape == (3, *x.shape[2:])
        assert metrics.insertion(model, x, given, 1, steps=2).area.shape == (3,)
    small = torch.randn(1, 3, 4).double()
    right = slow.upsampled(small[0], 9, 10)
    torch.testing.assert_close(metrics.as_maps(small, torch.zeros(1, 3, 9, 10))[0], right)
    assert metrics.infidelity.__module__.startswith("captum")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"steps": 0}, "steps=0: expected an integer from 1 to 144"),
        ({"blank": "blurr"}, "blank='blurr': expected"),
        ({"blank": torch.zeros(3)}, "blank: expected shape"),
        ({"score": "probabilty"}, "score='probabilty'.*nearest: 'probability'"),
        ({"target": 7}, "target=7: .* 2 classes"),
        ({"attributions": torch.zeros(3, 1, 4, 4)}, r"attributions: expected \(2, C, h, w\)"),
        ({"attributions": torch.full((2, 1, 4, 4), float("nan"))}, "not finite"),
        ({"inputs": torch.zeros(2, 4)}, "inputs: expected one floating point tensor"),
    ],
)
def test_wrong_arguments_are_named(known, kwargs, message):
    model, x, weight = known
    given = {"inputs": x, "attributions": weight.expand(2, SIDE, SIDE), "target": 0, **kwargs}
    with nothing_left_behind(model, x), pytest.raises(AssertionError, match=message):
        metrics.insertion(model, **given)


MUTANTS = {
    "ascending": (maps, curves, lambda ranks: ranks.max() - ranks),
    "off by one": (maps, curves, lambda ranks: ranks + 1),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_order_is_seen(mutant, monkeypatch, known):
    right = curves.pixel_ranks
    monkeypatch.setattr(curves, "pixel_ranks", lambda m: MUTANTS[mutant][2](right(m)))
    with pytest.raises(AssertionError):
        test_curves_equal_the_loop()


@pytest.mark.parametrize("name", ["insertion", "deletion", "road", "average_drop"])
def test_an_empty_batch_is_refused(name):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)).eval()
    none = torch.zeros(0, 3, 2, 2)
    with pytest.raises(ValueError, match="inputs: expected at least one example"):
        getattr(metrics, name)(model, none, none, target=1)
