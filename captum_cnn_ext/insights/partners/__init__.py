"""Results where people already look: one module for each partner, loaded when it is asked for.

`log_to` writes to TensorBoard, MLflow and Weights & Biases. `lightning.LogMaps` does so at each
epoch. `fiftyone.image_labels` gives a data set's audit as labels, and `quantus.explain_func` any
method to Quantus.
"""

from captum_cnn_ext.insights.partners.log_to import log_to

__all__ = ["log_to"]
