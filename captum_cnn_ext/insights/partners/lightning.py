"""A Lightning callback: maps of the same images at each epoch, and how far they have moved."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import ArgumentError
from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.errors import install
from captum_cnn_ext.insights.comparison import compare
from captum_cnn_ext.insights.partners.log_to import log_to
from captum_cnn_ext.metrics import rank_correlation

try:
    try:
        from lightning.pytorch.callbacks import Callback
    except ModuleNotFoundError:
        from pytorch_lightning.callbacks import Callback
except ModuleNotFoundError as error:
    raise ImportError(f"LogMaps needs Lightning: {install('lightning')}") from error


class LogMaps(Callback):
    """Log the maps of fixed validation images after each validation, and the drift of attention.

    The drift is 1 - Spearman's correlation of a map with that of the epoch before, the mean over
    images: 0 where attention stays, about 1 where it is anywhere else, and ``nan`` at first.

    Args:
        images: (N, C, H, W), preprocessed as the model's batches.
        layer: a dotted name in the Lightning module; None is the last convolution stage.
        target: the class to explain, one for each image, or None for the most probable one. A
            drift is of attention, and not of the answer, only for fixed classes.
        method: by name, see ``captum-cnn-ext list-methods``.
        tag: the name to log under.
        every_n_epochs: how often.
    """

    def __init__(
        self, images: Tensor, layer: str | None = None, *, target: Any = None,
        method: str = "LayerHiResCam", tag: str = "attention", every_n_epochs: int = 1,
    ) -> None:  # fmt: skip
        if not isinstance(images, Tensor) or images.ndim != 4:
            raise ArgumentError("images: expected one tensor (N, C, H, W)")
        self.images, self.layer, self.target = images.detach().clone(), layer, target
        self.method, self.tag = method, tag
        self._before: Tensor | None = None
        self.every_n_epochs = as_count("every_n_epochs", every_n_epochs, 1)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.sanity_checking or trainer.current_epoch % self.every_n_epochs:
            return
        with torch.inference_mode(False), torch.enable_grad():
            x = self.images.to(pl_module.device)
            done = compare(pl_module, x, [self.method], layers=self.layer, target=self.target)
        (maps,) = (found.flatten(1) for found in done.attributions.values())
        if self._before is not None:
            drift = 1 - rank_correlation(maps, self._before).mean()
            pl_module.log(f"{self.tag}_drift", drift.to(pl_module.device))
        self._before = maps
        for logger in trainer.loggers if trainer.is_global_zero else ():
            run, step = logger.experiment, trainer.global_step
            if hasattr(logger, "run_id"):  # MLflow's client serves every run
                run = (run, logger.run_id)
            elif hasattr(logger, "log_table"):  # a step of W&B is a call of its log
                step = None
            elif not hasattr(run, "add_image"):  # a logger of numbers
                continue
            log_to(run, done, step, tag=self.tag)
