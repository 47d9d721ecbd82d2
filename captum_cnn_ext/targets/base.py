"""The abstract base of targets that are functions of a model's output."""

from abc import ABC
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, final

from torch import Tensor

from captum_cnn_ext._engine.judging.captum_compat import format_additional_forward_args
from captum_cnn_ext._engine.judging.inputs import as_tensors
from captum_cnn_ext._engine.judging.output_targets import OutputTarget, ScoredModel
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.running.forward import fixed_by_run
from captum_cnn_ext.errors import ArgumentError


class Target(OutputTarget, ABC):
    """Abstract: from a model's output to one score for each example, with gradients.

    Pass one as ``target`` to any class of `captum_cnn_ext.attr`, a metric, ``synthesis.Target`` or
    ``compare``; a list has one for each example. Its scores are taken as they are: ``score=`` of
    these, which is about the scores of classes, has no part in them. Captum's own classes take
    ``target.of(model)`` as their model and no target. ``NoiseTunnel`` around one of ours shows it
    noisy images only: give it ``target.fixed(model(x))``, which is about what x shows.
    """

    __repr__ = brief

    def said(self, class_name: Callable[[int], str]) -> str:
        """What is explained, in words: for labels, which call classes by these names."""
        return "a score of its own"

    @final
    def __str__(self) -> str:
        return self.said("class {}".format)

    @final
    @property
    def code(self) -> str:
        """Python that makes this target again, ``targets.Boxes(0)``; empty where it holds a
        tensor or a function.
        """
        return target_code(self)

    @final
    def of(
        self,
        model: Callable[..., Any],
        inputs: Tensor | tuple[Tensor, ...] | None = None,
        additional_forward_args: Any = None,
    ) -> ScoredModel:
        """A model that returns this target's score of each example, for Captum's own classes.

        Its layers are the model's own: pass Captum's layer classes the same modules.

        Cost: none without ``inputs``, one forward pass with them.

        Args:
            model: a ``torch.nn.Module``, or any function of the inputs.
            inputs: the images that will be explained, for methods that score changed images
                (occlusion, integrated gradients, ``NoiseTunnel``) and a target whose meaning
                depends on the image, such as the first box: it keeps the meaning that it has for
                these.
            additional_forward_args: further arguments of the model.

        Returns:
            A ``torch.nn.Module``. It gives (N,); with ``inputs`` of several images (N, images),
            the scores of what the target means for each of them, so that Captum's ``target`` is
            ``list(range(images))``.

        Raises:
            TargetError: the output has no such target.

        Example::

            >>> import torch
            >>> from captum.attr import LayerGradCam
            >>> from torchvision.models.segmentation import lraspp_mobilenet_v3_large
            >>> from captum_cnn_ext import targets
            >>> model = lraspp_mobilenet_v3_large(weights_backbone=None).eval()
            >>> scored = targets.Segment(3, at=(10, 20)).of(model)
            >>> cam = LayerGradCam(scored, model.backbone["16"])
            >>> cam.attribute(torch.rand(2, 3, 64, 64)).shape
            torch.Size([2, 1, 4, 4])
        """
        if inputs is None or self.is_fixed:
            return ScoredModel(model, [self])
        extra = format_additional_forward_args(additional_forward_args)
        return ScoredModel(model, fixed_by_run(self, model, (*as_tensors(inputs), *extra)))


def target_code(target: Any) -> str:
    """Python that makes a class index, a target or a list of these, with ``targets`` imported.

    Empty where that cannot be written: of a tensor, a function, a class that is not of this module.
    """
    try:
        return _written(target)
    except TypeError:
        return ""


def _written(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        inside = ", ".join(map(_written, value))
        if isinstance(value, list):
            return f"[{inside}]"
        return f"({inside}{',' * (len(value) == 1)})"
    kind = type(value)
    if not is_dataclass(kind) or not kind.__module__.startswith(__package__):
        raise TypeError(f"{kind.__name__} cannot be written as Python")
    words, in_order = list[str](), True
    for field in fields(kind):
        own = getattr(value, field.name)
        if field.default is not MISSING and (own is field.default or own == field.default):
            in_order = False
            continue
        in_order = in_order and not field.kw_only
        words.append(_written(own) if in_order else f"{field.name}={_written(own)}")
    return f"targets.{kind.__name__}({', '.join(words)})"


def one_point(parameter: str, value: Any) -> tuple[float, ...]:
    """A point (x, y) as a tuple of numbers."""
    try:
        return tuple(float(number) for number in value)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{parameter}={value!r}: expected a point such as (x, y)") from error
