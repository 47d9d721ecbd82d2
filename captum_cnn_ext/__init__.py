"""Explanations for convolutional networks, as Captum attributions.

Subpackages: ``attr`` (attribution classes), ``synthesis`` (images a network wants to see),
``metrics`` (how good an attribution is), ``bench`` (methods compared), ``evidence`` (what weights
and data say), ``render`` (tensors to figures), ``insights`` (the audit report), ``models`` (model
specs).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captum_cnn_ext.insights import explain as explain

__version__ = "0.1.0"

__all__ = ["__version__", "explain"]


def __getattr__(name: str) -> Any:
    """``explain``, loaded when it is first asked for: importing the package loads nothing."""
    if name == "explain":
        from captum_cnn_ext.insights import explain

        return explain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
