"""One registry of methods: what each asks and costs, the settings it runs with, its call.

`known_methods` has an entry for each class of ours, Captum's beside them and the controls: one
object of `methods.json` each. `find_methods` reads names as people type them. `call_of` gives a
method for a model, inputs and layers as a `Call`, which runs and prints itself as Python. The
audit, the comparison, the explorer, the benchmark and the command line all take methods from here:
one name is one method with the same settings (`settings.py`) everywhere.
"""

from captum_cnn_ext.methods.call import AT_ONCE, Call, as_maps, call_of, calls_at, joined_name
from captum_cnn_ext.methods.known import (
    CAPTUM,
    CONTROL,
    INPUT,
    LAYER,
    LAYERS,
    NO_MAP,
    OURS,
    KnownMethod,
    find_methods,
    known_methods,
)

__all__ = [
    "AT_ONCE",
    "CAPTUM",
    "CONTROL",
    "INPUT",
    "LAYER",
    "LAYERS",
    "NO_MAP",
    "OURS",
    "Call",
    "KnownMethod",
    "as_maps",
    "call_of",
    "calls_at",
    "find_methods",
    "joined_name",
    "known_methods",
]
