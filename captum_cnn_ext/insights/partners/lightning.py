"""A Lightning callback: maps of the same images at each epoch, and how far they have moved."""

from typing import Any

from torch import Tensor

from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.errors import ArgumentError, needing
from captum_cnn_ext.insights.comparison import compare
from captum_cnn_ext.insights.partners.log_to import log_to
from captum_cnn_ext.metrics import rank_correlation

with needing("LogMaps needs Lightning", "lightning"):
    try:
        from lightning.pytorch.callbacks import Callback
    except ModuleNotFoundError:
        from pytorch_lightning.callbacks import Callback


class LogMaps(Callback):
    """Log the maps of fixed validation images after each validation, and the drift of attention.

    The drift is 1 - Spearman's correlation of a map with the one before, the mean over images: 0
    where attention stays, about 1 where it is elsewhere; without a target the answer moves too.

    Args:
        images: (N, C, H, W), preprocessed as the model's batches.
        layer: a dotted name in the Lightning module; None is the last convolution stage.
        target: the class to explain, or one for each image; None is the most probable one.
        method, tag: one of ``captum-cnn-ext list-methods``; the name to log under.
        every_n_epochs: how often.
    """

    def __init__(self, images: Tensor, layer: str | None = None, *, target: Any = None,
                 method: str = "LayerHiResCam", tag: str = "attention", every_n_epochs: int = 1,
                 ) -> None:  # fmt: skip
        if not isinstance(images, Tensor) or images.ndim != 4:
            got = getattr(images, "shape", type(images).__name__)
            raise ArgumentError(f"images: got {got}, expected one tensor (N, C, H, W)")
        self.images, self.method, self.tag = images.detach().clone(), method, tag
        self._before: Tensor | None = None
        self.explained = {"layers": layer, "target": target}
        self.every_n_epochs = as_count("every_n_epochs", every_n_epochs, 1)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.sanity_checking or trainer.current_epoch % self.every_n_epochs:
            return
        done = compare(pl_module, self.images, [self.method], **self.explained)
        maps = next(iter(done.attributions.values())).flatten(1)
        if self._before is not None:
            same = float(rank_correlation(maps, self._before).mean())
            pl_module.log(f"{self.tag}_drift", 1 - same)
        self._before = maps
        for logger in trainer.loggers if trainer.is_global_zero else ():
            if hasattr(logger, "run_id"):  # MLflow's client serves every run
                log_to((logger.experiment, logger.run_id), done, trainer.global_step, tag=self.tag)
            elif hasattr(logger, "log_table"):  # a step of W&B is a call of its log
                log_to(logger.experiment, done, tag=self.tag)
            elif hasattr(logger.experiment, "add_image"):  # others log numbers alone
                log_to(logger.experiment, done, trainer.global_step, tag=self.tag)
