"""Filters that are turned copies: planted ones are found, random ones not, controls are true."""

import math

import numpy as np
import pytest
import torch
from digits import mnist, trained
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence import (
    Turn,
    activation_similarity,
    filter_similarity,
)
from captum_cnn_ext.evidence import filter_similarity as function
from captum_cnn_ext.evidence.similarity.filter_similarity import _matched, shuffle_pixels


def random_filters(count, channels=3, size=7, seed=0):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def planted(seed=0):
    """16 filters: 3, 6, 9, 12 are the quarter turns of one, the others are random."""
    weight = random_filters(16, seed=seed)
    for quarter, place in enumerate((3, 6, 9, 12)):
        weight[place] = weight[3].rot90(quarter, (1, 2))
    return weight


def literal_scores(weight, turns):
    """Best of both ways, by Numpy's corrcoef, filter after filter."""
    count = len(weight)
    best, which = np.zeros((count, count)), np.zeros((count, count), int)
    for a in range(count):
        for b in range(count):
            scores = []
            for turn in turns:
                forth = np.corrcoef(weight[a].ravel(), turn(weight[b : b + 1])[0].ravel())[0, 1]
                back = turn.inverse(weight[a : a + 1])[0].ravel()
                scores.append(max(forth, np.corrcoef(weight[b].ravel(), back)[0, 1]))
            best[a, b] = max(scores)
            which[a, b] = next(i for i, s in enumerate(scores) if s > best[a, b] - 1e-6)
    return best, which


@pytest.mark.parametrize(("group", "angles"), [("rotations", 4), ("rotations", 8),
                                               ("rotations+flips", 4), ("none", 8)])  # fmt: skip
def test_scores_are_the_correlations_of_all_turned_pairs(group, angles):
    weight = random_filters(6, 2, 5)
    found = filter_similarity(weight, group, angles, shuffles=1)
    best, which = literal_scores(weight, found.turns)
    off = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(found.scores.numpy()[off], best[off], atol=2e-6)
    np.testing.assert_array_equal(found.which.numpy()[off], which[off])
    assert len(found.turns) == {"none": 1}.get(group, angles * (2 if "flips" in group else 1))


def test_turns_are_exact_at_right_angles_and_close_in_between():
    x = random_filters(2)
    for quarter in range(4):
        assert torch.equal(Turn(90 * quarter)(x), x.rot90(quarter, (2, 3)))
    assert torch.equal(Turn(180, True)(x), x.flip(3).rot90(2, (2, 3)))
    # a linear ramp turned by 45 degrees is the ramp along the diagonal, inside the disc
    rows, columns = torch.meshgrid(torch.arange(-5.0, 6), torch.arange(-5.0, 6), indexing="ij")
    disc = rows**2 + columns**2 < 20
    turned = Turn(45)(columns[None, None])[0, 0]
    expected = (columns - rows) * math.sqrt(0.5)  # to the right becomes up to the right
    torch.testing.assert_close(turned[disc], expected[disc], atol=1e-4, rtol=0)
    for turn in (Turn(90), Turn(270), Turn(90, True), Turn(0, True)):
        assert torch.equal(turn.inverse(turn(x)), x)


@pytest.mark.parametrize("angles", [4, 8])
@pytest.mark.parametrize("seed", range(3))
def test_a_planted_family_is_found_with_its_angles(seed, angles):
    found = filter_similarity(planted(seed), angles=angles)
    (family,) = found.families
    assert family.members == (3, 6, 9, 12)
    assert [turn.angle for turn in family.turns] == [0, 90, 180, 270]
    assert min(family.scores) > 0.9999
    assert found.explained == 3 / 16
    assert (found.explained_unturned, found.explained_shuffled) == (0, 0)
    assert found.turned[[3, 6, 9, 12]].min() > 0.9999
    assert found.turned[[0, 1, 2]].max() < 0.6


@pytest.mark.parametrize("shape", [(3, 7), (1, 3), (3, 3), (1, 5)])
def test_a_random_layer_has_no_family(shape):
    for seed in range(4):
        weight = random_filters(16, *shape, seed=100 + seed)
        assert filter_similarity(weight).families == ()


def test_mirrored_copies_are_found_only_when_asked():
    weight = random_filters(10)
    weight[7] = weight[2].flip(1)  # upside down: mirrored, then half a turn
    assert filter_similarity(weight, angles=4).families == ()
    (family,) = filter_similarity(weight, "rotations+flips", angles=4).families
    assert family.members == (2, 7)
    assert str(family) == "2 at 0°, 7 at mirrored 180°"


def test_plain_copies_are_told_from_turned_ones():
    weight = random_filters(10)
    weight[5] = 2 * weight[1] + 0.3  # Pearson's correlation sees neither scale nor mean
    found = filter_similarity(weight)
    assert [f.members for f in found.families] == [(1, 5)]
    assert str(found.families[0].turns[1]) == "0°"
    assert found.explained == found.explained_unturned == pytest.approx(0.1)
    assert found.duplicate[1] > 0.9999 > 0.9 > found.turned[1]
    assert filter_similarity(weight, "none").families[0].members == (1, 5)


def test_small_kernels_look_turned_by_chance_and_the_controls_say_so(lite0):
    # the figures that the control is there for: depthwise 3 x 3 kernels of EfficientNet-Lite0
    conv = lite0._blocks[5]._depthwise_conv
    found = filter_similarity(conv, angles=4, shuffles=3)
    means = [round(float(v.mean()), 2) for v in (found.turned, found.shuffled, found.duplicate)]
    assert means[0] > 0.9
    assert 0.75 < means[1] < 0.9
    assert means[2] > 0.95
    assert found.chance > 0.97
    assert "of shuffled filters 0.8" in str(found)


