"""CAMs whose weights come from gradients, and CAM."""

from dataclasses import replace

import references
import references_cam_variants as cam_variants
import references_layers

from captum_cnn_ext.attr import (
    LayerCam,
    LayerEigenGradCam,
    LayerFinerCam,
    LayerGradCam,
    LayerGradCamPlusPlus,
    LayerHiResCam,
    LayerLayerCam,
    LayerRefineCam,
    LayerShapleyCam,
    LayerSmoothGradCamPlusPlus,
    LayerXGradCam,
)
from captum_cnn_ext.attr.cams import base, gradient_base
from oracles import Oracle, by_gradient, home

ONE_LAYER = (
    "net", "functional", "first layer", "residual", "before the residual", "first call",
    "last call", "list input", "catches exceptions", "sequence", "volume",
)  # fmt: skip
FORMULAS = home(LayerHiResCam)
RIGHT = FORMULAS.grad_cam_plus_plus_weights
SMOOTH = {"samples": 3, "noise": 0.2, "seed": 4}
FINER = {"gamma": 0.8, "references": 2}


def replaced(owner, name, wrong):
    """A mutant that does not look at what it replaces."""
    return owner, name, lambda right: wrong


def sign(owner, name):
    return owner, name, lambda right: lambda *args: -right(*args)


ANOTHER_CLASS = replaced(gradient_base, "select_score", lambda output, target: output[:, 0])


def maximum_over_channels(right):
    def wrong(self, tensors, request):
        return right(self, tensors, replace(request, summation=False)).amax(1, keepdim=True)

    return wrong


def formula(cls, reference, name, wrong, **more):
    """A row for a formula w(A, g), with the mutants that every formula has."""
    mutants = {what: replaced(FORMULAS, name, each) for what, each in wrong.items()}
    mutants |= {"sign": sign(FORMULAS, name), "another class": ANOTHER_CLASS}
    mutants["maximum over channels"] = (base.ActivationMap, "_map", maximum_over_channels)
    return Oracle(cls, by_gradient(reference), mutants, ONE_LAYER, **more)


def torchcams(_, g, *__):
    return (g.relu() ** 3).sum(2, keepdim=True)


def cube_inside(a, g, *__):
    """The slip of several libraries: sum(A g^3) for sum(A) g^3."""
    alpha = g**2 / (2 * g**2 + (a * g**3).sum(2, keepdim=True))
    return (alpha * g.relu()).sum(2, keepdim=True)


def mean_activation(a, g, *__):
    alpha = 1 / (2 + a.mean(2, keepdim=True) * g)
    return (alpha * g.relu()).sum(2, keepdim=True)


def no_relu(a, g, *__):
    return (g / (2 + a.sum(2, keepdim=True) * g)).sum(2, keepdim=True)


def finer_with_attached_p(output, classes, gamma, references):
    own = output.gather(1, classes[:, None])
    distance = (output - own).abs().scatter(1, classes[:, None], -1)
    others = output.gather(1, distance.argsort(dim=1)[:, 1 : references + 1])
    return (others.softmax(1) * (own - gamma * others)).sum(1)


def finer_of_best_classes(output, classes, gamma, references):
    own = output.gather(1, classes[:, None])
    others = output.topk(references).values
    return (others.detach().softmax(1) * (own - gamma * others)).sum(1)


def centred(right):
    return lambda m: right(m - m.mean(2, keepdim=True))


def smooth(model, layer, x, targets, call):
    return cam_variants.smooth_grad_cam_plus_plus(model, layer, x, targets, call=call, **SMOOTH)


def finer(model, layer, x, targets, call):
    return cam_variants.finer_cam(model, layer, x, targets, call=call, **FINER)


def shapley(model, layer, x, targets, call):
    return cam_variants.shapley_cam(model, layer, x, targets, call=call)


def refined(model, layers, x, targets, call):
    maps = [
        references.layer_cam(*references.activation_and_gradient(model, layer, x, targets))
        for layer in layers
    ]
    return references_layers.refine_cam(maps)


def cam(model, layer, x, targets, call):
    """The layer is the pooling: its input is what the classifier weighs."""
    seen = []
    handle = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    model(x.clone())
    handle.remove()
    return references.cam(seen[call], model.head[2].weight, targets)


