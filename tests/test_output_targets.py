"""Targets that are functions of the output: every class by a literal score, one image at a time."""

import captum.attr
import detectors
import models
import pytest
import test_contract
import torch
from snapshots import nothing_left_behind

from captum_cnn_ext import attr, metrics, synthesis, targets
from captum_cnn_ext._engine.judging.targets import select_score
from captum_cnn_ext.errors import ArgumentError, TargetError

CLASS_ONLY = (attr.LayerCam, attr.LayerFinerCam)
CLASSES = [c for c in test_contract.TARGETED if c not in CLASS_ONLY]
WINDOWS = {"sliding_window_shapes": (2, 2, 2), "strides": (2, 1, 1)}
PIXELS = {
    "Occlusion": lambda m, x, t: attr.Occlusion(m).attribute(x, **WINDOWS, target=t),
    "Rise": lambda m, x, t: attr.Rise(m).attribute(x, target=t, n_samples=8, cells=3),
    "GuidedBackprop": lambda m, x, t: attr.GuidedBackprop(m).attribute(x, t),
    "Deconvolution": lambda m, x, t: attr.Deconvolution(m).attribute(x, t),
    "GuidedCam": lambda m, x, t: attr.GuidedCam(attr.LayerHiResCam(m, "block")).attribute(x, t),
}


def detector():
    return models._seeded(detectors.Spots()).double()


def segmenter():
    return models._seeded(detectors.Areas()).double()


def literal(model, x, kind):
    """The model with the score of its first box, or of its own area of class 1."""
    with torch.no_grad():
        output = model(x)
    if kind == "box":
        found = output[0]
        box, label = found["boxes"][0].tolist(), int(found["labels"][0])
        return detectors.Literal(model, detectors.score_of_box(box, label))
    pixels = (output["out"][0].argmax(0) == 1).nonzero().tolist()
    return detectors.Literal(model, detectors.score_of_area(1, pixels))


KINDS = {"box": (detector, targets.Boxes(0)), "area": (segmenter, targets.Segment(1))}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def run(cls, model, x, target):
    if isinstance(cls, str):
        name = "model.block" if isinstance(model, detectors.Literal) else "block"
        if cls == "GuidedCam":
            return attr.GuidedCam(attr.LayerHiResCam(model, name)).attribute(x, target)
        return PIXELS[cls](model, x, target)
    layer = getattr(model, "model", model).block
    return test_contract.attribute(cls, model, layer, x, target, everywhere=True)


@EVERY_KIND
@pytest.mark.parametrize("cls", [*CLASSES, *PIXELS], ids=lambda c: getattr(c, "__name__", c))
def test_every_class_explains_it(cls, kind):
    make, target = KINDS[kind]
    model, x = make(), models.image_batch()[:2]
    with nothing_left_behind(model, x):
        found = run(cls, model, x, target)
    singles = [run(cls, literal(model, one, kind), one, None) for one in x.split(1)]
    if cls is attr.LayerDeepFeatureFactorization:
        return
    torch.testing.assert_close(found, torch.cat(singles), rtol=1e-7, atol=1e-10)
    assert found.any()


def test_the_boxes_change_under_every_perturbation():
    """Or the test above would not see whether a box is matched."""
    model, x = detector(), models.image_batch()[:1]
    clean, changed = model(x)[0], [model(x * share)[0] for share in (0.0, 0.3, 0.7)]
    first = clean["boxes"][0]
    assert any(len(c["boxes"]) != len(clean["boxes"]) for c in changed)
    assert any(not torch.allclose(c["boxes"][0], first) for c in changed if len(c["boxes"]))
