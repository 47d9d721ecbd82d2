"""Methods of a layer's activations, and Captum's methods of a layer."""

import references_cam_variants as references
import references_layers as layers
import torch

from captum_cnn_ext.attr import (
    InternalInfluence,
    LayerConductance,
    LayerDeepFeatureFactorization,
    LayerEigenCam,
    LayerFeatureAblation,
    LayerFeatureMaps,
    LayerFem,
    LayerIntegratedGradients,
    LayerKPCACam,
)
from captum_cnn_ext.attr.cams import principal_components
from oracles import Oracle, by_activation, home
from oracles.gradient_cams import centred, replaced, sign

# FEM of a signed layer may be 0 everywhere on so few positions
SCENES = ("net", "functional", "before the residual", "last call")
EVERY = ("net", "residual", "first call", "last call", "list input")
DECOMPOSITION = home(LayerEigenCam)
DROP_INS, PATHS = home(LayerFeatureAblation), home(LayerConductance)
FACTORS = home(LayerDeepFeatureFactorization)
STEPS = 8


def at_layer(reference):
    """Captum's layer methods along a path, in few steps."""

    def found(model, layer, x, targets, call):
        return reference(model, layer, x, targets, call, steps=STEPS)

    return found


def changed_results(owner, change):
    """What the layer's tensors become before they are given back."""
    return (
        owner,
        "captums_form",
        lambda right: lambda tensors, inputs: right(tuple(map(change, tensors)), inputs),
    )


def at_call(owner, name, call):
    """The call that was asked for is not the one that is taken."""
    return owner, name, lambda right: lambda f, layer, at_input, _: right(f, layer, at_input, call)


def first_tail(right):
    return lambda *args, call, **kwargs: right(*args, call=0, **kwargs)


def absent_as_one(right):
    class Wrong(right):
        def attribute(self, *args, baselines, **kwargs):
            return super().attribute(*args, baselines=1, **kwargs)

    return Wrong


def each_alone(right):
    return lambda self, maps: torch.cat([right(self, row[None]) for row in maps])


def backwards(right):
    """From the inputs to the baselines."""

    def wrong(method, points):
        sizes, positions = right(method, points)
        return sizes, positions[::-1]

    return wrong


def equal_steps(method, points):
    return [1 / points] * points, [i / points for i in range(points)]


def from_ones(owner):
    return replaced(owner, "as_baselines", lambda _, xs: tuple(torch.ones_like(x) for x in xs))


ORACLES = [
    Oracle(
        LayerFeatureMaps,
        by_activation(lambda a: a),
        {
            "rectified": changed_results(home(LayerFeatureMaps), torch.relu),
            "the first call always": at_call(home(LayerFeatureMaps), "layer_sites", 0),
        },
        EVERY,
    ),
    Oracle(
        LayerEigenCam,
        by_activation(references.eigen_cam),
        {
            "centred": (DECOMPOSITION, "first_direction", centred),
            "sign": sign(DECOMPOSITION, "first_direction"),
            "sign left to chance": replaced(
                principal_components, "energy_sign", lambda p, m, eps: p.new_ones(1)
            ),
            "last component": replaced(
                DECOMPOSITION,
                "first_direction",
                lambda m: torch.linalg.eigh(m @ m.mT).eigenvectors[..., :1],
            ),
        },
        SCENES,
    ),
    Oracle(
        LayerFem,
        by_activation(references.fem),
        {
            "share of positions": replaced(
                DECOMPOSITION,
                "fem_parts",
                lambda a, d: (
                    a * (a > a.mean(2, True) + d * a.std(2, keepdim=True)).double().mean(2, True)
                ),
            ),
            "sample deviation": replaced(
                DECOMPOSITION,
                "fem_parts",
                lambda a, d: a.mean(2, True) * (a > a.mean(2, True) + 1.9 * a.std(2, keepdim=True)),
            ),
        },
        SCENES,
    ),
    *(
        Oracle(
            LayerKPCACam,
            by_activation(lambda a, kernel=kernel: references.kpca_cam(a, kernel)),
            {
                "another kernel": (
                    DECOMPOSITION,
                    "kernel_projection",
                    lambda right, other=other: lambda a, k, g: right(a, other, g),
                ),
                "sign": sign(DECOMPOSITION, "kernel_projection"),
                **(
                    {
                        "gamma 1": (
                            DECOMPOSITION,
                            "kernel_projection",
                            lambda right: lambda a, k, g: right(a, k, 1.0),
                        )
                    }
                    if kernel != "linear"
                    else {}
                ),
            },
            SCENES,
            options={"kernel": kernel},
            variant=kernel,
        )
        for kernel, other in (("sigmoid", "linear"), ("rbf", "sigmoid"), ("linear", "rbf"))
    ),
    Oracle(
        LayerDeepFeatureFactorization,
        by_activation(lambda a: layers.deep_feature_factorization(a, components=3)),
        {
            "magnitude for positive part": (
                FACTORS, "factors", lambda right: lambda a, *more: right(a.abs(), *more)
            ),
            "positions turned round": (
                FACTORS, "factors", lambda right: lambda a, *more: right(a.flip(-1), *more)
            ),
            "each image alone": (LayerDeepFeatureFactorization, "_parts", each_alone),
        },
        SCENES,
        options={"components": 3},
    ),
    Oracle(
        LayerFeatureAblation,
        layers.feature_ablation,
        {
            "sign": changed_results(DROP_INS, torch.neg),
            "absent is 1": (DROP_INS, "Ablation", absent_as_one),
            "the first call": (DROP_INS, "TailForward", first_tail),
        },
        EVERY,
        arguments={"perturbations_per_eval": 30},
    ),
    Oracle(
        LayerIntegratedGradients,
        at_layer(layers.integrated_gradients),
        {
            "sign": changed_results(DROP_INS, torch.neg),
            "from ones": from_ones(DROP_INS),
            "magnitudes": (
                DROP_INS,
                "_gradients",
                lambda right: lambda *a, **k: tuple(g.abs() for g in right(*a, **k)),
            ),
            "the first call": (DROP_INS, "TailForward", first_tail),
        },
        EVERY,
        arguments={"n_steps": STEPS},
        tolerance=1e-6,  # Captum's step sizes are in single precision
    ),
    Oracle(
        LayerConductance,
        at_layer(layers.conductance),
        {
            "backwards": (PATHS, "quadrature", backwards),
            "equal steps": replaced(PATHS, "quadrature", equal_steps),
            "from ones": from_ones(PATHS),
            "the first call always": at_call(PATHS, "layer_sites", 0),
        },
        EVERY,
        arguments={"n_steps": STEPS},
        tolerance=1e-6,
    ),
    Oracle(
        InternalInfluence,
        at_layer(layers.internal_influence),
        {
            "equal steps": replaced(PATHS, "quadrature", equal_steps),
            "sign": changed_results(PATHS, torch.neg),
            "from ones": from_ones(PATHS),
        },
        EVERY,
        arguments={"n_steps": STEPS},
        tolerance=1e-6,
    ),
]  # fmt: skip
