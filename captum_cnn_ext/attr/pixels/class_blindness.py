"""How little a deconvnet or guided picture of a class score depends on the class."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext._engine.backward.autograd_graph import connected
from captum_cnn_ext._engine.backward.rules import RULES, ruled_backward
from captum_cnn_ext._engine.backward.saved_tensors import through_hidden_writes
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.running.layer_recording import record
from captum_cnn_ext.errors import ArgumentError, choose


def class_blindness(
    model: Callable[..., Any],
    inputs: Tensor,
    rule: str = "guided",
    additional_forward_args: Any = None,
    *,
    smooth: str = "gate",
) -> Tensor:
    r"""The cosine between the pictures of the most and of the least likely class, of each example.

    .. math:: \cos\big(R(\arg\max_c y_c),\; R(\arg\min_c y_c)\big)

    1 means that the picture says nothing about the class. The plain gradient is mostly far below.
    Cost: one forward and two backward passes.

    Reference: Mahendran, Vedaldi, *Salient Deconvolutional Networks*, 2016; Nie, Zhang, Patel, *A
    Theoretical Explanation for Perplexing Behaviors of Backpropagation-based Visualizations*,
    2018, arXiv:1805.07039.

    Args:
        model: a classifier, or any function of the inputs with scores (N, classes).
        inputs: (N, C, H, W).
        rule: ``"deconvnet"``, ``"guided"`` or ``"gradient"``.
        additional_forward_args: further arguments of the model.
        smooth: what smooth activations do, ``"gate"`` or ``"slope"``.

    Returns:
        (N,) cosines, from -1 to 1.

    Raises:
        ArgumentError: the model does not give scores (N, classes) that depend on the inputs.

    Example::

        >>> import torch
        >>> from torchvision.models import vgg11
        >>> from captum_cnn_ext.attr import class_blindness
        >>> model = vgg11().eval()
        >>> x = torch.randn(2, 3, 64, 64)
        >>> bool((class_blindness(model, x) > class_blindness(model, x, "gradient")).all())
        True
    """
    choose("rule", rule, RULES)
    if not inputs.is_floating_point():
        raise ArgumentError(f"inputs: expected a floating-point type, got {inputs.dtype}")

    def pictures() -> list[Tensor]:
        with record(
            model, [], (inputs,), additional_forward_args, from_inputs=True, need_output=True
        ) as recording:
            scores = output_tensor(recording.output)
            if scores.ndim != 2:
                raise ArgumentError(
                    f"model: expected scores (N, classes) of the inputs, got {tuple(scores.shape)}"
                )
            if not connected(recording.inputs, scores):
                raise ArgumentError(recording.why_no_gradient(None, scores))
            with ruled_backward(recording.inputs, scores, rule, smooth) as backward:
                seeds = (
                    F.one_hot(c, scores.shape[1]) for c in (scores.argmax(1), scores.argmin(1))
                )
                return [
                    backward.gradients(seed.to(scores), keep_graph=True)[0].flatten(1)
                    for seed in seeds
                ]

    best, worst = through_hidden_writes(pictures)
    return torch.cosine_similarity(best, worst)
