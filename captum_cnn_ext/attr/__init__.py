"""Attribution classes, named and called as in ``captum.attr``."""

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

__all__ = [
    "Deconvolution",
    "GuidedBackprop",
    "LayerCam",
    "LayerFeatureMaps",
    "LayerGradCamPlusPlus",
    "LayerHiResCam",
    "LayerLayerCam",
    "LayerXGradCam",
    "NeuronDeconvolution",
    "NeuronGuidedBackprop",
]
