"""The oracles see a wrong implementation: each mutant makes the comparison fail.

Other libraries' suites stay green with the sign of Grad-CAM flipped; this file holds ours to it.
"""

import models
import pytest
import torch
from oracles import REFERENCES, assert_equals_reference
from test_gradient_cam import test_worked_out_by_hand as by_hand

from captum_cnn_ext.attr import LayerCam, LayerGradCamPlusPlus
from captum_cnn_ext.attr.cams import gradient_base, gradient_cam

FORMULAS = {
    "LayerGradCamPlusPlus": "grad_cam_plus_plus_weights",
    "LayerXGradCam": "x_grad_cam_weights",
    "LayerHiResCam": "hires_cam_weights",
    "LayerLayerCam": "layer_cam_weights",
}


def _pow(_, g, *__):
    return (g.relu() ** 3).sum(2, keepdim=True)


def _cube_inside(a, g, *__):
    """The slip of several libraries: sum(A g^3) for sum(A) g^3."""
    alpha = g**2 / (2 * g**2 + (a * g**3).sum(2, keepdim=True))
    return (alpha * g.relu()).sum(2, keepdim=True)


def _mean_activation(a, g, *__):
    alpha = 1 / (2 + a.mean(2, keepdim=True) * g)
    return (alpha * g.relu()).sum(2, keepdim=True)


def _no_relu(a, g, *__):
    return (g / (2 + a.sum(2, keepdim=True) * g)).sum(2, keepdim=True)


MUTANTS = {
    "LayerGradCamPlusPlus": {
        "torchcam's": _pow,
        "cube inside": _cube_inside,
        "mean for sum": _mean_activation,
        "no relu": _no_relu,
    },
    "LayerXGradCam": {
        "mean for sum": lambda a, g: (g * a).mean(2, keepdim=True) / a.sum(2, keepdim=True),
        "absolute": lambda a, g: (g * a).sum(2, keepdim=True) / a.abs().sum(2, keepdim=True),
        "Grad-CAM's": lambda a, g: g.mean(2, keepdim=True),
    },
    "LayerHiResCam": {
        "Grad-CAM's": lambda a, g: g.mean(2, keepdim=True).expand_as(g),
        "relu added": lambda a, g: g.relu(),
        "max for sum": lambda a, g: g.amax(2, keepdim=True),
    },
    "LayerLayerCam": {"no relu": lambda a, g: g, "absolute": lambda a, g: g.abs()},
}
CASES = [(cls, name) for cls in REFERENCES for name in MUTANTS[cls.__name__]]


def _compare(cls):
    signed = cls is not LayerGradCamPlusPlus
    kind, layer, call = (models.Net, "block", None) if signed else (models.CalledTwice, "relu", 1)
    assert_equals_reference(
        cls, models.build(kind), layer, models.image_batch(), [0, 4, 2], 1e-10, call=call
    )


@pytest.mark.parametrize("cls", REFERENCES, ids=lambda c: c.__name__)
def test_the_right_formula_passes(cls):
    _compare(cls)


@pytest.mark.parametrize(("cls", "mutant"), CASES, ids=lambda v: getattr(v, "__name__", v))
def test_a_wrong_formula_is_seen(cls, mutant, monkeypatch):
    name = FORMULAS[cls.__name__]
    monkeypatch.setattr(gradient_cam, name, MUTANTS[cls.__name__][mutant])
    with pytest.raises(AssertionError, match="not close"):
        _compare(cls)


@pytest.mark.parametrize("cls", REFERENCES, ids=lambda c: c.__name__)
def test_a_wrong_sign_is_seen(cls, monkeypatch):
    right = getattr(gradient_cam, FORMULAS[cls.__name__])
    monkeypatch.setattr(gradient_cam, FORMULAS[cls.__name__], lambda *args: -right(*args))
    with pytest.raises(AssertionError, match="not close"):
        _compare(cls)


@pytest.mark.parametrize("cls", REFERENCES, ids=lambda c: c.__name__)
def test_a_wrong_class_is_seen(cls, monkeypatch):
    monkeypatch.setattr(gradient_base, "select_score", lambda output, target: output[:, 0])
    with pytest.raises(AssertionError, match="not close"):
        _compare(cls)


@pytest.mark.parametrize("cls", REFERENCES, ids=lambda c: c.__name__)
def test_a_maximum_over_channels_is_seen(cls, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "sum", lambda t, *a, **k: t.amax(*a, **k) if a else t)
    with pytest.raises((AssertionError, RuntimeError)):
        _compare(cls)


@pytest.mark.parametrize("factor", [-1.0, 0.5], ids=["sign", "mean for sum"])
def test_a_wrong_cam_is_seen(factor, monkeypatch):
    right = LayerCam._weights
    monkeypatch.setattr(LayerCam, "_weights", lambda *args: factor * right(*args))
    with pytest.raises(AssertionError, match="not close"):
        by_hand(LayerCam)
