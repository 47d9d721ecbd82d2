"""A class that fills in two methods is a whole attribution: the rest is the driver's."""

import models
import pytest
import torch

from captum_cnn_ext import attr
from captum_cnn_ext.attr.cams.base import ActivationMap, JoinedLayers

CAMS = [
    cls
    for name in attr.__all__
    if isinstance(cls := getattr(attr, name), type) and issubclass(cls, ActivationMap)
]


class Squares(ActivationMap):
    """Each channel's part is its square."""

    def _evidence(self, chunk, request):
        return self._bare(chunk, request)

    def _parts(self, activations):
        return activations * activations.abs()


class Differences(JoinedLayers, Squares):
    """The first layer's map less the others'."""

    def _joined(self, maps):
        return maps[0] - sum(maps[1:])


def given(model, x, *names):
    """What the layers give, by hooks."""
    found = []
    for name in names:
        handle = model.get_submodule(name).register_forward_hook(
            lambda *a: found.append(a[2].clone())
        )
        with torch.no_grad():
            model(x)
        handle.remove()
    return found


def test_there_is_one_attribute():
    assert len(CAMS) == 22
    assert {cls.attribute for cls in CAMS} == {ActivationMap.attribute}


@pytest.mark.parametrize("size", [None, 1, 2])
def test_two_methods_are_enough(size):
    model, x = models.build(models.Net), models.image_batch()
    stem, block = given(model, x, "stem", "block")
    assert stem.min() < 0
    how = {"internal_batch_size": size}
    parts = stem * stem.abs()
    one = Squares(model, "stem")
    torch.testing.assert_close(one.attribute(x, **how), parts.sum(1, keepdim=True))
    torch.testing.assert_close(one.attribute(x, attr_dim_summation=False, **how), parts)
    positive = one.attribute(x, relu_attributions=True, **how)
    torch.testing.assert_close(positive, parts.sum(1, keepdim=True).relu())
    (inside,) = one.attribute((x,), **how)
    torch.testing.assert_close(inside, parts.sum(1, keepdim=True))
    several = Squares(model, ["block", "stem", "block"]).attribute(x, **how)
    expected = [(t * t.abs()).sum(1, keepdim=True) for t in (block, stem, block)]
    assert isinstance(several, list)
    torch.testing.assert_close(several, expected)
    joined = Differences(model, ["block", "stem"]).attribute(x, **how)
    torch.testing.assert_close(joined, expected[0] - expected[1])
    turned = one.attribute(x, reshape_transform=lambda t: t.movedim(1, 3), **how)
    torch.testing.assert_close(turned, parts.movedim(1, 3).sum(1, keepdim=True))


def test_what_a_joined_map_has_not_is_refused_by_name():
    cam = Differences(models.build(models.Net), ["stem", "block"])
    with pytest.raises(ValueError, match=r"attr_dim_summation=False: .* Differences has one map"):
        cam.attribute(models.image_batch(), attr_dim_summation=False)
    cam = Differences(models.build(models.Net), ["stem", "head"])
    with pytest.raises(ValueError, match=r"'head': Differences joins layers with one tensor"):
        cam.attribute(models.image_batch())
