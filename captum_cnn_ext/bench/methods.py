"""The methods that are compared, each as one function of a network, its layer, a photo, a class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.methods import LAYERS, KnownMethod, call_of, find_methods


@dataclass(frozen=True)
class Subject:
    """What is explained: a network, the layer that CAMs look at, and a seed.

    ``middle`` is an earlier layer for methods that join several, where there is one.
    """

    model: nn.Module
    layer: str
    seed: int = 0
    middle: str = ""

    __repr__ = brief

    @property
    def module(self) -> nn.Module:
        return self.model.get_submodule(self.layer)


Method = Callable[[Subject, Tensor, Any], Any]


def function_of(known: KnownMethod) -> Method:
    """A known method at the subject's layer, with the settings that it has everywhere."""

    def run(subject: Subject, x: Tensor, target: Any) -> Any:
        joined = known.at == LAYERS and subject.middle
        layers = [subject.middle, subject.layer] if joined else [subject.layer]
        call = call_of(known, subject.model, x, layers, subject.seed)
        return call.attribute(x, target)

    run.at = known.at  # type: ignore[attr-defined]
    return run


class Methods(dict[str, Method]):
    """The methods of the table in benchmarks/; other names are read as `find_methods` does."""

    def __missing__(self, name: str) -> Method:
        (known,) = find_methods([name])
        return function_of(known)


CONTROLS = ("random", "gaussian")
TABLE = (
    *CONTROLS,
    "LayerGradCam",
    "LayerGradCamPlusPlus",
    "LayerXGradCam",
    "LayerHiResCam",
    "LayerLayerCam",
    "LayerFinerCam",
    "LayerEigenCam",
    "LayerEigenGradCam",
    "LayerReciproCam",
    "LayerAblationCam",
    "LayerScoreCam(top_channels=32)",
    "FullGrad",
    "abs(GuidedBackprop)",
    "Saliency",
    "InputXGradient",
    "IntegratedGradients",
    "NoiseTunnel(Saliency)",
    "Occlusion",
)
METHODS = Methods({known.name: function_of(known) for known in find_methods(TABLE)})
