"""A model's outputs as probabilities, whether it ends in a softmax, a sigmoid or in logits."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from captum_cnn_ext._engine.judging.output_targets import is_function
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.judging.targets import select_score
from captum_cnn_ext.errors import ArgumentError, choose

# in inference mode operations come as they are written, elsewhere as what they consist of
_GIVES = {"softmax", "_softmax", "_safe_softmax", "sigmoid", "sigmoid_", "special_expit"}
_COPIES = {"clone", "_to_copy", "to", "contiguous", "reshape", "flatten"}


class Ending(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes whether what a model returns comes out of a softmax or a sigmoid.

    For one forward pass; views and copies of probabilities are probabilities, what was computed
    from them is not known to be.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._last: Tensor | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in _GIVES:
            self._last = found
        elif args and self.gave(args[0]):
            if name in _COPIES:
                self._last = found
            elif name.endswith("_"):  # written over
                self._last = None
        return found

    def gave(self, output: Any) -> bool:
        """Whether the tensor is, or looks into, the last probabilities that were made."""
        if self._last is None or not isinstance(output, Tensor):
            return False
        return _memory(output) == _memory(self._last)


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def as_probabilities(scores: Tensor, given: bool) -> Tensor:
    """Scores (N, K, ...) as probabilities.

    As they are where the model is known to give probabilities (`Ending`), or where a row is
    positive and sums to 1; otherwise the softmax over K, of one output its sigmoid.
    """
    if given:
        return scores
    if scores.shape[1] == 1:
        return scores.sigmoid()
    already = (scores >= 0).all(1, keepdim=True) & ((scores.sum(1, keepdim=True) - 1).abs() < 1e-3)
    return torch.where(already, scores, scores.softmax(1))


def check_class_scores(outputs: Tensor) -> None:
    """Refuse what is no score for each class.

    Raises:
        ArgumentError: the shape is not (N, classes); the message says how to make it so.
    """
    if outputs.ndim == 2:
        return
    hint = "wrap it in a module that returns one score for each class"
    if outputs.ndim == 1:
        hint = "pass torch.nn.Sequential(model, torch.nn.Unflatten(0, (-1, 1)))"
    elif outputs.ndim == 4:
        hint = (
            "of segmentation explain target=captum_cnn_ext.targets.Segment(class index); of other "
            "models wrap it in a module that returns one score for each class"
        )
    raise ArgumentError(f"model: expected outputs (N, classes), got {tuple(outputs.shape)}; {hint}")


class Scale:
    """What is scored of a model: the class's probability, or the output itself.

    Functions of the output have their own scale.

    Args:
        score: "probability" or "logit".
        given: whether the model gives probabilities already; None is not known yet.
    """

    def __init__(self, score: str = "logit", given: bool | None = None) -> None:
        self.probability = choose("score", score, ("probability", "logit")) == "probability"
        self._given = given

    def watched(self, run: Callable[[], Any], target: Any) -> Any:
        """What ``run`` gives, a pass of the model; of the first one its ending is noted."""
        if not self.probability or self._given is not None or is_function(target):
            return run()
        with Ending() as ending:
            output = run()
        self._given = ending.gave(output_tensor(output))
        return output

    def scores(self, output: Any, target: Any) -> Tensor:
        """The target's score of each row.

        Raises:
            ArgumentError: the output is not (N, K), and not known to be probabilities: a logit (N,)
                may have been picked from those of many classes.
        """
        if not self.probability or is_function(target):
            return select_score(output, target)
        scores, given = output_tensor(output), bool(self._given)
        if scores.ndim != 2 and not (given and scores.ndim == 1):
            raise ArgumentError(
                f"score='probability': the model's output {tuple(scores.shape)} is not (N, "
                "classes); pass score='logit' to take it as it is"
            )
        return select_score(as_probabilities(scores, given), target)
