"""Explanations for convolutional networks, as Captum attributions.

Subpackages: ``attr`` (attribution classes), ``targets`` (what is explained, beside classes),
``synthesis`` (images a network wants to see), ``metrics`` (how good an attribution is), ``bench``
(methods compared), ``evidence`` (what weights and data say), ``render`` (tensors to figures),
``insights`` (the audit report), ``models`` (model specs), ``photos`` (pictures from folders).
"""

import importlib
from typing import TYPE_CHECKING, Any

# before Captum imports tqdm, which warns in a notebook without widgets
import captum_cnn_ext._engine.progress  # noqa: F401

if TYPE_CHECKING:
    from captum_cnn_ext.insights import explain as explain

__version__ = "0.1.0"

__all__ = ["__version__", "explain"]

_SUBPACKAGES = (
    *("attr", "bench", "errors", "evidence", "insights", "methods", "metrics", "models", "photos"),
    *("render", "synthesis", "targets", "testing"),
)


def __getattr__(name: str) -> Any:
    """``explain`` and subpackages, loaded when first asked for: the import loads no torch."""
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "explain":
        from captum_cnn_ext.insights import explain

        return explain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
