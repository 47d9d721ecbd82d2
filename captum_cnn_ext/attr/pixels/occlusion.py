"""Occlusion with Captum's signature and values, computed where the network can feel the window."""

from typing import Any

import torch
from captum.attr import Occlusion as CaptumOcclusion
from torch import Tensor

from captum_cnn_ext._engine.judging.captum_compat import (
    TargetType,
    format_additional_forward_args,
    log_usage,
)
from captum_cnn_ext._engine.judging.inputs import as_baselines, as_tensors, check_examples
from captum_cnn_ext._engine.judging.output_targets import fixed_target
from captum_cnn_ext._engine.judging.targets import as_target
from captum_cnn_ext._engine.running.forward import copies, inputs_judged_first, run_for
from captum_cnn_ext._numbers import as_count, as_number
from captum_cnn_ext.attr.argument_docs import Documented
from captum_cnn_ext.attr.pixels.sliding_windows import grids
from captum_cnn_ext.attr.pixels.window_losses import WindowLosses
from captum_cnn_ext.errors import ArgumentError


class Occlusion(Documented, CaptumOcclusion):
    r"""What each part of the input is worth: the score lost when a window over it is blanked.

    .. math:: a_p = \frac{1}{|\{W : p \in W\}|} \sum_{W \ni p} f(x) - f(x_{W \to b})

    Captum's ``Occlusion`` with its signature and values, faster. Where a signal, an image or a
    volume (N, C, ...) is occluded before an ordinary network, only what the window can reach is
    recomputed in each layer, after one recorded clean pass; whole maps go on from the depth where
    the window's reach covers them, or where an operation is not known (global pooling of
    squeeze-and-excitation, attention). Few windows of small images, such as 49 of 64 pixels, are
    scored sooner by the model itself. It is exact: equal to the whole forward within the rounding
    of other kernels, 1e-4 of the map's range on trained networks. Each tape is compared with the
    model on a window and on another image before it is used. Everything else (a value that leaves
    torch by ``item``, ``numpy`` or a branch, random numbers, training mode, vectors) runs the model
    itself, on small batches without copies of what is not occluded; one window at a time where an
    example's score depends on the others in its batch.

    Differences to Captum: the number of windows in one pass is chosen, ``perturbations_per_eval``
    only bounds it where it is larger than 1; a window is written, not multiplied in, so an input
    that is not finite stays inside its window; baselines are in the dtype of a floating-point
    input; the result is in the dtype of the scores (Captum: always float32). An output of several
    scores for each example needs a target (Captum without one gives a map for each score of each
    example), and there are as many baselines as inputs (Captum ignores those that are too many).
    No gradients are taken, and the user's code runs without inference mode, so that a tensor it
    keeps is not spoilt for training.

    Cost: one forward pass for each window, of which incrementally only the reached part is
    computed (vgg16 at 224 px with windows of 16: 0.15 of its multiply-adds); 6 more to record.

    Reference: Zeiler, Fergus, *Visualizing and Understanding Convolutional Networks*, 2014,
    arXiv:1311.2901; incremental: Nakandala, Kumar, Papakonstantinou, *Incremental and Approximate
    Inference for Faster Occlusion-based Deep CNN Explanations*, SIGMOD 2019 (without its
    approximations).

    Args:
        forward_func: the model, or any function of the inputs.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import Occlusion
        >>> model, x = resnet18().eval(), torch.randn(1, 3, 64, 64)
        >>> Occlusion(model).attribute(x, (3, 16, 16), strides=(3, 8, 8), target=3).shape
        torch.Size([1, 3, 64, 64])
    """

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @torch.no_grad()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        sliding_window_shapes: tuple[int, ...] | tuple[tuple[int, ...], ...],
        strides: int | tuple[int, ...] | tuple[int | tuple[int, ...], ...] | None = None,
        baselines: Any = None,
        target: TargetType = None,
        additional_forward_args: Any = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        *,
        incremental: bool | None = None,
        coarse_to_fine: float | None = None,
    ) -> Any:
        """The mean score lost over the windows that hold each element.

        Args:
            sliding_window_shapes: the window over the dimensions after the batch, such as
                (3, 16, 16); a tuple of these for a tuple of inputs.
            strides: steps between windows, an int or one for each dimension; a tuple of these for
                a tuple of inputs; None is 1.
            baselines: what stands in a window: a number, or a tensor that broadcasts to the input,
                such as (3, 1, 1) with each channel's mean; a tuple of these for a tuple of inputs;
                None is 0.
            perturbations_per_eval: above 1, at most so many windows in one pass; 1, Captum's
                default, leaves it to us.
            show_progress: draw a progress bar over the windows.
            incremental: None computes only what a window reaches where that is possible, True
                insists on it, False runs the model itself.
            coarse_to_fine: an approximation: score every second window in each direction,
                interpolate the others linearly, and score only this share of all windows again,
                those with the largest interpolated loss. 1 is exact.

        Returns:
            As ``inputs``; where the model's output has not one row for each example, such as one
            number for the whole batch, the first dimension is the size of that output, and every
            window is taken from all examples at once.

        Raises:
            ArgumentError: windows or strides that do not fit, or ``incremental=True`` where it
                is not possible, with the reason.
            TargetError: the output has no such target.
        """
        tensors = as_tensors(inputs)
        extra = format_additional_forward_args(additional_forward_args)
        check_examples(tensors)
        with inputs_judged_first(self.forward_func, (*tensors, *extra)):
            windows = grids(tensors, sliding_window_shapes, strides)
        blanks = as_baselines(baselines, tensors)
        per_eval = as_count("perturbations_per_eval", perturbations_per_eval)
        if coarse_to_fine is not None:
            coarse_to_fine = as_number("coarse_to_fine", coarse_to_fine, above=0, maximum=1)
        target = as_target(target)
        clean = run_for(target, self.forward_func, copies((*tensors, *extra)))
        target = fixed_target(target, clean)
        most = per_eval if per_eval > 1 else None
        description = f"{self.get_name()} attribution"
        progress = {"show_progress": show_progress, "description": description}
        run = WindowLosses(self.forward_func, tensors, extra, target, blanks, most, progress)
        losses = run.by_example(windows, clean, incremental, coarse_to_fine)
        if losses is None:
            if incremental:
                raise ArgumentError(
                    "incremental=True: the model gives one number for the whole batch, or an "
                    "output of another length than the batch"
                )
            losses = [run.of_the_batch(i, grid, clean) for i, grid in enumerate(windows)]
        found = tuple(
            grid.spread(loss.to(tensor.device))
            for grid, loss, tensor in zip(windows, losses, tensors, strict=True)
        )
        return found if isinstance(inputs, tuple) else found[0]
