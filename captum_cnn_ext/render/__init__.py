"""Tensors to pictures: filters, feature maps, overlays, panels. Figures only, never a model."""

from captum_cnn_ext.render.attributions import overlay, overlay_pixels, show_attributions
from captum_cnn_ext.render.cost_quality import show_cost_quality, show_curves
from captum_cnn_ext.render.drawing.images import outlined, to_rgb
from captum_cnn_ext.render.feature_maps import show_feature_maps
from captum_cnn_ext.render.filter_families import show_filter_families
from captum_cnn_ext.render.filters import show_filters
from captum_cnn_ext.render.patches import show_patches
from captum_cnn_ext.render.receptive_fields import show_receptive_fields
from captum_cnn_ext.render.reconstructions import show_reconstructions
from captum_cnn_ext.render.score_table import show_score_table
from captum_cnn_ext.render.signals import show_signals
from captum_cnn_ext.render.synthesis import save_film, show_images
from captum_cnn_ext.render.volumes import show_volumes

__all__ = [
    "outlined",
    "overlay",
    "overlay_pixels",
    "save_film",
    "show_attributions",
    "show_cost_quality",
    "show_curves",
    "show_feature_maps",
    "show_filter_families",
    "show_filters",
    "show_images",
    "show_patches",
    "show_receptive_fields",
    "show_reconstructions",
    "show_score_table",
    "show_signals",
    "show_volumes",
    "to_rgb",
]