def test_shuffling_moves_pixels_of_all_channels_alike():
    weight = random_filters(4, 2, 3)
    weight[:, 1] = weight[:, 0] + 10
    shuffled = shuffle_pixels(weight, torch.Generator().manual_seed(1))
    torch.testing.assert_close(shuffled[:, 1], shuffled[:, 0] + 10)
    for before, after in zip(weight[:, 0], shuffled[:, 0], strict=True):
        assert sorted(before.flatten().tolist()) == sorted(after.flatten().tolist())
        assert not torch.equal(before, after)
    same = filter_similarity(weight, seed=3)
    assert torch.equal(same.shuffled, filter_similarity(weight, seed=3).shuffled)


def test_constant_filters_match_nothing():
    weight = random_filters(8)
    weight[2], weight[5] = 0, 1.5
    scores, *_ = _matched(weight, [Turn(0), Turn(180)])
    assert float(scores[2, 5]) == 0
    assert filter_similarity(weight).families == ()


def test_errors_and_warnings():
    with pytest.raises(ArgumentError, match="nearest: 'rotations'"):
        filter_similarity(random_filters(4), "rotation")
    with pytest.raises(ArgumentError, match=r"square kernels, got \(4, 3, 7, 5\)"):
        filter_similarity(torch.randn(4, 3, 7, 5))
    with pytest.raises(ArgumentError, match="a single pixel cannot be turned"):
        filter_similarity(nn.Conv2d(3, 8, 1))
    with pytest.raises(ArgumentError, match="shuffles=0"):
        function(random_filters(4), shuffles=0)
    with pytest.raises(ArgumentError, match="threshold=2"):
        filter_similarity(random_filters(4), threshold=2)
    with pytest.warns(UserWarning, match="activation_similarity"):
        filter_similarity(nn.Conv2d(8, 8, 3))


# --- by activations ---------------------------------------------------------------------------


def equivariant():
    """Stride 2 and a second layer on turned channels: each channel is a quarter turn further."""
    torch.manual_seed(3)
    first = nn.Conv2d(1, 4, 3, 2, 1, bias=False)
    second = nn.Conv2d(4, 4, 3, bias=False)
    with torch.no_grad():
        for quarter in range(4):
            first.weight[quarter] = first.weight[0].rot90(quarter, (1, 2))
        for quarter in range(1, 4):  # turned, and its input channels moved on by as many turns
            moved = second.weight[0].roll(quarter, 0)
            second.weight[quarter] = moved.rot90(quarter, (1, 2))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU()).eval()


@pytest.mark.parametrize("layer", ["1", "3"])
def test_channels_of_an_equivariant_network_are_turned_copies(layer):
    images = torch.rand(6, 1, 20, 24)
    found = activation_similarity(equivariant(), layer, images, internal_batch_size=3)
    assert (found.size, found.images) == (19, 6)
    for a in range(4):
        for b in range(4):
            if a != b:
                assert found.scores[a, b] > 0.9999
                assert found.turns[found.which[a, b]].angle == 90 * ((a - b) % 4)
    assert found.other_image.max() < 0.9
    # weights of the second layer alone cannot tell: its input channels turn too
    if layer == "3":
        weights = filter_similarity(equivariant()[2].weight.detach(), angles=4, shuffles=1)
        assert weights.turned.max() < 0.9


def test_activation_scores_are_correlations_over_images_and_positions():
    model, images = trained(), mnist()[0][:10]
    found = activation_similarity(model, "1", images, "rotations+flips", internal_batch_size=5)
    with torch.no_grad():
        upright = model[:2](images).double()
        for place in (1, 6):
            turn = found.turns[place]
            turned, moved = model[:2](turn(images)).double(), turn(upright)
            for a, b in ((0, 3), (5, 5), (7, 2)):
                one, other = turned[:, a].flatten(), moved[:, b].flatten()
                expected = np.corrcoef(one, other)[0, 1]
                assert found.scores[a, b] >= expected - 1e-5
                if found.which[a, b] == place:
                    assert abs(found.scores[a, b] - expected) < 1e-5
        plain = np.corrcoef(upright.transpose(0, 1).flatten(1).numpy())
    np.fill_diagonal(plain, -1)
    np.testing.assert_allclose(found.duplicate, plain.max(1), atol=1e-5)


def test_batches_may_be_streamed_and_nothing_is_left_behind():
    model, images = trained(), mnist()[0][:12]
    whole = activation_similarity(model, "4", images, internal_batch_size=6)
    with nothing_left_behind(model):
        streamed = activation_similarity(model, "4", iter(images.split(6)))
    assert torch.equal(whole.scores, streamed.scores)
    with pytest.raises(ArgumentError, match="N >= 2"):
        activation_similarity(model, "4", images[:1])
    with pytest.raises(ArgumentError, match="expected square maps"):
        activation_similarity(model, "6", images)
    with pytest.raises(ArgumentError, match="nothing to turn"):
        activation_similarity(model, "4", images, "none")


def test_a_turn_the_wrong_way_would_be_seen(monkeypatch):
    monkeypatch.setattr(Turn, "__call__", lambda self, x: x.rot90(-round(self.angle / 90), (2, 3)))
    (family,) = filter_similarity(planted(), angles=4).families
    assert [turn.angle for turn in family.turns] == [0, 270, 180, 90]
