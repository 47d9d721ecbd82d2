"""Attribution classes, named and called as in ``captum.attr``."""

from captum_cnn_ext.attr.class_blindness import class_blindness
from captum_cnn_ext.attr.deconvnet import DeconvNet
from captum_cnn_ext.attr.feature_maps import LayerFeatureMaps
from captum_cnn_ext.attr.gradient_cam import (
    LayerCam,
    LayerGradCamPlusPlus,
    LayerHiResCam,
    LayerLayerCam,
    LayerXGradCam,
)
from captum_cnn_ext.attr.guided_backprop import (
    Deconvolution,
    GuidedBackprop,
    NeuronDeconvolution,
    NeuronGuidedBackprop,
)
from captum_cnn_ext.attr.guided_cam import GuidedCam
from captum_cnn_ext.attr.reconstructions import Reconstructions

__all__ = [
    "DeconvNet",
    "Deconvolution",
    "GuidedBackprop",
    "GuidedCam",
    "LayerCam",
    "LayerFeatureMaps",
    "LayerGradCamPlusPlus",
    "LayerHiResCam",
    "LayerLayerCam",
    "LayerXGradCam",
    "NeuronDeconvolution",
    "NeuronGuidedBackprop",
    "Reconstructions",
    "class_blindness",
]
