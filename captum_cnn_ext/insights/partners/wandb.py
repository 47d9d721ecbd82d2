"""Parts of a result for Weights & Biases, all in one call of the run's ``log``."""

import html
from typing import Any

from captum_cnn_ext.insights.partners.loggable import Loggable


def write(run: Any, tag: str, parts: Loggable, step: int | None) -> None:
    """The picture under ``tag``, numbers and page under names below it."""
    import wandb

    page = parts.page or f"<pre>{html.escape(parts.words)}</pre>"
    logged: dict[str, Any] = {f"{tag}/{name}": value for name, value in parts.numbers.items()}
    logged[f"{tag}/page"] = wandb.Html(page, inject=False)
    if parts.picture is not None:
        logged[tag] = wandb.Image(parts.picture)
    run.log(logged, step=step)
