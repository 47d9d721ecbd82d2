"""Joining maps of several layers."""

import models
import pytest
import torch
import torch.nn.functional as F

from captum_cnn_ext.attr import LayerRefineCam, fuse

FIRST = torch.tensor([[[[2.0, -1.0], [0.0, 1.0]]]])
SECOND = torch.tensor([[[[1.0, 4.0], [2.0, 3.0]]]])


def by_hand(how):
    one, two = [1.0, 0.0, 0.0, 0.5], [0.25, 1.0, 0.5, 0.75]
    if how == "max-tanh":
        values = [
            torch.tensor(2.0 * max(a, b)).tanh().item() for a, b in zip(one, two, strict=True)
        ]
    else:
        two = [0.0, 1.0, 1 / 3, 2 / 3]  # min-max, not only the maximum
        values = [(a + b) / 2 if how == "mean" else a * b for a, b in zip(one, two, strict=True)]
    return torch.tensor(values).reshape(1, 1, 2, 2)


@pytest.mark.parametrize("how", ["max-tanh", "mean", "product"])
def test_worked_out_by_hand(how):
    torch.testing.assert_close(fuse([FIRST, SECOND], how), by_hand(how))


def test_the_default_is_layer_cams():
    assert torch.equal(fuse([FIRST, SECOND]), fuse([FIRST, SECOND], "max-tanh"))


def test_examples_are_scaled_by_themselves_and_empty_maps_stay_empty():
    both = torch.cat([FIRST, 100 * SECOND, -FIRST.abs()])
    for how in ("max-tanh", "mean", "product"):
        joined = fuse([both, both], how)
        torch.testing.assert_close(joined[:1], fuse([FIRST, FIRST], how))
        torch.testing.assert_close(joined[1:2], fuse([SECOND, SECOND], how))
        assert not joined[2].any()


@pytest.mark.parametrize("how", ["max-tanh", "mean", "product"])
def test_sizes(how):
    large = torch.rand(2, 1, 8, 6)
    small = torch.rand(2, 1, 3, 4)
    assert fuse([small, large], how).shape == (2, 1, 8, 6)
    assert fuse([small, large], how, size=(5, 7)).shape == (2, 1, 5, 7)
    assert fuse([small, large], how, size=9).shape == (2, 1, 9, 9)
    assert fuse([torch.rand(2, 1, 4), torch.rand(2, 1, 8)], how).shape == (2, 1, 8)
    assert fuse([torch.rand(2, 1, 4, 3, 2), torch.rand(2, 1, 2, 2, 2)], how).shape == (
        2,
        1,
        4,
        3,
        2,
    )
    alone = fuse([FIRST], how, size=4)
    scaled = fuse([FIRST], how)
    torch.testing.assert_close(
        alone, F.interpolate(scaled, (4, 4), mode="bilinear", align_corners=False)
    )


@pytest.mark.parametrize(
    ("maps", "kwargs", "message"),
    [
        ([], {}, "got none"),
        ([FIRST, FIRST[0]], {}, r"with the same N and C, got \(1, 1, 2, 2\), \(1, 2, 2\)"),
        ([FIRST, FIRST.repeat(2, 1, 1, 1)], {}, "with the same N and C"),
        ([torch.zeros(2, 3)], {}, r"1 to 3 dimensions of positions.*got \(2, 3\)"),
        ([FIRST, 3], {}, "got int"),
        ([FIRST], {"how": "mena"}, "how='mena': expected one of .*; nearest: 'mean'"),
        ([FIRST], {"size": (1, 2, 3)}, "expected an integer or 2 of them"),
        ([FIRST], {"size": 0}, "size=0: expected an integer of at least 1"),
    ],
)
def test_wrong_arguments_are_named(maps, kwargs, message):
    with pytest.raises(ValueError, match=message):
        fuse(maps, **kwargs)


def test_refine_cam_refuses_what_has_no_product():
    model, x = models.build(models.TupleOutput), models.image_batch()
    with pytest.raises(ValueError, match=r"'split': LayerRefineCam joins layers with one tensor"):
        LayerRefineCam(model, ["split", "block"], base="layer-cam").attribute(x, 1)
    with pytest.raises(ValueError, match="channels of different layers do not correspond"):
        LayerRefineCam(model, "block", base="layer-cam").attribute(x, 1, attr_dim_summation=False)
    with pytest.raises(ValueError, match="base='eigen': expected one of"):
        LayerRefineCam(model, "block", base="eigen")
