"""A model from a short spec, with the preprocessing and the class names that belong to it."""

from captum_cnn_ext.models.class_names import read_class_names
from captum_cnn_ext.models.loaded import LoadedModel
from captum_cnn_ext.models.loading import load_model

__all__ = ["LoadedModel", "load_model", "read_class_names"]
