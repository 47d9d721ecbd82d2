"""The Python that stands before a figure's own: it loads the model and the audit's inputs.

Every text that came from outside goes into it as a literal (``repr``), so that a hostile name
stays a text here too. `setup_code` goes before the lines of a figure and gives ``model`` and the
audit's inputs ``x``.
"""

from pathlib import Path

from torch import nn

from captum_cnn_ext.models import LoadedModel

RANDOM = "  # untrained: every time with other weights"


def model_code(model: nn.Module | LoadedModel) -> str:
    """The lines that load the audited model; where only its owner can, a line that says so."""
    if not isinstance(model, LoadedModel):
        return f"model = ...  # the audited model, in evaluation mode: {_plain(type(model))}"
    spec, weights = model.name, model.weights
    options = ""
    if spec.startswith(("torchvision:", "timm:")) and weights != "random":
        weights = "DEFAULT" if weights.startswith("timm's ") else weights
        options = f", weights={Path(weights).name!r}"
    elif weights.endswith((".pt", ".pth", ".bin", ".ckpt", ".safetensors")):
        options = f", weights={Path(weights).name!r}"
    elif spec != "demo" and ":" not in spec:
        return f"model = ...  # the audited model, in evaluation mode: {_plain(type(model.model))}"
    return (
        "from captum_cnn_ext.models import load_model\n\n"
        f"model = load_model({spec!r}{options}).model{RANDOM if weights == 'random' else ''}"
    )


def setup_code(model: str, arrays_name: str) -> str:
    """What goes before the lines of a figure: imports, ``model``, the audit's inputs ``x``."""
    return (
        f"import numpy as np\nimport torch\n{model}\n"
        f"arrays = np.load({arrays_name!r})\n"
        "x = torch.from_numpy(arrays['inputs']).to(next(model.parameters()))\n"
    )


def _plain(kind: type) -> str:
    return kind.__name__ if kind.__name__.isidentifier() else "Module"
