"""The literal references of score-based maps see a wrong implementation."""

import models
import pytest
import torch
from test_perturbation_cam import CASES, compare
from torch import nn

from captum_cnn_ext.attr import (
    LayerAblationCam,
    LayerReciproCam,
    LayerScoreCam,
)
from captum_cnn_ext.attr.cams import ablation_cam, averaged_score_cam, score_cam
from captum_cnn_ext.attr.cams.perturbation_base import PerturbationCam


def _softmax_over_channels(right):
    return lambda self, maps, weights: right(self, maps, weights.softmax(1))


RECIPRO = ["recipro", "recipro, gaussian"]
MUTANTS = {
    "sign": (
        PerturbationCam,
        "_parts",
        lambda right: lambda *a: -right(*a),
        [case for case in CASES if case not in RECIPRO],
    ),
    "sign of the map": (
        LayerReciproCam,
        "_parts",
        lambda right: lambda *a: -right(*a),
        RECIPRO,
    ),
    "softmax over channels": (
        PerturbationCam,
        "_parts",
        _softmax_over_channels,
        ["ablation", "score", "is", "ss", "opti"],
    ),
    "another class": (
        ablation_cam,
        "select_score",
        lambda right: lambda output, target: output[:, 1],
        ["ablation", "recipro"],
    ),
    "another class's score": (
        score_cam,
        "select_score",
        lambda right: lambda output, target: output[:, 1],
        ["score", "score, logit", "is", "ss"],
    ),
    "no softmax": (
        score_cam.MaskedInputCam,
        "_scale",
        lambda right: lambda self, output: output,
        ["score", "is", "ss"],
    ),
    "divided by y": (
        ablation_cam,
        "ablation_weights",
        lambda right: lambda y, without, signed: right(y, without, not signed),
        ["ablation", "ablation, signed"],
    ),
    "channel halved": (
        LayerAblationCam,
        "_factors",
        lambda right: lambda *a: 0.5 + 0.5 * right(*a),
        ["ablation"],
    ),
    "position left out": (
        LayerReciproCam,
        "_factors",
        lambda right: lambda *a: 1 - right(*a),
        RECIPRO,
    ),
    "not stretched to [0, 1]": (
        score_cam,
        "unit_range",
        lambda right: lambda maps: maps / maps.flatten(2).amax(2)[..., None, None],
        ["score", "score, logit", "is", "ss"],
    ),
    "cumulative strengths": (
        averaged_score_cam.LayerISCam,
        "_vary",
        lambda right: lambda self, masks, channels, part: 2 * right(self, masks, channels, part),
        ["is"],
    ),
    "least noise": (
        averaged_score_cam.LayerSSCam,
        "_vary",
        lambda right: lambda self, masks, channels, part: masks,
        ["ss"],
    ),
}


@pytest.mark.parametrize(
    ("mutant", "case"), [(name, case) for name, m in MUTANTS.items() for case in m[3]]
)
def test_a_wrong_implementation_is_seen(mutant, case, monkeypatch):
    owner, name, wrong, _ = MUTANTS[mutant]
    monkeypatch.setattr(owner, name, wrong(getattr(owner, name)))
    with pytest.raises(AssertionError, match="not close"):
        compare(case)


def test_a_score_for_constant_maps_is_seen(monkeypatch):
    x = torch.zeros(1, 2, 5, 6, dtype=torch.float64)

    def scored(maps, top=None):
        return [torch.arange(maps.shape[1])] * len(maps)

    model = models.build(models.GapLinear)
    x = x[:, :1]
    with torch.no_grad():
        model.conv.bias = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert not LayerScoreCam(model, "relu").attribute(x, 0).any()
    monkeypatch.setattr(score_cam, "varying_channels", scored)
    assert LayerScoreCam(model, "relu").attribute(x, 0).any()
