"""What counts as a number, which numbers are refused, and how the message says so."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from captum_cnn_ext import attr
from captum_cnn_ext._numbers import as_count, as_count_or_none, as_number, as_numbers, as_seed
from captum_cnn_ext.errors import ArgumentError, TargetError, choose, nearest, nearest_file

NO_NUMBERS = [True, np.True_, torch.tensor(True), "1", b"1", None, [1], 1j, object, math.nan,
              float("inf"), np.float32("nan"), torch.tensor([1.0]), np.ones(1)]  # fmt: skip


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
def test_integers_of_every_kind_are_counts(value):
    found = as_count("steps", value)
    assert (found, type(found)) == (3, int)
    assert as_count_or_none("steps", value) == as_seed("seed", value) == 3


@pytest.mark.parametrize("value", [2, 0.5, np.float32(0.5), torch.tensor(0.5), Fraction(1, 2)])
def test_real_numbers_of_every_kind_are_numbers(value):
    found = as_number("weight", value)
    assert (found, type(found)) == (float(value), float)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_refused_by_name(value):
    for judge in (as_count, as_number, as_seed, *([as_count_or_none] if value is not None else [])):
        with pytest.raises(ArgumentError, match=r"^this=") as caught:
            judge("this", value)
        assert str(caught.value).startswith(f"this={value!r}: expected ")


@pytest.mark.parametrize("value", [2.5, 2.0, np.float64(1)])
def test_a_fraction_is_no_count(value):
    for judge in (as_count, as_count_or_none, as_seed):
        with pytest.raises(ArgumentError, match="expected an integer"):
            judge("steps", value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: as_count("steps", 0), "steps=0: expected an integer of at least 1"),
        (lambda: as_count("margin", -1, 0), "margin=-1: expected an integer of at least 0"),
        (lambda: as_count("top", 5, 1, 4), "top=5: expected an integer from 1 to 4"),
        (lambda: as_count_or_none("k", 0), "k=0: expected an integer of at least 1, or None"),
        (lambda: as_number("lr", 0, above=0), "lr=0: expected a finite number above 0"),
        (lambda: as_number("p", 1.0, 0, below=1), "p=1.0: expected a finite number of "
         "at least 0 and below 1"),
        (lambda: as_number("p", math.nan), "p=nan: expected a finite number"),
        (lambda: as_numbers("shares", [0.5, 2], maximum=1), "shares[1]=2: expected a finite number "
         "of at most 1"),
        (lambda: as_numbers("shares", []), "shares=[]: expected at least one number"),
        (lambda: as_numbers("shares", "0.5"), "shares='0.5': expected a finite number"),
        (lambda: as_numbers("shares", 2, maximum=1), "shares=2: expected a finite number of at "
         "most 1"),
        (lambda: as_seed("seed", 2**64), f"seed={2**64}: expected an integer of 64 bits, such as "
         "0"),
        (lambda: choose("how", "mena", ("all", "mean")), "how='mena': expected one of 'all', "
         "'mean'; nearest: 'mean'"),
        (lambda: choose("how", torch.ones(2), ("max",)), "how=tensor([1., 1.]): expected one of "
         "'max'"),
    ],
)  # fmt: skip
def test_the_message_holds_name_value_and_expectation(call, message):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "options", "hint"),
    [
        ("hirescm", ("Saliency", "LayerHiResCam"), "; nearest: 'LayerHiResCam'"),
        ("layr4", ("stem", "layer3", "layer4"), "; nearest: 'layer4', 'layer3'"),
        ("layr4", ("stem", "c1", "relu"), ""),
        ("zzz", (), ""),
    ],
)
def test_near_names_are_like_it_whatever_the_case(name, options, hint):
    assert nearest(name, options) == hint


def test_a_files_ending_makes_no_name_near():
    beside = ["ov.png", "e2.png", "profile.png", "no-file.jpg", "README"]
    assert nearest_file("nofile.png", beside) == "; nearest: 'no-file.jpg', 'profile.png'"
    assert nearest_file("readme", beside) == "; nearest: 'README'"


def test_a_network_of_few_layers_lists_them_where_none_is_near():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    with pytest.raises(ArgumentError, match=r"no such layer; it has '0', '1'\.$"):
        attr.LayerGradCam(model, "layr4")


def test_the_bounds_themselves():
    assert as_count("top", 4, 1, 4) == 4
    assert [as_number("p", value, 0, 1) for value in (0, 1)] == [0, 1]
    assert as_numbers("shares", np.array([0.25, 1]), above=0, maximum=1) == (0.25, 1.0)
    assert as_numbers("shares", 0.5) == as_numbers("shares", torch.tensor(0.5)) == (0.5,)
    assert as_seed("seed", -(2**63)) == -(2**63)
    torch.Generator().manual_seed(as_seed("seed", -(2**63)))
    torch.Generator().manual_seed(as_seed("seed", 2**63 - 1))


def test_the_errors_are_the_ones_that_captum_raises():
    assert {ValueError, AssertionError} < set(ArgumentError.__mro__)
    assert {ArgumentError, IndexError} < set(TargetError.__mro__)
