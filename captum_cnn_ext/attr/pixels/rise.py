"""RISE: what the network scores when it sees random parts of the input."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.incremental.replaced_inputs import Example
from captum_cnn_ext._engine.judging.captum_compat import TargetType, log_usage
from captum_cnn_ext._engine.judging.probabilities import Scale
from captum_cnn_ext._engine.judging.targets import TargetColumns, as_target, target_columns
from captum_cnn_ext._engine.running.batching import tuples_for_tuples
from captum_cnn_ext.attr.pixels.masked_input_base import MaskSettings, RandomlyMasked, Scorer
from captum_cnn_ext.errors import choose


class Rise(RandomlyMasked):
    r"""RISE: the masks of random parts of the input, weighted by the score of what they show.

    .. math::
        L(p) = \frac{1}{p_1 M} \sum_{i=1}^{M} y_c(x \odot M_i)\, M_i(p) \approx
        E[\,y_c(x \odot M) \mid M(p) = 1\,]

    A black box: no gradient and no layer, so it suits any model. A mask M_i has s cells along each
    axis, each shown with probability p_1, stretched by linear interpolation and cut out at a random
    shift, as in the authors' code. Where nothing is shown stands the baseline. All values have the
    mean score in common: what counts is where the map is higher than elsewhere.

    The masks depend on ``seed``, ``n_samples`` and the input's size only: not on the device, the
    passes or torch's global random numbers. All examples and all targets of ``attribute_targets``
    share them; several inputs are masked at once, each by masks of its own.

    Cost: M forward passes for each example, however many targets there are; no gradient.

    Reference: Petsiuk, Das, Saenko, *RISE: Randomized Input Sampling for Explanation of Black-box
    Models*, 2018, arXiv:1806.07421.

    Args:
        score: "probability" (of the class, as in the paper) or "logit" (the output as the
            model gives it).

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import Rise
        >>> model, x = resnet18().eval(), torch.randn(2, 3, 64, 64)
        >>> Rise(model).attribute(x, target=3, n_samples=20).shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(self, forward_func: Callable[..., Any], *, score: str = "probability") -> None:
        RandomlyMasked.__init__(self, forward_func)
        self.score = choose("score", score, ("probability", "logit"))

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @torch.no_grad()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Any = None,
        target: TargetType = None,
        additional_forward_args: Any = None,
        n_samples: int = 4000,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        *,
        cells: int | Sequence[int] = 7,
        probability: float = 0.5,
        seed: int = 0,
    ) -> Any:
        """The map of each input, at the input's resolution.

        Args:
            inputs: signals, images or volumes ``(N, C, *positions)``, or a tuple of them.
            n_samples: M, the number of masks; the paper takes 4,000 to 8,000. The noise of the map
                falls with its square root.

        Returns:
            ``(N, 1, *positions)``, in the input's floating-point type; a tuple of these when
            ``inputs`` is a tuple.

        Raises:
            ArgumentError: an input without positions, a number out of its range, or a model that
                does not give one score for each example.
            TargetError: the output has no such target.
        """
        columns = TargetColumns([as_target(target)], None)
        settings = MaskSettings(
            n_samples=n_samples,
            perturbations_per_eval=perturbations_per_eval,
            show_progress=show_progress,
            cells=cells,
            probability=probability,
            seed=seed,
        )
        found = self._weighted_masks(inputs, baselines, additional_forward_args, columns, settings)
        return tuples_for_tuples(tuple(maps[:, 0] for maps in found), inputs)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def attribute_targets(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        targets: Sequence[int | tuple[int, ...] | list[int]] | Tensor,
        baselines: Any = None,
        additional_forward_args: Any = None,
        n_samples: int = 4000,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        *,
        cells: int | Sequence[int] = 7,
        probability: float = 0.5,
        seed: int = 0,
    ) -> Any:
        """The maps of T targets of each input, from the passes of one ``attribute``.

        Args:
            targets: T targets that all inputs share, as a list or a tensor (T,) of class indices;
                or each input's own T, as a tensor (N, T) or a list of N lists.

        Returns:
            ``(N, T, 1, *positions)``; a tuple of these when ``inputs`` is a tuple.

        Example::

            >>> import torch
            >>> from torchvision.models import resnet18
            >>> from captum_cnn_ext.attr import Rise
            >>> x = torch.randn(1, 3, 64, 64)
            >>> Rise(resnet18().eval()).attribute_targets(x, [3, 5, 7], n_samples=8).shape
            torch.Size([1, 3, 1, 64, 64])
        """
        columns = target_columns(targets, inputs)
        settings = MaskSettings(
            n_samples=n_samples,
            perturbations_per_eval=perturbations_per_eval,
            show_progress=show_progress,
            cells=cells,
            probability=probability,
            seed=seed,
        )
        found = self._weighted_masks(inputs, baselines, additional_forward_args, columns, settings)
        return tuples_for_tuples(found, inputs)

    def _scorers(
        self, inputs: tuple[Tensor, ...], extra: tuple[Any, ...], targets: TargetColumns
    ) -> list[Scorer]:
        columns = [_on_host(column) for column in targets.of(targets.own)]
        scale = Scale(self.score)

        def scorer(n: int) -> Scorer:
            examples = [
                Example(self.forward_func, inputs, extra, column, n, scale) for column in columns
            ]

            def score(arguments: tuple[Any, ...]) -> Tensor:
                output = examples[0].output(arguments)
                return torch.stack([example.scores(output) for example in examples], 1)

            return score

        return [scorer(n) for n in range(len(inputs[0]))]


def _on_host(target: TargetType) -> TargetType:
    """Class indices of a device are asked for once, not in every pass."""
    if not isinstance(target, Tensor):
        return target
    return int(target) if target.numel() == 1 else target.tolist()
