"""CAMs from scores of changed maps and masked inputs."""

import references_scores as references
import torch

from captum_cnn_ext._engine.judging.probabilities import Scale
from captum_cnn_ext.attr import (
    LayerAblationCam,
    LayerISCam,
    LayerOptiCam,
    LayerPolyCam,
    LayerReciproCam,
    LayerScoreCam,
    LayerSSCam,
)
from captum_cnn_ext.attr.cams.perturbation_base import PerturbationCam
from oracles import Oracle, home
from oracles.gradient_cams import replaced, sign

SCENES = ("net", "residual", "last call", "list input", "first layer")
ABLATION, SCORE, POLY = home(LayerAblationCam), home(LayerScoreCam), home(LayerPolyCam)
SCALE = home(Scale)
ANOTHER_CLASS = (ABLATION, "select_score", lambda right: lambda output, target: output[:, 1])
ANOTHER_SCORE = (SCALE, "select_score", lambda right: lambda output, target: output[:, 1])
CHANNELS = (
    PerturbationCam,
    "_parts",
    lambda right: lambda self, maps, weights: right(self, maps, weights.softmax(1)),
)
SIGN = sign(PerturbationCam, "_parts")
NO_SOFTMAX = replaced(SCALE, "as_probabilities", lambda scores, given: scores)
NOT_STRETCHED = replaced(
    SCORE, "unit_range", lambda maps: maps / maps.flatten(2).amax(2)[..., None, None]
)
MASKED = {
    "sign": SIGN,
    "softmax over channels": CHANNELS,
    "another class's score": ANOTHER_SCORE,
    "no softmax": NO_SOFTMAX,
    "not stretched to [0, 1]": NOT_STRETCHED,
}


def last_call(reference, **options):
    """These references replace a layer's last call."""

    def found(model, layer, x, targets, call):
        return reference(model, layer, x, targets, **options)

    return found


def noise(k, samples=3, stdev=2.0, size=(1, 5, 6)):
    """What LayerSSCam promises: a function of the seed, the channel and the sample only, not of the
    precision, so drawn in float32."""
    rows = [torch.Generator().manual_seed(1_000_003 * k + i) for i in range(samples)]
    return [torch.empty(size).normal_(0, stdev, generator=g).double() for g in rows]


def poly(variant, mutants, tolerance=1e-10):
    return Oracle(
        LayerPolyCam,
        last_call(references.poly_cam, variant=variant),
        mutants,
        ("three layers", "three layers, strong") if variant != "-" else ("three layers, strong",),
        options={"variant": variant},
        tolerance=tolerance,
        variant=variant,
    )


ORACLES = [
    Oracle(
        LayerAblationCam,
        last_call(references.ablation_cam),
        {
            "sign": SIGN,
            "softmax over channels": CHANNELS,
            "another class": ANOTHER_CLASS,
            "divided by y": (
                ABLATION,
                "ablation_weights",
                lambda right: lambda y, without, signed: right(y, without, not signed),
            ),
            "channel halved": (
                LayerAblationCam,
                "_factors",
                lambda right: lambda *a: 0.5 + 0.5 * right(*a),
            ),
        },
        SCENES,
    ),
    Oracle(
        LayerAblationCam,
        last_call(references.ablation_cam, signed=True),
        {
            "sign": SIGN,
            "divided by |y|": (
                ABLATION,
                "ablation_weights",
                lambda right: lambda y, without, signed: right(y, without, not signed),
            ),
        },
        SCENES,
        options={"signed": True},
        variant="signed",
    ),
    *(
        Oracle(
            LayerReciproCam,
            last_call(references.recipro_cam, gaussian=gaussian),
            {
                "sign of the map": sign(LayerReciproCam, "_parts"),
                "another class": ANOTHER_CLASS,
                "position left out": (
                    LayerReciproCam,
                    "_factors",
                    lambda right: lambda *a: 1 - right(*a),
                ),
            },
            SCENES,
            options={"gaussian": gaussian},
            variant="gaussian" if gaussian else "",
        )
        for gaussian in (False, True)
    ),
    Oracle(LayerScoreCam, last_call(references.score_cam), MASKED, SCENES),
    Oracle(
        LayerScoreCam,
        last_call(references.score_cam, score="logit"),
        {
            "sign": SIGN,
            "another class's score": ANOTHER_SCORE,
            "not stretched to [0, 1]": NOT_STRETCHED,
        },
        SCENES,
        options={"score": "logit"},
        variant="logit",
    ),
    Oracle(
        LayerISCam,
        last_call(references.is_cam, samples=4),
        MASKED
        | {
            "cumulative strengths": (
                LayerISCam,
                "_vary",
                lambda right: lambda self, masks, *a: 2 * right(self, masks, *a),
            )
        },
        SCENES,
        options={"samples": 4},
    ),
    Oracle(
        LayerSSCam,
        last_call(references.ss_cam, noise=noise),
        MASKED | {"no noise": replaced(LayerSSCam, "_vary", lambda self, masks, *_: masks)},
        SCENES,
        options={"samples": 3},
    ),
    Oracle(
        LayerOptiCam,
        last_call(references.opti_cam, steps=6),
        {
            "sign": SIGN,
            "softmax over channels": CHANNELS,
            "another rate": (
                home(LayerOptiCam),
                "as_number",
                lambda right: lambda *a, **k: 2 * right(*a, **k),
            ),
            "channels not joined": replaced(
                home(LayerOptiCam),
                "combined",
                lambda logits, maps: (logits[..., None, None] * maps).sum(1, keepdim=True),
            ),
        },
        SCENES,
        options={"steps": 6},
    ),
    poly(
        "+-",
        {
            "no local normalisation": replaced(
                POLY, "local_normalisation", lambda maps, size: maps
            ),
            "normalised by the mean": replaced(
                POLY,
                "local_normalisation",
                lambda maps, size: maps / maps.mean((2, 3), keepdim=True),
            ),
            "a sum for the product": replaced(
                POLY,
                "refined",
                lambda maps: sum(POLY.resized(m, maps[-1].shape[2:]) for m in maps),
            ),
            "only the gain": replaced(
                LayerPolyCam, "_weigh", lambda self, scores, unmasked: scores[:, 0]
            ),
            "masks exchanged": replaced(
                LayerPolyCam,
                "_weigh",
                lambda self, scores, unmasked: (scores[:, 1] + unmasked - scores[:, 0]).relu(),
            ),
        },
    ),
    poly(
        "-",
        {
            "no relu": replaced(
                LayerPolyCam, "_weigh", lambda self, scores, unmasked: unmasked - scores[:, -1]
            )
        },
    ),
    poly("+", {"loss": replaced(LayerPolyCam, "_weigh", lambda self, s, whole: whole - s[:, 0])}),
]
