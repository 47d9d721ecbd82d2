"""Every method by name: the question it answers, what it computes, its cost and its paper."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass

import captum_cnn_ext.attr
from captum_cnn_ext._engine.arguments import ArgumentError, nearest

OURS = "captum-cnn-ext"
CAPTUM = "Captum"
INPUT, LAYER, LAYERS, NO_MAP = "input", "layer", "layers", "no map"


@dataclass(frozen=True)
class KnownMethod:
    """A method as one chooses it.

    ``at`` says what its map for a class is drawn at: the input, one layer, several layers joined;
    or that it gives no map for a class.
    """

    name: str
    at: str
    question: str
    idea: str
    cost: str
    paper: str
    origin: str = OURS


# name -> where, question
_OURS = {
    "LayerCam": (LAYER, "Where did it look, by the classifier's own weights?"),
    "LayerGradCamPlusPlus": (LAYER, "Where did it look, if the object is there several times?"),
    "LayerSmoothGradCamPlusPlus": (LAYER, "Where did it look, averaged over noise?"),
    "LayerXGradCam": (LAYER, "Where did it look, with maps that add up to the score?"),
    "LayerHiResCam": (LAYER, "Where did it look, exactly what counted at each position?"),
    "LayerLayerCam": (LAYER, "Where did it look, in the detail of an early layer?"),
    "LayerFinerCam": (LAYER, "What tells the class from the ones it is confused with?"),
    "LayerShapleyCam": (LAYER, "Where did it look, by second order?"),
    "LayerEigenGradCam": (LAYER, "What is the main direction of gradient times activation?"),
    "LayerRefineCam": (LAYERS, "Where do several layers agree that it looked?"),
    "Occlusion": (INPUT, "What if this window of the photo were not there?"),
    "FullGrad": (INPUT, "Where did it look, through every layer's biases too?"),
    "LayerAblationCam": (LAYER, "What if a channel were gone?"),
    "LayerReciproCam": (LAYER, "What if one position were all there is?"),
    "LayerScoreCam": (LAYER, "What if only a channel's region were shown?"),
    "LayerSSCam": (LAYER, "What if only a channel's region were shown, averaged over noise?"),
    "LayerISCam": (LAYER, "What if only a channel's region were shown, ever more strongly?"),
    "LayerPolyCam": (LAYERS, "Where did it look, refined through layers to a high resolution?"),
    "LayerOptiCam": (LAYER, "Which mixture of channels' regions scores best?"),
    "LayerFeatureAblation": (LAYER, "By how much does the score fall without each feature?"),
    "LayerIntegratedGradients": (LAYER, "What does each feature add on the way from a baseline?"),
    "LayerConductance": (LAYER, "How much of what the photo adds flows through each feature?"),
    "InternalInfluence": (LAYER, "How does the score depend on each feature, on average?"),
    "LayerEigenCam": (LAYER, "What is most prominent in the activations, whatever the class?"),
    "LayerKPCACam": (LAYER, "What is most prominent, by a non-linear kernel?"),
    "LayerFem": (LAYER, "Where are channels unusually active?"),
    "LayerDeepFeatureFactorization": (NO_MAP, "Which few concepts do these images share?"),
    "LayerFeatureMaps": (NO_MAP, "What do the layers see?"),
    "ActivationMaximization": (NO_MAP, "What does this unit or class want to see?"),
    "DeconvNet": (NO_MAP, "Which pattern in the photo drives this unit?"),
    "GuidedBackprop": (INPUT, "Which edges matter, in fine detail?"),
    "Deconvolution": (INPUT, "Which patterns would the score's features be made of?"),
    "NeuronGuidedBackprop": (NO_MAP, "Which edges matter to this neuron?"),
    "NeuronDeconvolution": (NO_MAP, "Which pattern drives this neuron?"),
    "GuidedCam": (NO_MAP, "Which edges matter, where a map of the class is positive?"),
}

_CAPTUMS = [
    KnownMethod(
        "Saliency",
        INPUT,
        "Which input values change the score most?",
        "The absolute gradient of the class score by each input value.",
        "one forward and one backward pass",
        "Simonyan, Vedaldi, Zisserman, *Deep Inside Convolutional Networks: Visualising Image "
        "Classification Models and Saliency Maps*, 2013, arXiv:1312.6034",
        CAPTUM,
    ),
    KnownMethod(
        "InputXGradient",
        INPUT,
        "What does each input value add, to first order?",
        "Input times gradient.",
        "one forward and one backward pass",
        "Shrikumar, Greenside, Shcherbina, Kundaje, *Not Just a Black Box: Learning Important "
        "Features Through Propagating Activation Differences*, 2016, arXiv:1605.01713",
        CAPTUM,
    ),
    KnownMethod(
        "IntegratedGradients",
        INPUT,
        "What does each input value add on the way from black?",
        "Gradients integrated on the way from an input of zeros to the photo.",
        "50 forward and backward passes",
        "Sundararajan, Taly, Yan, *Axiomatic Attribution for Deep Networks*, 2017, "
        "arXiv:1703.01365",
        CAPTUM,
    ),
    KnownMethod(
        "LayerGradCam",
        LAYER,
        "Where did it look?",
        "Feature maps, each weighted by its mean gradient.",
        "one forward and one backward pass",
        "Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, *Grad-CAM: Visual Explanations from "
        "Deep Networks via Gradient-based Localization*, 2017, arXiv:1610.02391",
        CAPTUM,
    ),
    KnownMethod(
        "NoiseTunnel(LayerHiResCam)",
        LAYER,
        "Where did it look, if the photo were a little noisy?",
        "The mean of LayerHiResCam over noisy copies of the input.",
        "8 forward passes, each with a backward pass of the tail",
        "Smilkov, Thorat, Kim, Viegas, Wattenberg, *SmoothGrad: removing noise by adding noise*, "
        "2017, arXiv:1706.03825",
        f"{CAPTUM} around {OURS}",
    ),
]


def known_methods() -> dict[str, KnownMethod]:
    """Every method of this package, and Captum's that go well beside them, by name.

    What ours compute, cost and cite is read from their docstrings.

    Example::

        >>> from captum_cnn_ext.insights import known_methods
        >>> known_methods()["LayerReciproCam"].question
        'What if one position were all there is?'
    """
    ours = [_described(name, at, question) for name, (at, question) in _OURS.items()]
    return {method.name: method for method in (*_CAPTUMS, *ours)}


def find_methods(names: Iterable[str]) -> list[KnownMethod]:
    """The methods of these names; ``gradcam++`` is read as ``LayerGradCamPlusPlus``.

    Raises:
        ArgumentError: there is no such method, it gives no map for a class, or one comes twice.
    """
    known = known_methods()
    readings = {plain(name): method for name, method in known.items()}
    found = []
    for name in names:
        read = plain(name)
        method = known.get(name) or readings.get(read) or readings.get(f"layer{read}")
        if method is None:
            raise ArgumentError(
                f"methods: {name!r} is not a known method{nearest(name, list(known))}"
            )
        if method.at == NO_MAP:
            raise ArgumentError(
                f"methods: {method.name} gives no map for a class; `captum-cnn-ext list-methods` "
                "says which do"
            )
        if method in found:
            raise ArgumentError(f"methods: {method.name} is there twice")
        found.append(method)
    if not found:
        raise ArgumentError("methods: got none, expected at least one name")
    return found


def plain(name: str) -> str:
    """A name as one types it: no case, no blanks, + read as plus."""
    return re.sub(r"[\s_-]", "", name.lower().replace("+", "plus"))


def _described(name: str, at: str, question: str) -> KnownMethod:
    text = inspect.getdoc(getattr(captum_cnn_ext.attr, name)) or ""
    summary = " ".join(text.split("\n\n")[0].split())
    return KnownMethod(
        name, at, question, summary, _stated(text, "Cost"), _stated(text, "Reference")
    )


def _stated(docstring: str, what: str) -> str:
    """The first sentence that a docstring says about its cost, or the whole reference."""
    match = re.search(rf"{what}: (.+?)(?:\n\n|$)", docstring, re.DOTALL)
    text = " ".join(match[1].split()).replace("``", "") if match else ""
    return (re.split(r"\.\s", text)[0] if what == "Cost" else text).rstrip(".")
