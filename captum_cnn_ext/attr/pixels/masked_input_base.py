"""The abstract base of maps from the scores of randomly masked inputs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import PerturbationAttribution
from torch import Tensor

from captum_cnn_ext._engine.incremental.replaced_inputs import Example
from captum_cnn_ext._engine.judging.arguments import observed_module
from captum_cnn_ext._engine.judging.captum_compat import format_additional_forward_args
from captum_cnn_ext._engine.judging.inputs import (
    as_baselines,
    as_tensors,
    check_devices,
    check_examples,
)
from captum_cnn_ext._engine.running.batching import images_at_once, in_chunks
from captum_cnn_ext._engine.running.forward import FastOrder
from captum_cnn_ext._numbers import as_count, as_number, as_seed
from captum_cnn_ext.attr.argument_docs import Documented
from captum_cnn_ext.attr.pixels.random_masks import RandomMasks
from captum_cnn_ext.errors import ArgumentError


@dataclass
class MaskSettings:
    """How many masks of which kind, as ``attribute`` was told; the input bounds ``cells``."""

    n_samples: int
    perturbations_per_eval: int
    show_progress: bool
    cells: int | Sequence[int]
    probability: float
    seed: int

    def __post_init__(self) -> None:
        self.n_samples = as_count("n_samples", self.n_samples)
        self.perturbations_per_eval = as_count(
            "perturbations_per_eval", self.perturbations_per_eval
        )
        self.probability = as_number("probability", self.probability, above=0, maximum=1)
        self.seed = as_seed("seed", self.seed)

    def masks_for(self, tensor: Tensor, generator: torch.Generator) -> RandomMasks:
        """Masks over an input's positions."""
        return RandomMasks.drawn(
            tensor.shape[2:], self.cells, self.probability, self.n_samples, generator, tensor
        )


Scorer = Callable[[tuple[Any, ...]], Tensor]
"""From a model's arguments, rows of one masked example, to their scores (rows, T)."""


class RandomlyMasked(Documented, PerturbationAttribution, ABC):
    """Abstract: masks, weighted by what the network scores when it sees only what they show.

    Args:
        baselines: what stands where nothing is shown: a number, or a tensor that broadcasts to
            the input; a tuple of these for a tuple of inputs; None is 0.
        n_samples: M, the number of masks.
        perturbations_per_eval: above 1, at most so many masked inputs in one pass; 1, Captum's
            default, leaves it to us.
        show_progress: draw a progress bar over the masks of each example.
        cells: s, how many cells a mask has along each axis, or a tuple of one for each: finer
            ones show smaller things and need more masks.
        probability: p_1, with which a cell is shown.
        seed: of the masks.
    """

    def __init__(self, forward_func: Callable[..., Any]) -> None:
        PerturbationAttribution.__init__(self, forward_func)

    @abstractmethod
    def _scorers(
        self, inputs: tuple[Tensor, ...], extra: tuple[Any, ...], targets: Any
    ) -> Sequence[Scorer]:
        """For each example, what scores its masked inputs for T targets."""

    def _weighted_masks(
        self,
        inputs: Any,
        baselines: Any,
        additional_forward_args: Any,
        targets: Any,
        settings: MaskSettings,
    ) -> tuple[Tensor, ...]:
        """For each input (N, T, 1, *positions): one map for each of T targets, from all masks."""
        tensors = as_tensors(inputs)
        extra = format_additional_forward_args(additional_forward_args)
        check_examples(tensors)
        check_devices(observed_module(self.forward_func), tensors)
        for tensor in tensors:
            if tensor.ndim < 3 or len(tensor) != len(tensors[0]):
                raise ArgumentError(
                    f"inputs: expected {len(tensors[0])} signals, images or volumes (N, C, "
                    f"*positions), got shape {tuple(tensor.shape)}; what is not masked goes into "
                    "additional_forward_args"
                )
        blanks = as_baselines(baselines, tensors)
        generator = torch.Generator().manual_seed(settings.seed)
        masks = [settings.masks_for(tensor, generator) for tensor in tensors]
        found: list[list[Tensor]] = [[] for _ in tensors]
        order = FastOrder()
        for n, scorer in enumerate(self._scorers(tensors, extra, targets)):
            example = Example(self.forward_func, tensors, extra, None, n)
            scores = self._of_masked(
                scorer, example, masks, [blank[n : n + 1] for blank in blanks], settings, order
            )
            for maps, mine in zip(found, masks, strict=True):
                maps.append(mine.weighted(scores).unsqueeze(1))
        results = [torch.stack(maps) for maps in found]
        return tuple(
            maps.to(tensor.dtype) if tensor.is_floating_point() else maps
            for maps, tensor in zip(results, tensors, strict=True)
        )

    def _of_masked(
        self,
        scorer: Scorer,
        example: Example,
        masks: Sequence[RandomMasks],
        blanks: Sequence[Tensor],
        settings: MaskSettings,
        order: FastOrder,
    ) -> Tensor:
        """The scores of one example under every mask, (M, T)."""
        rows = example.rows()
        inputs, others = rows[: len(masks)], rows[len(masks) :]

        def scores_of(masked: list[Tensor]) -> Tensor:
            count = len(masked[0])
            # copies, because a model may write into its input
            repeated = [row.expand(count, *row.shape[1:]).clone() for row in others]
            return scorer(example.arguments([*masked, *repeated]))

        def run(numbers: slice) -> Tensor:
            masked = [
                _blended(x, blank, mine.of(numbers).unsqueeze(1))
                for x, blank, mine in zip(inputs, blanks, masks, strict=True)
            ]
            count, scores = len(masked[0]), order(scores_of, masked)
            if len(scores) != count:
                raise ArgumentError(
                    f"forward_func: gave {len(scores)} score(s) for {count} masked inputs; "
                    "expected one for each"
                )
            return scores

        chosen, widest = settings.perturbations_per_eval, max(inputs, key=lambda x: x.nbytes)
        found = in_chunks(
            run,
            settings.n_samples,
            chosen if chosen > 1 else images_at_once(widest, widest.device),
            show_progress=settings.show_progress,
            description=f"{self.get_name()} attribution",
        )
        return torch.cat(found)


def _blended(x: Tensor, blank: Tensor, mask: Tensor) -> Tensor:
    """The input where the mask is 1, the baseline where it is 0; integers are rounded."""
    exact = x.is_floating_point() and blank.dtype == x.dtype
    kind = x.dtype if exact else torch.promote_types(blank.dtype, mask.dtype)
    mixed = torch.lerp(blank.to(kind), x.to(kind), mask.to(kind))
    return mixed if exact or blank.is_floating_point() else mixed.round().to(blank.dtype)
