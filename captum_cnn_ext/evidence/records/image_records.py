"""What a model says of each image of a labelled data set, and where it looks, in one pass."""

import dataclasses
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader

from captum_cnn_ext._engine.judging.arguments import Layer, find_layer
from captum_cnn_ext._engine.judging.probabilities import Ending
from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence.records.record_job import (
    LARGEST_GRID,
    Columns,
    LabelledImages,
    Layout,
    RecordJob,
    contributions,
)
from captum_cnn_ext.evidence.records.record_result import ImageRecords, joined
from captum_cnn_ext.evidence.streams.image_stream import Preprocess, images_of
from captum_cnn_ext.evidence.streams.stream_job import gathered, job_settings, part_path, processes

PROBED = 16  # images that are looked at before the stream


def image_records(
    model: nn.Module,
    layer: Layer,
    dataset: Any,
    *,
    preprocess: Preprocess | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
    autocast: torch.dtype | None = None,
    on_error: str = "raise",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 50,
    columns: Columns | None = None,
    call: int | None = None,
    reshape_transform: Callable[[Tensor], Tensor] | None = None,
    show_progress: bool = False,
) -> ImageRecords:
    r"""Predictions, maps and channels' contributions of every image of a labelled data set.

    .. math:: M_p = \sum_k g_{kp} A_{kp}, \qquad
        c_k = \sum_p g_{kp} A_{kp} \Big/ \sum_j \Big| \sum_p g_{jp} A_{jp} \Big|

    g is the gradient of the predicted class's score. One pass over the data set; memory is that of
    a batch and of one small image for each class, and rows go to files, 2 (C + K + h w) + 40 bytes
    an image. Batches are numbered and always hold the same images: under ``torchrun`` each process
    takes every world-size-th batch and all return the same result, as long as they see the same
    folder.

    Reference: Draelos, Carin, *Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks*, 2020, arXiv:2011.08891 (the map).

    Cost: one forward pass of each image and one backward pass of what follows the layer.

    Args:
        model: the network, in evaluation mode; gives scores (N, C), or one (N, 1) of two classes.
        layer: a module that gives (N, K, H, W), or its dotted name.
        dataset: a map-style Dataset, list or DataLoader (of which the data set, the batch size and
            the workers are taken, not the order) of (image, label) or (image, label, mask). A mask
            is a picture or an array that is not 0 on the object, or None.
        preprocess: from a sample's image to a tensor (C, H, W). Masks go through it too.
        batch_size, num_workers: how images are read; workers read ahead.
        autocast: a dtype such as ``torch.bfloat16`` to run in mixed precision.
        on_error: what to do with an image that cannot be read, whose label names no class or of
            which the model's output is not finite: "raise" or "skip", which lists it.
        checkpoint: a folder where the rows are kept; a pass that finds its own state there goes
            on from it, with the same result as without the break. None takes a temporary one.
        checkpoint_every: how many batches lie between two states.
        columns: from images (n, C, H, W), maps (n, 1, h, w) and masks (n tensors (H, W) or None),
            all on the CPU, to further numbers (n,) by name.
        call: which call of a layer that runs several times; None is the last.
        reshape_transform: from the layer's tensor to (N, K, H, W), for tokens and channels-last
            layers.
        show_progress: draw a progress bar with images per second.

    Raises:
        ArgumentError: arguments that do not fit; outputs or a layer of another shape; a checkpoint
            of another job; an image that cannot be used, with ``on_error="raise"``.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.evidence import image_records
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(),
        ...     torch.nn.Flatten(), torch.nn.Linear(4 * 36, 3)).eval()
        >>> data = [(torch.rand(1, 8, 8), number % 3) for number in range(10)]
        >>> found = image_records(net, "1", data)
        >>> found.maps.shape, found.contributions.shape, found.counts.tolist()
        ((10, 6, 6), (10, 4), [4, 3, 3])
    """
    module = find_layer(model, layer)
    if isinstance(dataset, DataLoader):
        batch_size, num_workers = dataset.batch_size or batch_size, dataset.num_workers
    images = LabelledImages(images_of(dataset, preprocess).dataset, preprocess)
    shard, group = processes(None)
    settings = job_settings(model, module, images, batch_size, autocast, on_error, call)
    num_workers = as_count("num_workers", num_workers, 0)
    checkpoint_every = as_count("checkpoint_every", checkpoint_every)
    folder, temporary = _folder(checkpoint, group)
    state = None if temporary else part_path(folder / "state.npz", shard)
    job = RecordJob(model, module, images, settings, shard, state, folder, {}, columns)
    job.reshape = reshape_transform
    failure: Exception | None = None
    try:
        job.layout = _layout(job)
        job.begin()
        job.stream(autocast, num_workers, checkpoint_every, show_progress, "images")
    except Exception as error:
        failure = error
    kept = dataclasses.replace(job, model=nn.Identity(), module=nn.Identity(), columns=None)
    kept.images, kept.reshape = LabelledImages([], None), None  # what another process need not get
    parts = gathered(kept, failure, "image_records") if group else [kept]
    try:
        if failure is not None:
            raise failure
        records = joined(parts, folder)
    except BaseException:
        if temporary:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if temporary and shard[0] == 0:
        weakref.finalize(records, shutil.rmtree, folder, ignore_errors=True)
    return records


