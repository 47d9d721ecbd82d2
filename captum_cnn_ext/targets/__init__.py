"""What is explained, where that is no class index: a box, a mask, a pair, a number, a difference.

Functions from a model's output to one score for each example. Every ``target`` takes them besides
Captum's own forms: attribution classes, metrics, ``synthesis.Target``, ``compare``. Any function
of your own that gives (N,) will do as well.
"""

from captum_cnn_ext.targets.base import Target
from captum_cnn_ext.targets.boxes import Boxes
from captum_cnn_ext.targets.raw_boxes import RawBoxes
from captum_cnn_ext.targets.segment import Segment

__all__ = ["Boxes", "RawBoxes", "Segment", "Target"]
