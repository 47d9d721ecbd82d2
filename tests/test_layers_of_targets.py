"""The suggested layers of a target: those that its score depends on, by gradients and by hand."""

import detectors
import pytest
import torch
from models import _seeded
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext import attr, explain, targets
from captum_cnn_ext.errors import ArgumentError, TargetError
from captum_cnn_ext.insights import compare

SMALL, LARGE = targets.Boxes(0), targets.Boxes(1)
X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def two_levels(**options):
    return _seeded(detectors.TwoLevels(**options)).float().eval()


def names(model, target, x=X[:1]):
    return [layer.name for layer in attr.suggest_layers(model, x, target)]


def test_a_box_gets_the_map_that_it_is_read_off():
    model = two_levels()
    with nothing_left_behind(model, X):
        assert names(model, SMALL) == ["levels.0"]
    assert names(model, LARGE) == ["levels.1"]
    (first, *_) = attr.suggest_layers(model, X[:1], SMALL)
    assert first.shape == (1, 5, 8, 8)
    assert first.reason == (
        "is the last map before the head that the score depends on: 5 channels on 8 x 8 positions"
    )
    for target in (SMALL, LARGE):
        for name in names(model, target):
            assert attr.LayerHiResCam(model, name).attribute(X[:1], target).any()


def test_in_a_pyramid_a_small_box_depends_on_the_coarse_map_too():
    both = targets.Difference(SMALL, LARGE)
    assert names(two_levels(), both) == ["body.fine"]
    assert names(two_levels(pyramid=True), both) == ["body.coarse"]
    assert names(two_levels(pyramid=True), SMALL) == ["levels.0"]


@pytest.mark.parametrize(
    "both",
    [
        targets.Boxes(at=(2, 2)),
        targets.Difference(SMALL, LARGE),
        targets.Several([SMALL, LARGE]),
    ],
    ids=str,
)
def test_of_boxes_of_two_maps_come_the_layers_that_both_depend_on(both):
    assert names(two_levels(), both) == ["body.fine"]


def test_each_input_has_its_own_target():
    model = two_levels()
    assert names(model, [SMALL, LARGE], X) == ["body.fine"]
    assert names(model, LARGE, X)[0] == "levels.1"
    assert names(model, [LARGE], X)[0] == "levels.1"


def test_classes_and_areas():
    model = nn.ModuleDict({"a": nn.Conv2d(3, 4, 3), "b": nn.Conv2d(3, 4, 3)})

    class TwoTasks(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts, self.last = model, nn.Linear(4, 2)

        def forward(self, x):
            pooled = [self.last(part(x).mean((2, 3)))[:, :1] for part in self.parts.values()]
            return torch.cat(pooled, 1)

    tasks = _seeded(TwoTasks()).float().eval()
    assert names(tasks, None) == ["parts.b"]
    with pytest.raises(ArgumentError, match=r"no gradient at any of parts.b"):
        names(tasks, 0)
    assert names(tasks, 1) == ["parts.b"]
    areas = _seeded(detectors.Areas(3)).float().eval()
    assert names(areas, targets.Segment(1, at=(3, 3))) == ["relu"]  # stem's last call is aux's


def test_a_score_without_a_gradient_is_answered():
    class Sure(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = two_levels()

        def forward(self, x):
            (found,) = self.model(x)
            return [{**found, "scores": (1e5 + found["scores"]).sigmoid()}]

    sure = Sure().eval()
    with pytest.raises(ArgumentError, match=r"target=Boxes.box 0.: its score has no gradient"):
        names(sure, SMALL)
    with pytest.raises(TargetError, match="finds 2 such object"):
        names(two_levels(), targets.Boxes(7))
    found = explain(sure, X[0], SMALL, check=False)
    assert not found.attributions.any()
    assert "it is 0 or 1 to within rounding" in found.check
    assert "Occlusion" in found.check


def test_explain_and_compare_take_the_layer_of_the_box():
    model = two_levels()
    assert explain(model, X[0], SMALL, check=False).layer == "levels.0"
    assert explain(model, X[0], LARGE, check=False).layer == "levels.1"
    done = compare(model, X, ["LayerHiResCam"], target=[SMALL, LARGE])
    assert done.places == {"LayerHiResCam": "body.fine"}


def test_an_empty_map_says_which_layer_to_try():
    found = explain(two_levels(), X[0], SMALL, layer="body.coarse")
    assert found.check == (
        "No map: it is 0 everywhere, because the score does not depend on layer body.coarse. "
        "Try layer='levels.0'."
    )
    assert str(found).endswith(found.check)
