"""Captum's convergence delta of a model whose output may be a collection."""

from typing import Any, cast

from captum.attr import GradientAttribution
from torch import Tensor

from captum_cnn_ext._engine.judging.captum_compat import TargetType, format_additional_forward_args
from captum_cnn_ext._engine.judging.output_targets import is_function
from captum_cnn_ext._engine.judging.outputs import tensor_forward
from captum_cnn_ext._engine.judging.targets import as_target, select_score
from captum_cnn_ext._engine.running.forward import fixed_by_run
from captum_cnn_ext.attr.argument_docs import Documented


class ConvergenceDelta(Documented, GradientAttribution):
    """Abstract: Captum's convergence delta, also of a model whose output is a collection."""

    def compute_convergence_delta(
        self,
        attributions: Tensor | tuple[Tensor, ...],
        start_point: Any,
        end_point: Any,
        target: TargetType = None,
        additional_forward_args: Any = None,
    ) -> Tensor:
        """As in Captum: how far the attributions' sum is from the scores' difference, (N,).

        Args:
            attributions: one tensor (N, ...) or a tuple of them, as ``attribute`` gives them.
            start_point: the baselines, tensors of the inputs' shapes.
            end_point: the inputs.
        """
        target, forward = as_target(target), tensor_forward(self.forward_func)
        if is_function(target):
            ends = end_point if isinstance(end_point, tuple) else (end_point,)
            extra = format_additional_forward_args(additional_forward_args)
            fixed, target = fixed_by_run(target, self.forward_func, (*ends, *extra)), None

            def forward(*args: Any) -> Tensor:
                return select_score(self.forward_func(*args), fixed)

        delta = GradientAttribution(forward).compute_convergence_delta
        found = delta(attributions, start_point, end_point, target, additional_forward_args)
        return cast(Tensor, found)
