"""Attributions in pixels: rules for rectifiers, occlusion, biases, images that are optimised."""

from functools import partial

import references
import references_cam_variants as cam_variants
import references_deconvnet
import references_layers
import torch
from references_occlusion import occlusion
from torch import Tensor

from captum_cnn_ext import synthesis
from captum_cnn_ext._engine.backward import rules
from captum_cnn_ext.attr import (
    ActivationMaximization,
    DeconvNet,
    Deconvolution,
    FullGrad,
    GuidedBackprop,
    GuidedCam,
    LayerHiResCam,
    NeuronDeconvolution,
    NeuronGuidedBackprop,
    Occlusion,
)
from captum_cnn_ext.attr.pixels.sliding_windows import Grid
from oracles import Oracle, home
from oracles.gradient_cams import replaced

RECTIFIERS = ("FunctionalRelu", "PreActivation", "InPlaceOnView", "net", "last call", "Relu6")
OTHER = {"guided": "deconvnet", "deconvnet": "guided"}


def wrong_rules(rule):
    found = {
        "another rule": lambda right: lambda _, *a: right(OTHER[rule], *a),
        "no relu": lambda right: lambda _, s, h, g, out, rises: g if rule == "deconvnet" else out,
        "sign": lambda right: lambda *a: -right(*a),
    }
    return {what: (rules, "rectified", wrong) for what, wrong in found.items()}


def of_a_class(rule):
    def reference(model, layer, x, targets, call):
        rows = range(len(x))
        return references_deconvnet.attribution(model, x, rule, lambda y: y[rows, targets])

    return reference


NEURON = (1, 2, 3)
ANOTHER_NEURON = (
    home(NeuronDeconvolution),
    "select_neuron",
    lambda right: lambda tensors, selector, **k: right(tensors, (2, 2, 3), **k),
)


def of_a_neuron(rule):
    """Through the whole network, whose output is not used."""

    def reference(model, layer, x, targets, call):
        seen = []
        handle = layer.register_forward_hook(lambda _, __, out: seen.append(out.clone()))

        def select(_):
            return seen[call][(slice(None), *NEURON)]

        found = references_deconvnet.attribution(model, x, rule, select)
        handle.remove()
        return found

    return reference


def guided_cam(model, layer, x, targets, call):
    a, g = references.activation_and_gradient(model, layer, x, targets, call=call)
    pixels = of_a_class("guided")(model, layer, x, targets, call)
    return references_layers.guided_cam(references.hires_cam(a, g), pixels)


def deconvnet(model, layer, x, targets, call, seed):
    channels = [
        references_deconvnet.deconvnet_of_a_stack(model, x, channel, seed) for channel in CHANNELS
    ]
    return torch.stack(channels, 1)


CHANNELS = [1, 2]
WINDOW = {"sliding_window_shapes": (2, 2, 2), "strides": (2, 1, 2)}


def occluded(model, layer, x, targets, call):
    def score(x):
        with torch.no_grad():
            return model(x.clone())[range(len(x)), targets]

    return occlusion(score, (x,), 0, *WINDOW.values(), 0)


def full_grad(model, layer, x, targets, call):
    return cam_variants.full_grad(model, x, targets)


def per_channel(term):
    """The slip of another library: a channel without influence weighs as much as the strongest."""
    a = term.abs().flatten(2)
    a = a - a.amin(2, keepdim=True)
    return (a / a.amax(2, keepdim=True).clamp(min=1e-30)).reshape(term.shape)


MEAN, STD, RATE = [0.4, 0.5], [0.2, 0.3], 1e-3


def all_units(a: Tensor) -> Tensor:  # one unit may be dead
    return a.flatten(1).sum(1)


def ascent(model, layer, x, targets, call):
    mean, std = (torch.tensor(v).double().reshape(1, 2, 1, 1) for v in (MEAN, STD))

    def score(image):
        seen = []
        handle = layer.register_forward_hook(lambda _, __, out: seen.append(out.clone()))
        model((image - mean) / std)
        handle.remove()
        return seen[call].sum()

    return (references_layers.ascent(score, x * std + mean, 3, RATE) - mean) / std


