"""Captum's methods that go well beside ours, its SmoothGrad around some, and the controls."""

from __future__ import annotations

from typing import Any

from captum_cnn_ext.methods.known import CAPTUM, CONTROL, INPUT, LAYER, OURS, KnownMethod
from captum_cnn_ext.methods.ours import AXIOMATIC, BOTH, GRAD_CAM
from captum_cnn_ext.methods.settings import NOISE_SAMPLES, STEPS, noise, path_steps

SMOOTH_GRAD = (
    "Smilkov, Thorat, Kim, Viegas, Wattenberg, *SmoothGrad: removing noise by adding noise*, 2017, "
    "arXiv:1706.03825"
)
GRADIENT = (
    "Simonyan, Vedaldi, Zisserman, *Deep Inside Convolutional Networks: Visualising Image "
    "Classification Models and Saliency Maps*, 2013, arXiv:1312.6034"
)


def _captums(name: str, at: str, question: str, cost: str, paper: str, **more: Any) -> KnownMethod:
    more = {"origin": CAPTUM, "path": f"captum.attr.{name}", **more}
    return KnownMethod(name, at, question, cost, paper, **more)


def _control(name: str, question: str, about: str, **more: Any) -> KnownMethod:
    path = f"captum_cnn_ext.metrics.{name}_map"
    return KnownMethod(
        name,
        INPUT,
        question,
        "no pass of the network",
        "",
        CONTROL,
        path,
        False,
        about=about,
        **more,
    )


# fmt: off
CAPTUMS = (
    _captums("Saliency", INPUT, "Which input values change the score most?", BOTH, GRADIENT,
        about="The absolute gradient of the class score by each input value."),
    _captums("InputXGradient", INPUT,
        "What does each input value add, to first order?", BOTH,
        "Shrikumar, Greenside, Shcherbina, Kundaje, *Not Just a Black Box: Learning Important "
        "Features Through Propagating Activation Differences*, 2016, arXiv:1605.01713",
        about="Input times gradient."),
    _captums("IntegratedGradients", INPUT,
        "What does each input value add on the way from black?",
        f"{STEPS} forward and backward passes", AXIOMATIC, options=path_steps,
        about="Gradients integrated on the way from an input of zeros to the photo."),
    _captums("LayerGradCam", LAYER, "Where did it look?", BOTH, GRAD_CAM,
        about="Feature maps, each weighted by its mean gradient."),
    _captums("NoiseTunnel(Saliency)", INPUT,
        "Which input values change the score most, if the photo were a little noisy?",
        f"{NOISE_SAMPLES} forward and backward passes", SMOOTH_GRAD,
        path="captum.attr.Saliency", noisy=True, options=noise, also=("SmoothGrad",),
        about="SmoothGrad: the mean of Saliency over noisy copies of the input."),
    _captums("NoiseTunnel(LayerHiResCam)", LAYER,
        "Where did it look, if the photo were a little noisy?",
        f"{NOISE_SAMPLES} forward passes, each with a backward pass of the tail", SMOOTH_GRAD,
        path="captum_cnn_ext.attr.LayerHiResCam", noisy=True, options=noise,
        origin=f"{CAPTUM} around {OURS}",
        about="The mean of LayerHiResCam over noisy copies of the input."),
)
CONTROLS = (
    _control("gaussian", "What is a map worth that only knows that things are in the middle?",
        "A round hill in the middle of the picture."),
    _control("random", "What is a map worth that knows nothing?",
        "Independent random numbers.", options=lambda inputs, seed: {"seed": seed}),
)
