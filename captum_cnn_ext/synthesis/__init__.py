"""Images that a network wants to see: activation maximisation, filter galleries, DeepDream.

Four independent things and one loop: objectives (what to maximise), image parameterisations (what
is optimised), ``transforms`` (what the network sees of it), ``regularizers`` (what is held against
it), and :func:`maximize`. ``presets`` are recipes of them.
"""

from captum_cnn_ext.synthesis import presets, regularizers, transforms
from captum_cnn_ext.synthesis.ascent import Synthesis, maximize
from captum_cnn_ext.synthesis.atlas import Atlas, filter_atlas
from captum_cnn_ext.synthesis.callbacks import Best, Plateau, Snapshots, Step
from captum_cnn_ext.synthesis.dream import Dream, deep_dream
from captum_cnn_ext.synthesis.images.canvas import standardized
from captum_cnn_ext.synthesis.images.generators import Cppn, Generator
from captum_cnn_ext.synthesis.images.maco import MacoPhase
from captum_cnn_ext.synthesis.images.parameterizations import Fourier, ImageParam, Laplacian, Pixels
from captum_cnn_ext.synthesis.objectives.algebra import Objective
from captum_cnn_ext.synthesis.objectives.batch_norm import BatchNormStatistics
from captum_cnn_ext.synthesis.objectives.between_images import (
    ActivationDifference,
    Alignment,
    Diversity,
    Interpolation,
    Style,
)
from captum_cnn_ext.synthesis.objectives.classes import Target
from captum_cnn_ext.synthesis.objectives.directions import CosineDirection, Direction
from captum_cnn_ext.synthesis.objectives.units import (
    Channel,
    Custom,
    Layer,
    Neuron,
)
from captum_cnn_ext.synthesis.recipe import Recipe
from captum_cnn_ext.synthesis.trust import Trust, check

__all__ = [
    "ActivationDifference",
    "Alignment",
    "Atlas",
    "BatchNormStatistics",
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
    "Trust",
    "check",
    "deep_dream",
    "filter_atlas",
    "maximize",
    "presets",
    "regularizers",
    "standardized",
    "transforms",
]
