"""Images that a network wants to see: activation maximisation, filter galleries, DeepDream.

Four independent things and one loop: objectives (what to maximise), image parameterisations (what
is optimised), ``transforms`` (what the network sees of it), ``regularizers`` (what is held against
it), and :func:`maximize`. ``presets`` are recipes of them.
"""

from captum_cnn_ext.synthesis import presets, regularizers, transforms
from captum_cnn_ext.synthesis.ascent import Synthesis, maximize
from captum_cnn_ext.synthesis.atlas import Atlas, filter_atlas
from captum_cnn_ext.synthesis.callbacks import Best, Plateau, Snapshots, Step
from captum_cnn_ext.synthesis.canvas import standardized
from captum_cnn_ext.synthesis.directions import CosineDirection, Direction
from captum_cnn_ext.synthesis.dream import Dream, deep_dream
from captum_cnn_ext.synthesis.image_networks import Cppn, Generator
from captum_cnn_ext.synthesis.image_objectives import (
    ActivationDifference,
    Alignment,
    Diversity,
    Interpolation,
    Style,
)
from captum_cnn_ext.synthesis.image_params import Fourier, ImageParam, Laplacian, Pixels
from captum_cnn_ext.synthesis.maco import MacoPhase
from captum_cnn_ext.synthesis.objective_algebra import Objective
from captum_cnn_ext.synthesis.recipe import Recipe
from captum_cnn_ext.synthesis.unit_objectives import (
    Channel,
    Custom,
    Layer,
    Neuron,
    Target,
)

__all__ = [
    "ActivationDifference",
    "Alignment",
    "Atlas",
    "Best",
    "Channel",
    "CosineDirection",
    "Cppn",
    "Custom",
    "Direction",
    "Diversity",
    "Dream",
    "Fourier",
    "Generator",
    "ImageParam",
    "Interpolation",
    "Laplacian",
    "Layer",
    "MacoPhase",
    "Neuron",
    "Objective",
    "Pixels",
    "Plateau",
    "Recipe",
    "Snapshots",
    "Step",
    "Style",
    "Synthesis",
    "Target",
    "deep_dream",
    "filter_atlas",
    "maximize",
    "presets",
    "regularizers",
    "standardized",
    "transforms",
]