VARIANTS = home(LayerFinerCam)
FUSION = home(LayerRefineCam)
MORE = ("net", "functional", "residual", "first call", "last call")
ORACLES = [
    formula(
        LayerGradCam,
        references.grad_cam,
        "grad_cam_weights",
        {
            "sum for mean": lambda a, g: g.sum(2, keepdim=True),
            "relu of the gradient": lambda a, g: g.relu().mean(2, keepdim=True),
            "HiResCAM's": lambda a, g: g,
        },
    ),
    formula(
        LayerGradCamPlusPlus,
        references.grad_cam_plus_plus,
        "grad_cam_plus_plus_weights",
        {
            "torchcam's": torchcams,
            "cube inside": cube_inside,
            "mean for sum": mean_activation,
            "no relu": no_relu,
        },
    ),
    formula(
        LayerGradCamPlusPlus,
        lambda a, g: references.grad_cam_plus_plus(a, g, normalize_alphas=True),
        "grad_cam_plus_plus_weights",
        {"not normalised": lambda a, g, _: RIGHT(a, g)},
        options={"normalize_alphas": True},
        variant="normalised",
    ),
    formula(
        LayerXGradCam,
        references.x_grad_cam,
        "x_grad_cam_weights",
        {
            "mean for sum": lambda a, g: (g * a).mean(2, keepdim=True) / a.sum(2, keepdim=True),
            "absolute": lambda a, g: (g * a).sum(2, keepdim=True) / a.abs().sum(2, keepdim=True),
            "Grad-CAM's": lambda a, g: g.mean(2, keepdim=True),
        },
    ),
    formula(
        LayerHiResCam,
        references.hires_cam,
        "hires_cam_weights",
        {
            "Grad-CAM's": lambda a, g: g.mean(2, keepdim=True).expand_as(g),
            "relu added": lambda a, g: g.relu(),
            "max for sum": lambda a, g: g.amax(2, keepdim=True),
        },
    ),
    formula(
        LayerLayerCam,
        references.layer_cam,
        "layer_cam_weights",
        {"no relu": lambda a, g: g, "absolute": lambda a, g: g.abs()},
    ),
    Oracle(
        LayerCam,
        cam,
        {
            "sign": sign(LayerCam, "_weights"),
            "mean for sum": (LayerCam, "_weights", lambda r: lambda *a: 0.5 * r(*a)),
            "another class": ANOTHER_CLASS,
        },
        ("pooled", "pooled, residual"),
        arguments={"attribute_to_layer_input": True},
    ),
    Oracle(
        LayerSmoothGradCamPlusPlus,
        smooth,
        {
            "last gradient": replaced(
                VARIANTS,
                "_added",
                lambda left, right: [3 * t for t in right],
            ),
            "no relu": replaced(
                VARIANTS,
                "smooth_grad_cam_plus_plus_weights",
                lambda a, d1, d2, d3: (d2 / (2 * d2 + a.sum(2, True) * d3) * d1).sum(2, True),
            ),
            "powers of the mean": replaced(
                VARIANTS,
                "smooth_grad_cam_plus_plus_weights",
                lambda a, d1, d2, d3: (
                    d1**2 / (2 * d1**2 + a.sum(2, True) * d1**3) * d1.relu()
                ).sum(2, True),
            ),
            "another class": ANOTHER_CLASS,
        },
        MORE,
        options=SMOOTH,
    ),
    Oracle(
        LayerFinerCam,
        finer,
        {
            "p not held constant": replaced(VARIANTS, "finer_score", finer_with_attached_p),
            "best instead of similar": replaced(VARIANTS, "finer_score", finer_of_best_classes),
        },
        MORE,
        options=FINER,
    ),
    Oracle(
        LayerShapleyCam,
        shapley,
        {
            "whole second order": replaced(
                VARIANTS, "shapley_cam_weights", lambda g, h: (g - h).mean(2, keepdim=True)
            ),
            "Grad-CAM": replaced(
                VARIANTS, "shapley_cam_weights", lambda g, h: g.mean(2, keepdim=True)
            ),
        },
        MORE,
    ),
    Oracle(
        LayerEigenGradCam,
        by_gradient(cam_variants.eigen_cam),
        {
            "centred": (VARIANTS, "first_direction", centred),
            "sign": sign(VARIANTS, "first_direction"),
        },
        MORE,
    ),
    Oracle(
        LayerRefineCam,
        refined,
        {
            "raw": replaced(FUSION, "_scaled", lambda m, how: m.relu()),
            "no relu": replaced(FUSION, "_scaled", lambda m, how: m / m.abs().amax()),
            "over the batch": replaced(
                FUSION, "_scaled", lambda m, how: m.relu() / m.relu().amax().clamp(min=1e-12)
            ),
            "mean for product": (
                FUSION, "fuse", lambda right: lambda maps, how, size: right(maps, "mean", size)
            ),
        },
        ("three layers",),
        options={"base": "layer-cam"},
    ),
]  # fmt: skip
