"""What is explained, where that is no class index: a box, an area, a pair, a number, a difference.

Functions from a model's output to one score for each example. Every ``target`` takes them besides
Captum's own forms: attribution classes, metrics, ``synthesis.Target``, ``compare``. Any function
of your own that gives (N,) will do as well.
"""

from captum_cnn_ext.targets.any_class import AnyClass, target_from_text
from captum_cnn_ext.targets.base import Target, target_code
from captum_cnn_ext.targets.boxes import Boxes
from captum_cnn_ext.targets.detr_boxes import DetrBoxes
from captum_cnn_ext.targets.raw_boxes import RawBoxes
from captum_cnn_ext.targets.regression import Regression
from captum_cnn_ext.targets.segment import Segment
from captum_cnn_ext.targets.several import Difference, Several
from captum_cnn_ext.targets.similarity import Similarity

__all__ = [
    "AnyClass",
    "Boxes",
    "DetrBoxes",
    "Difference",
    "RawBoxes",
    "Regression",
    "Segment",
    "Several",
    "Similarity",
    "Target",
    "target_code",
    "target_from_text",
]
