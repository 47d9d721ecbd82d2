"""What a model's weights and structure, and data, say about its layers and units."""

from captum_cnn_ext.evidence.layer_rows import LayerRow, LayerTable
from captum_cnn_ext.evidence.structure import layer_table

__all__ = ["LayerRow", "LayerTable", "layer_table"]
