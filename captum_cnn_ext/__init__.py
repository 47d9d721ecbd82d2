"""Explanations for convolutional networks, as Captum attributions.

Subpackages: ``attr`` (attribution classes), ``synthesis`` (images a network wants to see),
``metrics`` (how good an attribution is), ``bench`` (methods compared), ``evidence`` (what weights
and data say), ``render`` (tensors to figures), ``insights`` (the audit report), ``models`` (model
specs).
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
