"""Metrics against a known truth, each beside a slow literal reference."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr, wasserstein_distance, wasserstein_distance_nd
from torch import nn

from captum_cnn_ext import metrics

SIGNS = {"signed": lambda values: np.maximum(values, 0), "absolute": np.abs}


def case(seed=0, shape=(3, 6, 5)):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(shape, generator=generator)
    masks = torch.rand(shape, generator=generator) < 0.3
    masks[:, 0, 0] = True
    return maps, masks, torch.zeros(shape[0], 3, *shape[1:])


def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4, 3)).eval()


def photos(count=2, size=12):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sign", SIGNS)
def test_rank_accuracy_is_precision_at_the_objects_size(sign):
    maps, masks, x = case()
    values = maps.abs() if sign == "absolute" else maps
    wanted = []
    for one, mask in zip(values.numpy(), masks.numpy(), strict=True):
        strongest = np.argsort(-one.ravel())[: mask.sum()]
        wanted.append(mask.ravel()[strongest].mean())
    found = metrics.relevance_rank_accuracy(maps, masks, x, sign=sign)
    assert found.tolist() == pytest.approx(wanted)


def test_ties_at_the_border_count_as_the_mean_over_all_orders():
    maps = torch.tensor([[[3.0, 1, 1, 1, 0]]])
    masks = torch.tensor([[[True, True, False, False, True]]])
    hits = [
        sum(bool(masks[0, 0, i]) for i in (0, *pair)) / 3
        for pair in itertools.combinations((1, 2, 3), 2)
    ]
    found = metrics.relevance_rank_accuracy(maps, masks, torch.zeros(1, 3, 1, 5))
    assert float(found) == pytest.approx(np.mean(hits))
    flat = metrics.relevance_rank_accuracy(torch.zeros(1, 1, 5), masks, torch.zeros(1, 3, 1, 5))
    assert float(flat) == pytest.approx(3 / 5)


@pytest.mark.parametrize("sign", SIGNS)
def test_mass_accuracy_is_the_objects_share(sign):
    maps, masks, x = case(1)
    mass = SIGNS[sign](maps.numpy())
    wanted = [(m * inside).sum() / m.sum() for m, inside in zip(mass, masks.numpy(), strict=True)]
    found = metrics.relevance_mass_accuracy(maps, masks, x, sign=sign)
    assert found.tolist() == pytest.approx(wanted, rel=1e-5)
    if sign == "signed":
        assert torch.equal(found, metrics.energy_in_box(maps, masks, x))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_iou_counts_pixels_over_the_threshold(threshold):
    maps, masks, x = case(2)
    wanted = []
    for one, mask in zip(maps.numpy(), masks.numpy(), strict=True):
        strong = (one - one.min()) / (one.max() - one.min()) >= threshold
        wanted.append((strong & mask).sum() / (strong | mask).sum())
    found = metrics.mask_iou(maps, masks, x, threshold=threshold)
    assert found.tolist() == pytest.approx(wanted)
    assert metrics.mask_iou(torch.ones(3, 6, 5), masks, x).tolist() == [0, 0, 0]


@pytest.mark.parametrize("sign", SIGNS)
def test_the_earth_movers_distance_is_scipys(sign):
    maps, masks, x = case(3, (2, 4, 4))
    places = np.argwhere(np.ones((4, 4)))
    found = metrics.earth_movers_distance(maps, masks, x, grid=4, sign=sign)
    for value, one, mask in zip(found, SIGNS[sign](maps.numpy()), masks.numpy(), strict=True):
        far = wasserstein_distance_nd(places, places, one.ravel(), mask.ravel().astype(float))
        assert float(value) == pytest.approx(far / (np.sqrt(2) * 3), rel=1e-4)


def test_the_earth_movers_distance_on_coarser_cells_and_without_mass():
    maps = torch.zeros(1, 8, 8)
    maps[0, :, 2] = 1  # two pixels of a column of cells, 8 x 8 as 4 x 4
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, :, 7] = True
    x = torch.zeros(1, 3, 8, 8)
    found = metrics.earth_movers_distance(maps, masks, x, grid=4)
    assert float(found) == pytest.approx(2 / (2**0.5 * 3))
    even = metrics.earth_movers_distance(0 * maps, masks, x, grid=4)
    assert float(even) == pytest.approx(wasserstein_distance(range(4), [3]) / (2**0.5 * 3))
    with pytest.raises(ValueError, match="an object in every image"):
        metrics.earth_movers_distance(maps, ~masks & masks, x)


@pytest.mark.parametrize("size", [12, 24, 32])
def test_a_hole_in_the_dark_is_filled_with_dark(size):
    x = torch.zeros(1, 2, size, size)
    x[:, 0, 0, 0] = 1  # light that no pixel of the hole touches
    x[:, 1] = torch.linspace(0, 1, size)
    hole = torch.zeros(1, size, size, dtype=torch.bool)
    hole[:, 3:, 3:] = True
    for channels in ((0,), (0, 1)):
        filled = metrics.impute(x[:, list(channels)], hole)
        assert float(filled[0, 0, 3:, 3:].abs().max()) < 1e-3
        assert float(filled.min()) > -1e-3
        assert float(filled.max()) <= 1


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("grid", [2, 4, 5])
def test_single_deletion_is_spearman_of_patches_and_drops(grid, score):
    model, x = net(), photos()
    maps = torch.randn(2, 12, 12, generator=torch.Generator().manual_seed(0))
    found = metrics.single_deletion(model, x, maps, 1, grid=grid, blank=0.5, score=score)

    def scored(image):
        with torch.no_grad():
            logits = model(image[None])[0]
        return float((logits.softmax(0) if score == "probability" else logits)[1])

    cuts = [[i for i in range(12) if i * grid // 12 == part] for part in range(grid)]
    for n in range(2):
        drops, sums = [], []
        for rows, columns in itertools.product(cuts, cuts):
            holed = x[n].clone()
            holed[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 0.5
            drops.append(scored(x[n]) - scored(holed))
            sums.append(float(maps[n][rows][:, columns].sum()))
        assert float(found[n]) == pytest.approx(spearmanr(sums, drops).statistic, abs=1e-5)


def test_random_logit_compares_the_maps_of_two_classes():
    x = photos()
    asked = []

    def explain(images, classes):
        asked.append(classes.tolist())
        return images[:, 0] * (classes[:, None, None] + 1)  # the same but for its scale

    assert metrics.random_logit(explain, x, [0, 2], classes=3).tolist() == pytest.approx([1, 1])
    assert asked[0] == [0, 2]
    assert all(a != b for a, b in zip(*asked, strict=True))
    drawn = {
        metrics.random_logit(lambda i, c: asked.append(c.tolist()) or i, x, 0, classes=3, seed=s)
        is None
        or asked[-1][0]
        for s in range(9)
    }
    assert drawn == {1, 2}
    other = metrics.random_logit(lambda i, c: i[:, 0] * (c[0] == 0) + i[:, 1] * (c[0] != 0), x, 0,
                                 classes=2)  # fmt: skip
    assert float(other.max()) < 0.5
    with pytest.raises(ValueError, match="classes from 0 to 2"):
        metrics.random_logit(explain, x, 3, classes=3)


def test_arcc_is_the_harmonic_mean_of_its_three_parts():
    model, x = net(), photos()

    def explain(images):
        return images[:, 0] * images[:, 1]

    found = metrics.arcc(model, explain, x, 1, shares=(0.3, 0.6))

    def scaled(values):
        return (values - values.min()) / (values.max() - values.min())

    removed = metrics.road(model, x, explain(x), 1, shares=(0.3, 0.6))
    for n in range(2):
        first = scaled(explain(x)[n].numpy())
        second = scaled(explain(x * torch.from_numpy(first))[n].numpy())
        coherency = (1 + pearsonr(first.ravel(), second.ravel()).statistic) / 2
        both = removed.least_relevant_first[n] - removed.most_relevant_first[n]
        faithful = float(both.mean().clamp(0, 1))  # twice the half
        assert float(found.coherency[n]) == pytest.approx(coherency, abs=1e-4)
        assert float(found.complexity[n]) == pytest.approx(first.mean(), abs=1e-5)
        assert float(found.road[n]) == pytest.approx(faithful, abs=1e-5)
        parts = [coherency, 1 - first.mean(), faithful]
        wanted = 3 / sum(1 / p for p in parts) if min(parts) > 0 else 0
        assert float(found.score[n]) == pytest.approx(wanted, abs=1e-4)


def test_the_object_itself_is_perfect_and_what_is_shuffled_is_at_chance():
    _, masks, x = case(4, (40, 12, 12))
    order = torch.randperm(144, generator=torch.Generator().manual_seed(0))
    shuffled = masks.flatten(1)[:, order].reshape(masks.shape)
    for metric in ("relevance_rank_accuracy", "relevance_mass_accuracy", "mask_iou"):
        assert getattr(metrics, metric)(masks.float(), masks, x).tolist() == [1] * 40
    for metric in ("relevance_rank_accuracy", "relevance_mass_accuracy"):
        got = getattr(metrics, metric)(shuffled.float(), masks, x).mean()
        assert float(got) == pytest.approx(float(masks.float().mean()), abs=0.05)
    assert metrics.earth_movers_distance(masks[:2].float(), masks[:2], x[:2]).tolist() == (
        pytest.approx([0, 0], abs=1e-6)
    )
