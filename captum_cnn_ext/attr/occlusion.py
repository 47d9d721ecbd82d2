"""Occlusion with Captum's signature and values, computed where the network can feel the window."""

import math
from collections.abc import Callable
from typing import Any

import torch
from captum.attr import PerturbationAttribution
from torch import Tensor

from captum_cnn_ext._engine.arguments import ArgumentError
from captum_cnn_ext._engine.batching import in_chunks
from captum_cnn_ext._engine.captum_compat import (
    TargetType,
    format_additional_forward_args,
    log_usage,
)
from captum_cnn_ext._engine.forward import run_forward
from captum_cnn_ext._engine.incremental import Incremental, Recorded
from captum_cnn_ext._engine.inputs import as_tensors, check_examples
from captum_cnn_ext._engine.occluding import Example, incremental_model, judge, window_tile
from captum_cnn_ext._engine.tape import Refusal
from captum_cnn_ext._engine.targets import select_score
from captum_cnn_ext._numbers import as_count, as_number
from captum_cnn_ext.attr.sliding_windows import Grid, grids

# windows in one pass: incremental ones hold less for each
WHOLE_ROWS = {"cpu": 4, "cuda": 64}
TILE_ROWS = {"cpu": 16, "cuda": 128}
# a CPU is slower with more, except where so many positions leave its calls too little to do
CPU_POSITIONS = 2**13
FEWEST_WINDOWS = 8  # the recording costs five passes
FEWEST_POSITIONS = 2**18  # of a signal, over all windows: a short one is run sooner than recorded


class Occlusion(PerturbationAttribution):
    r"""What each part of the input is worth: the score lost when a window over it is blanked.

    .. math:: a_p = \frac{1}{|\{W : p \in W\}|} \sum_{W \ni p} f(x) - f(x_{W \to b})

    Captum's ``Occlusion`` with its signature and values, faster. Where a signal, an image or a
    volume (N, C, ...) is occluded before an ordinary network, only what the window can reach is
    recomputed in each layer, after one recorded clean pass; whole maps go on from the depth where
    the window's reach covers them, or where an operation is not known (global pooling of
    squeeze-and-excitation, attention). It is exact: equal to the whole forward within the rounding
    of other kernels, 1e-4 of the map's range on trained networks. Each tape is compared with the
    model on two windows before it is used. Everything else (functions that are no fixed sequence
    of tensor operations, training mode, vectors) runs the model itself, on small batches without
    copies of what is not occluded.

    Differences to Captum: the number of windows in one pass is chosen, ``perturbations_per_eval``
    only bounds it where it is larger than 1; a window is written, not multiplied in, so an input
    that is not finite stays inside its window; the result is in the dtype of the scores (Captum:
    always float32). No gradients are taken, and the user's code runs without inference mode, so
    that a tensor it keeps is not spoilt for training.

    Cost: one forward pass for each window, of which incrementally only the reached part is
    computed (vgg16 at 224 px with windows of 16: 0.15 of its multiply-adds); 5 more to record.

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

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        PerturbationAttribution.__init__(self, forward_func)

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
            inputs: one tensor (N, ...) or a tuple of them; not modified.
            sliding_window_shapes: the window over the dimensions after the batch, such as
                (3, 16, 16); a tuple of these for a tuple of inputs.
            strides: steps between windows, an int or one for each dimension; a tuple of these for
                a tuple of inputs; None is 1.
            baselines: what stands in a window: a number or a tensor (N or 1, ...), or a tuple of
                these; None is 0.
            target: what is explained, in any of Captum's forms (int, tuple, tensor, list).
            additional_forward_args: further arguments of ``forward_func``.
            perturbations_per_eval: above 1, at most so many windows in one pass; 1, Captum's
                default, leaves it to us.
            show_progress: draw a progress bar over the windows.
            incremental: None computes only what a window reaches where that is possible, True
                insists on it, False runs the model itself.
            coarse_to_fine: an approximation: score every second window in each direction,
                interpolate the others linearly, and score only this share of all windows again,
                those with the largest interpolated loss. 1 is exact.

        Returns:
            As ``inputs``; where the model gives one number for the whole batch, the first
            dimension is 1.

        Raises:
            ArgumentError: windows or strides that do not fit, or ``incremental=True`` where it
                is not possible, with the reason.
            TargetError: the output has no such target.
        """
        tensors = as_tensors(inputs)
        extra = format_additional_forward_args(additional_forward_args)
        check_examples(tensors)
        windows = grids(tensors, sliding_window_shapes, strides)
        blanks = _blanks(baselines, tensors)
        per_eval = as_count("perturbations_per_eval", perturbations_per_eval)
        if coarse_to_fine is not None:
            coarse_to_fine = as_number("coarse_to_fine", coarse_to_fine, above=0, maximum=1)
        clean = run_forward(
            self.forward_func,
            tuple(v.clone() if isinstance(v, Tensor) else v for v in (*tensors, *extra)),
        )
        most = per_eval if per_eval > 1 else None
        run = _Run(self.forward_func, tensors, extra, target, blanks, most, show_progress)
        if _is_one_number(clean, len(tensors[0])):
            if incremental:
                raise ArgumentError(
                    "incremental=True: the model gives one number for the whole batch"
                )
            losses = [run.of_the_batch(i, grid, clean) for i, grid in enumerate(windows)]
        else:
            scores = select_score(clean, target)
            wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
            run.follow(windows, incremental)
            losses = [
                torch.stack(
                    [run.losses(i, n, grid, wide[n], coarse_to_fine) for n in range(len(wide))]
                )
                for i, grid in enumerate(windows)
            ]
        found = tuple(
            grid.spread(loss.to(tensor.device))
            for grid, loss, tensor in zip(windows, losses, tensors, strict=True)
        )
        return found if isinstance(inputs, tuple) else found[0]


