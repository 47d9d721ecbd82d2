"""Tensors to pictures: filters, feature maps, overlays, panels. Figures only, never a model."""

from captum_cnn_ext.render.attributions import overlay, show_attributions
from captum_cnn_ext.render.feature_maps import show_feature_maps
from captum_cnn_ext.render.filters import show_filters
from captum_cnn_ext.render.images import to_rgb
from captum_cnn_ext.render.synthesis import save_film, show_images

__all__ = [
    "overlay",
    "save_film",
    "show_attributions",
    "show_feature_maps",
    "show_filters",
    "show_images",
    "to_rgb",
]
