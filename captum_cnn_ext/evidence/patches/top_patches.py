"""The image patches that excite each unit most, streamed over a data set of any size."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from captum_cnn_ext._engine.judging.arguments import Layer, find_layer
from captum_cnn_ext._numbers import as_count, as_indices
from captum_cnn_ext.errors import ArgumentError, choose
from captum_cnn_ext.evidence.patches.patch_job import PatchJob
from captum_cnn_ext.evidence.patches.patch_result import TopPatches
from captum_cnn_ext.evidence.streams.image_stream import Preprocess, images_of
from captum_cnn_ext.evidence.streams.stream_job import gathered, job_settings, part_path, processes

UNITS = ("max", "min", "mean")


def top_patches(
    model: nn.Module,
    layer: Layer,
    dataset: Any,
    k: int = 9,
    channels: int | Sequence[int] | Tensor | None = None,
    unit: str = "max",
    *,
    one_per_image: bool = True,
    preprocess: Preprocess | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
    autocast: torch.dtype | None = None,
    on_error: str = "raise",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 50,
    shard: tuple[int, int] | None = None,
    call: int | None = None,
    reshape_transform: Callable[[Tensor], Tensor] | None = None,
    show_progress: bool = False,
) -> TopPatches:
    r"""For each channel of a layer the k units that images excite most, and what they see.

    .. math:: \operatorname{top-}k_{n} \; \max_{p} A_{c}(x_n)_p

    One pass over the data set. Memory is that of a batch and of C k entries, however many images
    there are. Ties go to the lower image number, then to the earlier position, so the result does
    not depend on how the work is divided. Batches are numbered and always hold the same images:
    under ``torchrun`` (an initialised ``torch.distributed`` group) each process takes every
    world-size-th batch, and all return the same merged result; ``shard=(i, n)`` does one part of
    it alone, for `TopPatches.merged`. Equal to the last bit where every process has as many threads
    (``torch.get_num_threads()``): more threads add in another order.

    Reference: Zeiler, Fergus, *Visualizing and Understanding Convolutional Networks*, 2014,
    arXiv:1311.2901 (Fig. 2); Girshick et al., *Rich feature hierarchies*, 2014, arXiv:1311.2524
    (Fig. 4).

    Cost: one forward pass up to the layer for each image, in inference mode.

    Args:
        model: the network, in evaluation mode.
        layer: a module that gives (N, C, H, W) or (N, C), or its dotted name.
        dataset: a map-style Dataset, list or DataLoader (of which the data set, the batch size and
            the workers are taken, not the order), or a folder of pictures. A sample is an image
            (C, H, W), or a tuple that begins with one.
        k: entries for each channel.
        channels: which channels; None is all.
        unit: what of a map counts: "max" its largest value, "min" its smallest (small is strong),
            "mean" the whole map's mean.
        one_per_image: at most one unit of each image for a channel; else every position competes.
        preprocess: from a sample's image to a tensor (C, H, W); pictures in folders need one.
        batch_size, num_workers: how images are read; workers read ahead.
        autocast: a dtype such as ``torch.bfloat16`` to run in mixed precision.
        on_error: what to do with an image that cannot be read or gives NaN: "raise" stops, after
            writing the checkpoint; "skip" goes on and lists it in ``skipped``.
        checkpoint: a file ``.npz`` written every ``checkpoint_every`` batches and at the end. If
            it is there, the job goes on from it, with the same result as without the break.
        shard: (index, count) of a part of the batches.
        call: which call of a layer that runs several times; None is the last.
        reshape_transform: from the layer's tensor to (N, C, H, W), for tokens and channels-last
            layers.
        show_progress: draw a progress bar with images per second.

    Raises:
        ArgumentError: arguments that do not fit; a layer without channels; a checkpoint of another
            job; an image that cannot be read, with ``on_error="raise"``.

    Example:
        >>> import torch
        >>> from captum_cnn_ext.evidence import top_patches
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU()).eval()
        >>> images = torch.rand(100, 1, 16, 16)
        >>> top = top_patches(net, "1", images, k=3)
        >>> patch = top.patches(images, channels=2)[0][0]
        >>> [list(t.shape) for t in (top.values, top.boxes, patch)]
        [[4, 3], [4, 3, 2, 2], [1, 3, 3]]
    """
    choose("unit", unit, UNITS)
    module = find_layer(model, layer)
    if isinstance(dataset, DataLoader):
        batch_size, num_workers = dataset.batch_size or batch_size, dataset.num_workers
    images = images_of(dataset, preprocess)
    k = as_count("k", k)
    num_workers = as_count("num_workers", num_workers, 0)
    checkpoint_every = as_count("checkpoint_every", checkpoint_every)
    part_of, group = processes(shard)
    wanted = None if channels is None else as_indices("channels", channels)
    own = {"k": k, "unit": unit, "channels": wanted, "one_per_image": one_per_image}
    settings = job_settings(model, module, images, batch_size, autocast, on_error, call, **own)
    job = PatchJob(model, module, images, settings, part_of, checkpoint_path(checkpoint, part_of))
    job.reshape = reshape_transform
    failure: Exception | None = None
    part: TopPatches | None = None
    try:
        part = job.run(autocast, num_workers, checkpoint_every, show_progress)
    except Exception as error:
        failure = error
    if group:
        return TopPatches.merged(gathered(part, failure, "top_patches"))
    if failure is not None:
        raise failure
    assert part is not None
    return part


def checkpoint_path(path: str | os.PathLike[str] | None, shard: tuple[int, int]) -> Path | None:
    """Where the checkpoint of a shard is."""
    if path is None:
        return None
    target = Path(path)
    if target.suffix != ".npz":
        raise ArgumentError(f"checkpoint={target.name!r}: expected a file name that ends in .npz")
    if not target.parent.is_dir():
        raise ArgumentError(f"checkpoint: the folder of {target.name!r} does not exist")
    return part_path(target, shard)
