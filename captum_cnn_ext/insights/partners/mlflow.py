"""Parts of a result for MLflow: images and metrics by step, words and pages as artifacts."""

from types import ModuleType
from typing import Any

import numpy as np

from captum_cnn_ext.insights.partners.loggable import Loggable


def write(run: Any, tag: str, parts: Loggable, step: int | None) -> None:
    """Log to the active run of the module (or a new one), to a run, or to (client, run id)."""
    if isinstance(run, tuple):
        client, run_id = run
    else:
        import mlflow

        client = mlflow.MlflowClient()
        active = (mlflow.active_run() or mlflow.start_run()) if isinstance(run, ModuleType) else run
        run_id = active.info.run_id
    if parts.picture is not None:
        client.log_image(run_id, np.array(parts.picture), key=tag, step=step or 0)
    for name, value in parts.numbers.items():
        client.log_metric(run_id, f"{tag}/{name}", value, step=step)
    place = tag if step is None else f"{tag}/{step}"
    client.log_text(run_id, parts.words, f"{place}.md")
    if parts.page:
        client.log_text(run_id, parts.page, f"{place}.{parts.ending}")
