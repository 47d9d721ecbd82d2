"""Attribution classes, named and called as in ``captum.attr``."""

from captum_cnn_ext.attr.ablation_cam import LayerAblationCam, LayerReciproCam
from captum_cnn_ext.attr.averaged_score_cam import LayerISCam, LayerSSCam
from captum_cnn_ext.attr.feature_maps import LayerFeatureMaps
from captum_cnn_ext.attr.gradient_cam import (
    LayerCam,
    LayerGradCamPlusPlus,
    LayerHiResCam,
    LayerLayerCam,
    LayerXGradCam,
)
from captum_cnn_ext.attr.layer_drop_ins import LayerFeatureAblation, LayerIntegratedGradients
from captum_cnn_ext.attr.opti_cam import LayerOptiCam
from captum_cnn_ext.attr.score_cam import LayerScoreCam
from captum_cnn_ext.attr.tail_forward import TailForward

__all__ = [
    "LayerAblationCam",
    "LayerCam",
    "LayerFeatureAblation",
    "LayerFeatureMaps",
    "LayerGradCamPlusPlus",
    "LayerHiResCam",
    "LayerISCam",
    "LayerIntegratedGradients",
    "LayerLayerCam",
    "LayerOptiCam",
    "LayerReciproCam",
    "LayerSSCam",
    "LayerScoreCam",
    "LayerXGradCam",
    "TailForward",
]