class _Run:
    """One call: whose windows are scored, and how."""

    def __init__(
        self,
        forward_func: Callable[..., Any],
        tensors: tuple[Tensor, ...],
        extra: tuple[Any, ...],
        target: TargetType,
        blanks: list[Tensor],
        most: int | None,
        show_progress: bool,
    ) -> None:
        self.forward_func, self.tensors, self.extra = forward_func, tensors, extra
        self.target, self.blanks, self.most = target, blanks, most
        self.show_progress = show_progress
        self.model: Incremental | None = None
        self._recorded: tuple[int, Recorded] | None = None

    def example(self, n: int) -> Example:
        return Example.of(self.forward_func, self.tensors, self.extra, self.target, n)

    def follow(self, windows: list[Grid], incremental: bool | None) -> None:
        """Put the model on a tape, if it can be followed and is worth it."""
        maps = [i for i, tensor in enumerate(self.tensors) if tensor.ndim > 2]
        worth = sum(_is_worth_recording(self.tensors[i], windows[i]) for i in maps)
        if incremental is False or (incremental is None and not worth):
            return
        try:
            if torch.is_autocast_enabled(self.tensors[0].device.type):
                raise Refusal("autocast is on, and would cast what is on the tape once more")
            if not maps:
                raise Refusal("no input is a signal, an image or a volume: (N, C, ...)")
            place = maps[0]
            image, blank = self.tensors[place][:1], self.blanks[place][:1]
            grid, example = windows[place], self.example(0)
            two = torch.tensor([0, len(grid) // 2])
            replaced = torch.where(grid.masks(two, image.device), blank, image)
            model = incremental_model(example, place, replaced)
            recorded = model.recorded(example.rows())
            tile = window_tile(image, blank, grid.starts(two), grid.window)
            judge(model, recorded.changed(place, tile))
            self.model, self._recorded = model, (0, recorded)
        except Refusal as why:
            if incremental:
                raise ArgumentError(f"incremental=True: {why}") from why

    def losses(self, place: int, n: int, grid: Grid, clean: Tensor, share: float | None) -> Tensor:
        """f(x) - f(x without the window) for every window of one example."""
        if share is None or share == 1:
            return self._losses(place, n, grid, torch.arange(len(grid)), clean)
        numbers, matrices = grid.coarse()
        coarse = self._losses(place, n, grid, numbers, clean)
        losses = coarse.reshape(*(len(matrix) for matrix in matrices), 1)
        with torch.autocast(losses.device.type, enabled=False):
            for matrix in matrices:  # each moves its dimension behind the others
                losses = torch.tensordot(losses, matrix.to(losses), ([0], [0]))
        losses = losses.reshape(-1)
        order = losses.abs().argsort(descending=True).cpu()
        rest = order[~torch.isin(order, numbers)][: round(share * len(grid))]
        losses[numbers.to(losses.device)] = coarse
        if len(rest):
            losses[rest.to(losses.device)] = self._losses(place, n, grid, rest, clean)
        return losses

    def _losses(self, place: int, n: int, grid: Grid, numbers: Tensor, clean: Tensor) -> Tensor:
        tensor, example = self.tensors[place], self.example(n)
        image = tensor[n : n + 1]
        blank = self.blanks[place]
        blank = blank[n : n + 1] if len(blank) > 1 else blank
        if self.model is not None and tensor.ndim > 2:
            recorded = self._recording(n, example)
            clean = example.scores(recorded.output)[0]
            rows, order = TILE_ROWS, grid.by_border(numbers)
        else:
            recorded, rows, order = None, WHOLE_ROWS, torch.arange(len(numbers))
        ordered = numbers[order]

        def scores(part: slice) -> Tensor:
            chosen = ordered[part]
            if recorded is not None:
                tile = window_tile(image, blank, grid.starts(chosen), grid.window)
                return example.scores(recorded.changed(place, tile))
            replaced = torch.where(grid.masks(chosen, image.device), blank, image)
            return example.run(place, _channels_last(replaced))

        size = rows.get(tensor.device.type, rows["cuda"])
        if tensor.device.type == "cpu":
            one = grid.window if recorded is not None else grid.shape
            size = max(size, min(CPU_POSITIONS // math.prod(one[1:]), rows["cuda"]))
        found = in_chunks(
            scores,
            len(ordered),
            self.most or size,
            show_progress=self.show_progress,
            description="Occlusion",
        )
        return clean - torch.cat(found)[order.argsort().to(tensor.device)]

    def _recording(self, n: int, example: Example) -> Recorded:
        assert self.model is not None
        if self._recorded is None or self._recorded[0] != n:
            self._recorded = None  # its memory is free before the next one takes some
            self._recorded = n, self.model.recorded(example.rows())
        return self._recorded[1]

    def of_the_batch(self, place: int, grid: Grid, clean: Any) -> Tensor:
        """(1, windows): what the one number for the whole batch loses."""
        tensor, blank = self.tensors[place], self.blanks[place]

        def loss(part: slice) -> Tensor:
            mask = grid.masks(torch.arange(len(grid))[part], tensor.device)
            values = [v.clone() if isinstance(v, Tensor) else v for v in self.tensors]
            values[place] = torch.where(mask, blank, tensor)
            extra = [v.clone() if isinstance(v, Tensor) else v for v in self.extra]
            return _number(clean) - _number(run_forward(self.forward_func, (*values, *extra)))

        return torch.cat(
            in_chunks(loss, len(grid), 1, show_progress=self.show_progress, description="Occlusion")
        )[None]


def _is_worth_recording(tensor: Tensor, grid: Grid) -> bool:
    windows = len(grid) * len(tensor)
    long_enough = tensor.ndim > 3 or windows * tensor.shape[-1] >= FEWEST_POSITIONS
    return windows >= FEWEST_WINDOWS and long_enough


def _is_one_number(output: Any, length: int) -> bool:
    """Whether the model aggregates its batch, as Captum sees it."""
    if isinstance(output, (int, float)):
        return True
    return isinstance(output, Tensor) and (output.ndim == 0 or (output.numel() == 1 and length > 1))


def _number(output: Any) -> Tensor:
    found = torch.as_tensor(output).reshape(1)
    return found.to(torch.promote_types(found.dtype, torch.float32))


def _blanks(baselines: Any, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Captum's baselines as tensors (N or 1, ...) of the inputs' dtypes."""
    values = baselines if isinstance(baselines, tuple) else (baselines,) * len(tensors)
    single = not isinstance(baselines, tuple) and baselines is not None and len(tensors) > 1
    if single or len(values) != len(tensors):
        raise ArgumentError(
            f"baselines: expected one for each of {len(tensors)} inputs, got "
            f"{1 if single else len(values)}"
        )
    found = []
    for value, tensor in zip(values, tensors, strict=True):
        if isinstance(value, Tensor):
            fits = value.shape[:1] in (tensor.shape[:1], (1,)) and (
                value.shape[1:] == tensor.shape[1:]
            )
            if not fits:
                raise ArgumentError(
                    f"baselines: expected a number or shape {tuple(tensor.shape)}, or one row of "
                    f"it, got {tuple(value.shape)}"
                )
            found.append(value.detach().to(tensor))
        elif value is None or isinstance(value, (int, float)):
            blank = torch.full((1,), value or 0, dtype=tensor.dtype, device=tensor.device)
            found.append(blank.expand(1, *tensor.shape[1:]))
        else:
            raise ArgumentError(
                f"baselines: expected a number or a tensor, got {type(value).__name__}"
            )
    return found


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
