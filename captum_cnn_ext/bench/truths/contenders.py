"""Who takes part: every method of the registry at two layers, more of Captum's, and controls.

Occlusion, GuidedBackprop and Deconvolution are there once: ours give the values of Captum's.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from captum.attr import DeepLift, GradientShap, InputXGradient, KernelShap, Lime, NoiseTunnel
from torch import Tensor

from captum_cnn_ext.bench.methods import Method, Subject, function_of
from captum_cnn_ext.methods import CONTROL, LAYER, NO_MAP, known_methods, settings

TRUTH = "the truth"
SEGMENTS = 8  # along each side, for methods that explain segments
SAMPLES = 160  # of segments that are there or not
MIDDLE_LAYER = ", middle layer"
# a hundred steps, or ten passes for every channel; CAM is of the layer that is pooled
LAST_ONLY = ("LayerSSCam", "LayerISCam", "LayerOptiCam", "LayerCam")
LEFT_OUT = ("LayerFeatureAblation",)  # a pass for every value of the layer: hours


def the_truth(subject: Subject, x: Tensor, target: Any) -> Any:
    """What a perfect method gives; only the trial knows it."""
    raise TypeError("the truth is known to trials, not to a method")


def edges(kernels: list[list[list[float]]]) -> Method:
    """A control: the strength of edges, whatever the network."""

    def run(subject: Subject, x: Tensor, target: Any) -> Tensor:
        weight = torch.tensor(kernels, device=x.device, dtype=x.dtype).unsqueeze(1)
        grey = F.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        return F.conv2d(grey, weight).square().sum(1, keepdim=True).sqrt()

    return run


def the_image(subject: Subject, x: Tensor, target: Any) -> Tensor:
    """A control: how far from grey each pixel is."""
    return x.abs().sum(1, keepdim=True)


def segments(x: Tensor) -> Tensor:
    """Squares of the picture by their number, (1, 1, H, W)."""
    rows, columns = (torch.arange(s, device=x.device) * SEGMENTS // s for s in x.shape[2:])
    return (rows[:, None] * SEGMENTS + columns).expand(1, 1, *x.shape[2:])


def _seeded(run: Method) -> Method:
    """With the subject's seed; the caller's random state stays as it is."""

    def seeded(subject: Subject, x: Tensor, target: Any) -> Any:
        import numpy as np

        before = np.random.get_state()  # noqa: NPY002  Captum draws from both
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(subject.seed)
            np.random.seed(subject.seed % 2**32)  # noqa: NPY002
            try:
                return run(subject, x, target)
            finally:
                np.random.set_state(before)  # noqa: NPY002

    return seeded


def _deep_lift(subject: Subject, x: Tensor, target: Any) -> Any:
    return DeepLift(subject.model).attribute(x.requires_grad_(), target=target)


def _gradient_shap(subject: Subject, x: Tensor, target: Any) -> Any:
    black_to_white = torch.linspace(-1, 1, 5, device=x.device).reshape(-1, 1, 1, 1)
    baselines = black_to_white * x.abs().amax() * torch.ones_like(x[:1])
    return GradientShap(subject.model).attribute(x, baselines, n_samples=16, target=target)


def _of_segments(kind: type) -> Method:
    def run(subject: Subject, x: Tensor, target: Any) -> Any:
        with torch.no_grad():
            return kind(subject.model).attribute(
                x,
                target=target,
                feature_mask=segments(x),
                n_samples=SAMPLES,
                perturbations_per_eval=SAMPLES // 2,
            )

    return run


EDGES = {
    "Sobel edges": edges([[[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]]),  # noqa: E501
    "Laplace edges": edges([[[0, 1, 0], [1, -4, 1], [0, 1, 0]]]),
    "the image": the_image,
}  # fmt: skip
CONTROLS = (TRUTH, "random", "gaussian", *EDGES)


def absolute(method: Method) -> Method:
    """The method's magnitudes."""

    def run(subject: Subject, x: Tensor, target: Any) -> Any:
        return method(subject, x, target).abs()

    return run


def _averaged(subject: Subject, x: Tensor, target: Any) -> Any:
    noise = settings.noise(x, subject.seed)
    return NoiseTunnel(InputXGradient(subject.model)).attribute(
        x.requires_grad_(), target=target, **noise
    )


def at_middle(method: Method) -> Method:
    """The method at the subject's middle layer."""

    def run(subject: Subject, x: Tensor, target: Any) -> Any:
        return method(replace(subject, layer=subject.middle, middle=""), x, target)

    return run


MORE: dict[str, Method] = {
    "DeepLift": _deep_lift,
    "GradientShap": _seeded(_gradient_shap),
    "KernelShap, 64 squares": _seeded(_of_segments(KernelShap)),
    "Lime, 64 squares": _seeded(_of_segments(Lime)),
    "abs(InputXGradient)": absolute(function_of(known_methods()["InputXGradient"])),
    "NoiseTunnel(InputXGradient)": _seeded(_averaged),
}


def contenders(adapters: Mapping[str, Method] | None = None) -> dict[str, Method]:
    """Every method by its name in the table, the controls first.

    Args:
        adapters: more methods; one whose function has ``at = "layer"`` comes at both layers.

    Example::

        >>> from captum_cnn_ext.bench.truths import contenders
        >>> list(contenders())[:3], len(contenders()) > 40
        (['the truth', 'random', 'gaussian'], True)
    """
    known = {
        k.name: k for k in known_methods().values() if k.at != NO_MAP and k.name not in LEFT_OUT
    }
    given: dict[str, Method] = {name: function_of(k) for name, k in known.items()}
    given = {**given, **MORE, **(adapters or {})}
    controls = [name for name, k in known.items() if k.origin == CONTROL]
    found: dict[str, Method] = {TRUTH: the_truth}
    found |= {name: given.pop(name) for name in sorted(controls, reverse=True)}
    found |= EDGES
    for name, method in given.items():
        found[name] = method
        if getattr(method, "at", None) == LAYER and name not in LAST_ONLY:
            found[name + MIDDLE_LAYER] = at_middle(method)
    return found
