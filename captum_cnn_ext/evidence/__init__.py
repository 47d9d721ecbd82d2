"""What a model's weights and structure, and data, say about its layers and units."""

from captum_cnn_ext.evidence.fields.effective_field import EffectiveField, effective_receptive_field
from captum_cnn_ext.evidence.fields.receptive_field import (
    ReceptiveField,
    receptive_field,
    receptive_fields,
)
from captum_cnn_ext.evidence.patches.patch_recheck import Recheck
from captum_cnn_ext.evidence.patches.patch_result import TopPatches
from captum_cnn_ext.evidence.patches.top_patches import top_patches
from captum_cnn_ext.evidence.records.image_records import image_records
from captum_cnn_ext.evidence.records.record_result import ImageRecords
from captum_cnn_ext.evidence.regions import Region, regions
from captum_cnn_ext.evidence.shortcuts import (
    Shortcuts,
    Strategies,
    Strategy,
    Suspect,
    find_shortcuts,
    strategies,
)
from captum_cnn_ext.evidence.similarity.activation_similarity import (
    ActivationSimilarity,
    activation_similarity,
)
from captum_cnn_ext.evidence.similarity.filter_similarity import (
    Family,
    FilterSimilarity,
    filter_similarity,
)
from captum_cnn_ext.evidence.similarity.representation_similarity import linear_cka
from captum_cnn_ext.evidence.similarity.turned_kernels import Turn
from captum_cnn_ext.evidence.structure.layer_rows import LayerRow, LayerTable
from captum_cnn_ext.evidence.structure.layer_table import layer_table
from captum_cnn_ext.evidence.structure.model_graph import (
    ModelGraph,
    model_graph,
    tensorboard_graph,
)

__all__ = [
    "ActivationSimilarity",
    "EffectiveField",
    "Family",
    "FilterSimilarity",
    "ImageRecords",
    "LayerRow",
    "LayerTable",
    "ModelGraph",
    "ReceptiveField",
    "Recheck",
    "Region",
    "Shortcuts",
    "Strategies",
    "Strategy",
    "Suspect",
    "TopPatches",
    "Turn",
    "activation_similarity",
    "effective_receptive_field",
    "filter_similarity",
    "find_shortcuts",
    "image_records",
    "layer_table",
    "linear_cka",
    "model_graph",
    "receptive_field",
    "receptive_fields",
    "regions",
    "strategies",
    "tensorboard_graph",
    "top_patches",
]
