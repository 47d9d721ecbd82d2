"""One call that logs any result to the run or writer that is at hand."""

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.insights.partners.loggable import loggable

# the packages whose objects are taken, and the module that writes to them
WRITERS = {
    "torch.utils.tensorboard": "tensorboard",
    "tensorboardX": "tensorboard",
    "mlflow": "mlflow",
    "wandb": "wandb",
}


def log_to(
    run_or_writer: Any, result: Any, step: int | None = None, *, tag: str | None = None
) -> None:
    """Log a result: its picture, its numbers, its words and, of an audit, the whole page.

    TensorBoard gets image, scalars and text; MLflow images and metrics by step, and text and page
    as artifacts; Weights & Biases images, numbers and the page as HTML.

    Reference: no formula; the partners' own functions are called, nothing is imported or started.

    Cost: drawing, and one call of the partner for each part; no pass of a model.

    Args:
        run_or_writer: a ``SummaryWriter``; the module ``mlflow`` (its active run, or a new one), a
            run of it, or ``(MlflowClient, run_id)``; a run of ``wandb``, or the module.
        result: what a function of this package returns and a notebook shows, such as `explain`,
            `compare`, `audit`, `audit_dataset`, ``metrics.insertion``; or a dict of such, by name.
        step: the step or epoch that it belongs to.
        tag: under which name; None is the result's kind, such as "Explanation".

    Raises:
        TypeError: another run, writer or result.
        ArgumentError: a step that is no whole number from 0.

    Example::

        >>> import tempfile, torch
        >>> from torch.utils.tensorboard import SummaryWriter
        >>> from captum_cnn_ext.insights import compare, log_to
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU(),
        ...     torch.nn.Flatten(), torch.nn.Linear(72, 2)).eval()
        >>> with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:
        ...     log_to(writer, compare(model, torch.rand(1, 3, 8, 8), ["Saliency"]), step=3)
    """
    step = None if step is None else as_count("step", step, 0)
    write = importlib.import_module(f"{__package__}.{_partner(run_or_writer)}").write
    if isinstance(result, Mapping):
        for name, one in result.items():
            write(run_or_writer, f"{tag}/{name}" if tag else str(name), loggable(one), step)
    else:
        write(run_or_writer, tag or type(result).__name__, loggable(result), step)


def _partner(given: Any) -> str:
    first = given[0] if isinstance(given, tuple) and len(given) == 2 else given
    if isinstance(first, ModuleType):
        names = [first.__name__]
    else:
        names = [kind.__module__ for kind in type(first).__mro__]
    for name in names:
        for package, partner in WRITERS.items():
            if name == package or name.startswith(f"{package}."):
                return partner
    raise TypeError(
        f"run_or_writer: got {type(given).__name__}, expected a writer or a run of "
        f"{', '.join(WRITERS)}"
    )
