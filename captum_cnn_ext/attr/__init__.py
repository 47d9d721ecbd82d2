"""Attribution classes, named and called as in ``captum.attr``."""

from captum_cnn_ext.attr.feature_maps import LayerFeatureMaps
from captum_cnn_ext.attr.gradient_cam import (
    LayerCam,
    LayerGradCamPlusPlus,
    LayerHiResCam,
    LayerLayerCam,
    LayerXGradCam,
)

__all__ = [
    "LayerCam",
    "LayerFeatureMaps",
    "LayerGradCamPlusPlus",
    "LayerHiResCam",
    "LayerLayerCam",
    "LayerXGradCam",
]
