"""Attribution classes, named and called as in ``captum.attr``.

A method's class is ``Layer`` and the method's name, as Captum's ``LayerGradCam`` is Grad-CAM. So
``LayerCam`` is CAM (Zhou et al. 2016), and LayerCAM (Jiang et al. 2021) is ``LayerLayerCam``.
"""

from typing import Any

from captum_cnn_ext.attr.cams.ablation_cam import LayerAblationCam, LayerReciproCam
from captum_cnn_ext.attr.cams.averaged_score_cam import LayerISCam, LayerSSCam
from captum_cnn_ext.attr.cams.classifier_cam import LayerCam
from captum_cnn_ext.attr.cams.decomposition_cam import LayerEigenCam, LayerFem, LayerKPCACam
from captum_cnn_ext.attr.cams.factorization import LayerDeepFeatureFactorization
from captum_cnn_ext.attr.cams.fused_layers import LayerRefineCam, fuse
from captum_cnn_ext.attr.cams.gradient_cam import (
    LayerGradCam,
    LayerGradCamPlusPlus,
    LayerHiResCam,
    LayerLayerCam,
    LayerXGradCam,
)
from captum_cnn_ext.attr.cams.gradient_cam_variants import (
    LayerEigenGradCam,
    LayerFinerCam,
    LayerShapleyCam,
    LayerSmoothGradCamPlusPlus,
)
from captum_cnn_ext.attr.cams.opti_cam import LayerOptiCam
from captum_cnn_ext.attr.cams.poly_cam import LayerPolyCam
from captum_cnn_ext.attr.cams.score_cam import LayerScoreCam
from captum_cnn_ext.attr.layers.captum_drop_ins import (
    LayerFeatureAblation,
    LayerIntegratedGradients,
)
from captum_cnn_ext.attr.layers.feature_maps import LayerFeatureMaps
from captum_cnn_ext.attr.layers.layer_outputs import LayerSuggestion
from captum_cnn_ext.attr.layers.path_drop_ins import InternalInfluence, LayerConductance
from captum_cnn_ext.attr.layers.reshape_transform import channels_last_to_map, tokens_to_map
from captum_cnn_ext.attr.layers.suggest_layers import suggest_layers
from captum_cnn_ext.attr.layers.tail_forward import TailForward
from captum_cnn_ext.attr.layers.with_map import WithMap
from captum_cnn_ext.attr.pixels.activation_maximization import ActivationMaximization
from captum_cnn_ext.attr.pixels.class_blindness import class_blindness
from captum_cnn_ext.attr.pixels.d_rise import DRise
from captum_cnn_ext.attr.pixels.deconvnet import DeconvNet
from captum_cnn_ext.attr.pixels.full_grad import FullGrad
from captum_cnn_ext.attr.pixels.guided_backprop import (
    Deconvolution,
    GuidedBackprop,
    NeuronDeconvolution,
    NeuronGuidedBackprop,
)
from captum_cnn_ext.attr.pixels.guided_cam import GuidedCam
from captum_cnn_ext.attr.pixels.occlusion import Occlusion
from captum_cnn_ext.attr.pixels.reconstructions import Reconstructions
from captum_cnn_ext.attr.pixels.rise import Rise

__all__ = [
    "ActivationMaximization",
    "DRise",
    "DeconvNet",
    "Deconvolution",
    "FullGrad",
    "GuidedBackprop",
    "GuidedCam",
    "InternalInfluence",
    "LayerAblationCam",
    "LayerCam",
    "LayerConductance",
    "LayerDeepFeatureFactorization",
    "LayerEigenCam",
    "LayerEigenGradCam",
    "LayerFeatureAblation",
    "LayerFeatureMaps",
    "LayerFem",
    "LayerFinerCam",
    "LayerGradCam",
    "LayerGradCamPlusPlus",
    "LayerHiResCam",
    "LayerISCam",
    "LayerIntegratedGradients",
    "LayerKPCACam",
    "LayerLayerCam",
    "LayerOptiCam",
    "LayerPolyCam",
    "LayerReciproCam",
    "LayerRefineCam",
    "LayerSSCam",
    "LayerScoreCam",
    "LayerShapleyCam",
    "LayerSmoothGradCamPlusPlus",
    "LayerSuggestion",
    "LayerXGradCam",
    "NeuronDeconvolution",
    "NeuronGuidedBackprop",
    "Occlusion",
    "Reconstructions",
    "Rise",
    "TailForward",
    "WithMap",
    "channels_last_to_map",
    "class_blindness",
    "fuse",
    "suggest_layers",
    "tokens_to_map",
]


def __getattr__(name: str) -> Any:
    """Answer other libraries' spellings of a method, such as ``GradCAMPlusPlus``, with ours."""
    ours = {_plain(known): known for known in __all__}
    found = ours.get(_plain(name)) if name[:1].isupper() else None
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    also = ""
    if name.lower() == "layercam":
        found, also = "LayerLayerCam", " (CAM is LayerCam)"
    # not an AttributeError: Python would replace its text in "from ... import ..."
    raise ImportError(f"{__name__} has no {name}: the class is called {found}{also}")


def _plain(name: str) -> str:
    """A method's name without case and without the prefix ``Layer``."""
    return name.replace("++", "PlusPlus").removeprefix("Layer").lower()