def descent(right):
    return lambda f, objective, *args, **kwargs: right(f, -1 * objective, *args, **kwargs)


ORACLES = [
    *(
        Oracle(cls, of_a_class(rule), wrong_rules(rule), RECTIFIERS)
        for cls, rule in ((Deconvolution, "deconvnet"), (GuidedBackprop, "guided"))
    ),
    *(
        Oracle(
            cls,
            of_a_neuron(rule),
            wrong_rules(rule) | {"another neuron": ANOTHER_NEURON},
            RECTIFIERS,
            arguments={"neuron_selector": NEURON},
        )
        for cls, rule in ((NeuronDeconvolution, "deconvnet"), (NeuronGuidedBackprop, "guided"))
    ),
    Oracle(
        GuidedCam,
        guided_cam,
        {
            "the other factor's rule": wrong_rules("guided")["another rule"],
            "negative evidence kept": (
                home(GuidedCam),
                "guided_map",
                lambda right: lambda cam, *a: right(cam, *a) - right(-cam, *a),
            ),
            "smoothly upsampled": (
                home(GuidedCam),
                "guided_map",
                lambda right: lambda cam, pixels, _: right(cam, pixels, "bilinear"),
            ),
        },
        ("pyramid", "net", "last call"),
        make=lambda model, layer: GuidedCam(LayerHiResCam(model, layer)),
    ),
    *(
        Oracle(
            DeconvNet,
            partial(deconvnet, seed=seed),
            {
                "another rule": wrong_rules("deconvnet")["another rule"],
                "sign": wrong_rules("deconvnet")["sign"],
                "seed of one": (
                    home(DeconvNet),
                    "seeded_units",
                    lambda right: lambda a, c, s: right(torch.ones_like(a) * (a > 0), c, s),
                ),
            },
            ("like AlexNet", "like VGG"),
            arguments={"channels": CHANNELS, "seed": seed},
            variant=seed,
        )
        for seed in ("max", "map")
    ),
    Oracle(
        Occlusion,
        occluded,
        {
            "sign": (Grid, "spread", lambda right: lambda *a: -right(*a)),
            "a sum for the mean": (
                Grid,
                "_membership",
                lambda right: lambda *a: [(m > 0).to(m) for m in right(*a)],
            ),
            "every step": (
                home(Occlusion),
                "grids",
                lambda right: lambda xs, windows, _: right(xs, windows, 1),
            ),
            "absent is 1": replaced(
                home(Occlusion), "as_baselines", lambda _, xs: tuple(map(torch.ones_like, xs))
            ),
        },
        ("net", "residual", "last call"),
        arguments=WINDOW,
    ),
    Oracle(
        FullGrad,
        full_grad,
        {
            "per channel": replaced(home(FullGrad), "normalised_magnitude", per_channel),
            "no absolute value": replaced(
                home(FullGrad), "normalised_magnitude", lambda term: term / term.abs().amax()
            ),
            "batch norm's parameter for its bias": replaced(
                home(FullGrad), "_bias", lambda module, name: getattr(module, "bias", None)
            ),
        },
        ("net", "residual", "last call"),
    ),
    Oracle(
        ActivationMaximization,
        ascent,
        {
            "descent": (home(ActivationMaximization), "maximize", descent),
            "another call": (
                home(ActivationMaximization),
                "Place",
                lambda right: lambda layer, at_input, _: right(layer, at_input, 0),
            ),
            "normalisation forgotten": (
                home(ActivationMaximization),
                "_columns",
                lambda right: lambda name, values, like: right(name, None, like),
            ),
        },
        ("net", "first call", "last call"),
        tolerance=1e-6,  # the image that is optimised is in single precision
        arguments={
            "neuron_selector": all_units,
            "target": None,  # instead of the neuron
            "mean": MEAN,
            "std": STD,
            "steps": 3,
            "optimizer": partial(torch.optim.SGD, lr=RATE),
            "transforms": [],
            "parameterization": partial(synthesis.Pixels, clip=False),
        },
    ),
]
