"""A gallery of a layer's channels: what each wants to see, the most excited first."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer, find_layer, layer_name, root_module
from captum_cnn_ext._engine.judging.input_sizes import input_shape
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.running.batching import in_chunks
from captum_cnn_ext._engine.running.layer_sites import layer_sites
from captum_cnn_ext._engine.running.repeated_passes import graph_passes, graphs_at_once
from captum_cnn_ext._notebook import drawn_by
from captum_cnn_ext._numbers import as_count, as_count_or_none, as_indices, as_seed
from captum_cnn_ext._renamed import renamed
from captum_cnn_ext.synthesis.ascent import Synthesis, maximize
from captum_cnn_ext.synthesis.images.canvas import canvas_for
from captum_cnn_ext.synthesis.objectives.algebra import dim_of_channels
from captum_cnn_ext.synthesis.objectives.units import Channel
from captum_cnn_ext.synthesis.presets import find_recipe
from captum_cnn_ext.synthesis.recipe import Recipe
from captum_cnn_ext.synthesis.spatial_axes import images_only


@dataclass(frozen=True)
class Atlas:
    """Images of channels, by the value they reached.

    Args:
        images: (K, C, H, W) in [0, 1], the best first.
        channels: (K,), whose they are.
        values: (K,), the channel's mean on the image as it is.
        layer: the layer's name.
        dead: channels that no step moved: their rectifier was off for the start.
    """

    images: Tensor
    channels: Tensor
    values: Tensor
    layer: str
    dead: list[int]

    __repr__ = brief
    _repr_png_ = drawn_by(
        "show_images", lambda done: (done.images, [f"channel {c}" for c in done.channels.tolist()])
    )

    def stitched(self, columns: int | None = None, margin: int = 5) -> Tensor:
        """One picture (C, H', W') of them all, ``margin`` black pixels between.

        Args:
            columns: how many side by side; None for a square.
        """
        return stitched(self.images, columns, margin)


@renamed(batch="internal_batch_size")
def filter_atlas(
    forward_func: Callable[..., Any],
    layer: Layer,
    channels: Sequence[int] | Tensor | None = None,
    best: int | None = 64,
    size: int | Sequence[int] = 128,
    *,
    recipe: str | Recipe = "lucid",
    steps: int | None = 128,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    internal_batch_size: int | None = None,
    channel_dim: int = 1,
    call: int | None = None,
    seed: int = 0,
    additional_forward_args: Any = None,
    show_progress: bool = False,
) -> Atlas:
    """An image for each channel of a layer, made many at once, ranked by what they reached.

    Cost: for each channel ``steps`` forward and backward passes up to the layer, in batches as
    large as pays: on a CPU as long as activations stay small enough for its allocator, on an
    accelerator as far as memory goes.

    Reference: Chollet, *How Convolutional Neural Networks See the World*, 2016, Keras blog.

    Args:
        forward_func: the model, or any function of the images that runs it.
        layer: a module of the model, or its dotted name.
        channels: which; None is all of them.
        best: keep so many; None keeps all.
        size: of the images, as in :func:`maximize`.
        recipe: a preset's name or a :class:`Recipe`; ``"chollet"`` for his own gallery.
        steps: in place of the recipe's; None for those.
        mean, std: the model's normalisation.
        internal_batch_size: optimise at most this many images at once (default: as many as pay).
            The images depend on it a little, through their random numbers.
        channel_dim, call: as in :func:`Channel`.
        seed: for all random numbers.
        additional_forward_args: further arguments of the model.
        show_progress: draw a progress bar over the channels.

    Raises:
        ArgumentError: a layer, a channel or a size that does not fit.

    Example::

        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.synthesis import filter_atlas
        >>> atlas = filter_atlas(resnet18().eval(), "layer1", range(6), best=4, size=32, steps=3)
        >>> atlas.images.shape, atlas.stitched().shape
        (torch.Size([4, 3, 32, 32]), torch.Size([3, 69, 69]))
    """
    best, seed = as_count_or_none("best", best), as_seed("seed", seed)
    chunk = as_count_or_none("internal_batch_size", internal_batch_size)
    _, *shape = input_shape("size", size, root_module(forward_func))
    module = find_layer(forward_func, layer)
    chosen = find_recipe(recipe).overridden(steps=steps)
    count, fitting = _look(
        forward_func, module, shape, chosen, mean, std, channel_dim, call, additional_forward_args
    )
    wanted = list(range(count)) if channels is None else as_indices("channels", channels)

    def run(rows: slice) -> Synthesis:
        return maximize(
            forward_func,
            Channel(module, wanted[rows], channel_dim=channel_dim, call=call),
            shape,
            recipe=chosen,
            mean=mean,
            std=std,
            seed=seed + rows.start,
            additional_forward_args=additional_forward_args,
        )

    name = layer_name(forward_func, module)
    parts = in_chunks(
        run,
        len(wanted),
        chunk or fitting,
        show_progress=show_progress,
        description=name,
    )
    values, images = (torch.cat([getattr(p, what) for p in parts]) for what in ("values", "images"))
    still = torch.cat([(p.history == p.history[0]).all(0) for p in parts]) & (chosen.steps > 1)
    order = values.argsort(descending=True, stable=True)[:best]
    return Atlas(
        images[order],
        torch.tensor(wanted, device=order.device)[order],
        values[order],
        name,
        [c for c, dead in zip(wanted, still.tolist(), strict=True) if dead],
    )


def stitched(images: Tensor, columns: int | None = None, margin: int = 5) -> Tensor:
    """Images (K, C, H, W) as one (C, H', W'), row after row, black between.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis.atlas import stitched
        >>> stitched(torch.ones(3, 1, 4, 4), columns=2, margin=1).shape
        torch.Size([1, 9, 9])
    """
    images_only("stitched", images.shape)
    k, c, h, w = images.shape
    columns, margin = as_count_or_none("columns", columns), as_count("margin", margin, 0)
    columns = columns or math.ceil(math.sqrt(k))
    rows = math.ceil(k / columns)
    page = images.new_zeros(c, rows * (h + margin) - margin, columns * (w + margin) - margin)
    for place, image in enumerate(images):
        top, left = (h + margin) * (place // columns), (w + margin) * (place % columns)
        page[:, top : top + h, left : left + w] = image
    return page


def _look(
    forward_func: Callable[..., Any],
    module: torch.nn.Module,
    size: Sequence[int],
    recipe: Recipe,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    channel_dim: int,
    call: int | None,
    additional_forward_args: Any,
) -> tuple[int, int]:
    """How many channels the layer has, and how many images are worth one pass."""
    with torch.inference_mode(False):
        canvas = canvas_for(
            root_module(forward_func),
            size,
            recipe.parameterization,
            images=1,
            mean=mean,
            std=std,
            alpha=False,
            seed=0,
        )
        sites = layer_sites(forward_func, module, False, call)
        with graph_passes(forward_func, sites, canvas.like, additional_forward_args) as passes:
            shapes: list[torch.Size] = []

            def run() -> None:
                shapes.append(passes(canvas.normalized(canvas.image())).tensors[0][0].shape)

            fitting = graphs_at_once(run, canvas.like.device)
    shape = shapes[0]
    return shape[dim_of_channels(channel_dim, shape, sites[0].name)], fitting
