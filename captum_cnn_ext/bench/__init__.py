"""Methods x images on one network: what each map costs and what it is worth."""

from captum_cnn_ext.bench.methods import METHODS, Subject
from captum_cnn_ext.bench.results import Results
from captum_cnn_ext.bench.run import Settings, run
from captum_cnn_ext.bench.table import draw, markdown, summarize
from captum_cnn_ext.bench.variants import variants

__all__ = [
    "METHODS",
    "Results",
    "Settings",
    "Subject",
    "draw",
    "markdown",
    "run",
    "summarize",
    "variants",
]
