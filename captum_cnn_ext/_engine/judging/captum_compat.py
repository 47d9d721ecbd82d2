"""The few private Captum names we lean on, in one place.

Captum promises only what ``captum.attr`` exports; these four have kept name and arguments from
0.6 to 0.9. When one moves, this is the only file to mend.
"""

from typing import Any, cast

from captum._utils.common import _format_additional_forward_args, _select_targets
from captum._utils.typing import TargetType
from captum.attr import FeatureAblation
from captum.attr._utils.approximation_methods import SUPPORTED_METHODS, approximation_parameters
from captum.log import log_usage
from torch import Tensor

__all__ = [
    "QUADRATURES",
    "Ablation",
    "TargetType",
    "format_additional_forward_args",
    "log_usage",
    "quadrature",
    "select_targets",
]


QUADRATURES = tuple(SUPPORTED_METHODS)
"""Captum's names of quadrature rules."""


def format_additional_forward_args(additional_forward_args: Any) -> tuple[Any, ...]:
    """Wrap Captum's ``additional_forward_args`` (None, one value or a tuple) into a tuple."""
    return cast("tuple[Any, ...]", _format_additional_forward_args(additional_forward_args) or ())


def select_targets(output: Tensor, target: Any) -> Tensor:
    """Pick each example's score from the model's output, by Captum's own rules.

    Class indices may be on another device, as a data loader's labels are.
    """
    if isinstance(target, Tensor):
        target = target.to(output.device)
    return cast(Tensor, _select_targets(output, target))


class Ablation(FeatureAblation):
    """Captum's, which reads every number of its masks three times: here from the CPU, sent once."""

    def _get_feature_idx_to_tensor_idx(self, formatted_feature_mask: Any, **kwargs: Any) -> Any:
        masks = tuple(mask.cpu() for mask in formatted_feature_mask)
        return super()._get_feature_idx_to_tensor_idx(masks, **kwargs)


def quadrature(method: str, points: int) -> tuple[list[float], list[float]]:
    """Step sizes and positions in [0, 1] of Captum's rule of that name."""
    step_sizes, positions = approximation_parameters(method)
    return list(step_sizes(points)), list(positions(points))
