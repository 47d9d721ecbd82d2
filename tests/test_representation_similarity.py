"""Linear CKA against the definition written out, and against what must hold of it."""

import itertools

import pytest
import torch

from captum_cnn_ext.evidence import linear_cka


def hsic_by_tuples(one, two):
    """The U-statistic of Song et al. 2012, eq. 4: a mean over all ordered 4-tuples."""
    k, m = one @ one.T, two @ two.T
    terms = [
        k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
        for i, j, q, r in itertools.permutations(range(len(one)), 4)
    ]
    return sum(terms) / len(terms)


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_the_definition():
    x, y = random(0, 7, 3), random(1, 7, 5)
    y[:, 0] += x[:, 1]
    scale = hsic_by_tuples(x, x) * hsic_by_tuples(y, y)
    expected = hsic_by_tuples(x, y) / scale.sqrt()
    assert linear_cka(x, y) == pytest.approx(float(expected), rel=1e-9)


def test_turns_scales_and_shifts_change_nothing():
    x, y = random(2, 40, 6), random(3, 40, 9)
    turn, _ = torch.linalg.qr(random(4, 6, 6))
    assert linear_cka(x, x @ turn * 5 + 3) == pytest.approx(1)
    assert linear_cka(x @ turn * 5 + 3, y) == pytest.approx(linear_cka(x, y))
    stretched = x * torch.tensor([10, 1, 1, 1, 1, 0.1], dtype=x.dtype)
    assert linear_cka(x, stretched) < 0.9  # only turns are free


def test_more_features_than_examples_are_no_likeness():
    values = [linear_cka(random(s, 20, 500), random(100 + s, 20, 500)) for s in range(20)]
    assert abs(sum(values) / 20) < 0.02  # the biased estimate would give 0.96 each time


def test_constant_features_and_wrong_shapes():
    assert linear_cka(torch.ones(5, 2), random(0, 5, 2)) == 0
    for one, two in ((5, 6), (3, 3)):
        with pytest.raises(ValueError, match="features: expected"):
            linear_cka(torch.ones(one, 2), torch.ones(two, 2))
    with pytest.raises(ValueError, match=r"got \(5, 2, 2\)"):
        linear_cka(torch.ones(5, 2, 2), torch.ones(5, 2))
