"""Tensors to pictures: filters, feature maps, overlays, panels. Figures only, never a model."""

from captum_cnn_ext.render.attributions import overlay, show_attributions
from captum_cnn_ext.render.cost_quality import show_cost_quality, show_curves
from captum_cnn_ext.render.feature_maps import show_feature_maps
from captum_cnn_ext.render.filters import show_filters
from captum_cnn_ext.render.images import to_rgb

__all__ = [
    "overlay",
    "show_attributions",
    "show_cost_quality",
    "show_curves",
    "show_feature_maps",
    "show_filters",
    "to_rgb",
]