def _folder(checkpoint: str | os.PathLike[str] | None, group: bool) -> tuple[Path, bool]:
    """Where the rows go, and whether that folder is ours to remove."""
    if checkpoint is not None:
        folder = Path(checkpoint)
        if not folder.parent.is_dir() or (folder.exists() and not folder.is_dir()):
            raise ArgumentError(
                f"checkpoint={folder.name!r}: expected a folder, or a new name in one"
            )
        folder.mkdir(exist_ok=True)
        return folder, False
    made = [tempfile.mkdtemp(prefix="image_records_")] if not group or not _rank() else [""]
    if group:
        distributed.broadcast_object_list(made)
    return Path(made[0]), True


def _rank() -> int:
    return int(distributed.get_rank())


def _layout(job: RecordJob) -> Layout:
    """The form of the rows, from the first image that can be read.

    Whether the model gives probabilities is told by its last operation, of one output also by the
    first 16 images: a probability is never outside [0, 1].
    """
    job.settings["sigmoid"] = True  # logits, until shown otherwise
    outputs: list[Tensor] = []
    layout: Layout = {}
    with job.running(None) as run:
        for number in range(len(job.images)):
            _, image, beside = job.images[number]
            if isinstance(image, str):
                if job.settings["on_error"] == "raise":
                    job.fail(number, image)
                continue
            with Ending() as ending:
                output, activation, gradient = run(image[None])
            outputs.append(output)
            job.settings["sigmoid"] = not ending.gave(output)
            if not layout:
                maps, shares = contributions(
                    activation, gradient, job.reshape, job.settings["layer"]
                )
                layout = _rows(max(output.shape[1], 2), maps, shares)
                if job.columns is not None:
                    found = job.columns(image[None], maps[:, None].cpu(), [beside[1]])
                    layout |= {name: ("<f4", ()) for name in found}
            known = output.shape[1] > 1 or not job.settings["sigmoid"]
            if known or len(outputs) == PROBED:
                break
    if not outputs:
        raise ArgumentError("dataset: no image of it can be read")
    seen = torch.cat(outputs)
    if seen.shape[1] == 1 and len(seen) > 3 and bool(((seen >= 0) & (seen <= 1)).all()):
        job.settings["sigmoid"] = False
    return layout


def _rows(classes: int, maps: Tensor, shares: Tensor) -> Layout:
    """By name the type and the shape of one image's entry."""
    height, width = (min(side, LARGEST_GRID) for side in maps.shape[1:])
    return {
        "images": ("<i8", ()),
        "labels": ("<i4", ()),
        "predictions": ("<i4", ()),
        "confidences": ("<f4", ()),
        "label_probabilities": ("<f4", ()),
        "strengths": ("<f4", ()),
        "probabilities": ("<f2", (classes,)),
        "maps": ("<f2", (height, width)),
        "contributions": ("<f2", (shares.shape[1],)),
    }
