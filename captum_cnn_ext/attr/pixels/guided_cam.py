"""Any layer attribution times guided backpropagation: where, and which pixels there."""

import inspect
from typing import Any

import torch
from captum.attr import GradientAttribution, LayerAttribution
from torch import Tensor

from captum_cnn_ext._engine.backward.rules import RULES
from captum_cnn_ext._engine.judging.captum_compat import TargetType, log_usage
from captum_cnn_ext._engine.judging.inputs import as_tensors
from captum_cnn_ext._engine.judging.targets import select_score
from captum_cnn_ext._engine.warn_user import warn_user
from captum_cnn_ext.attr.argument_docs import Documented
from captum_cnn_ext.attr.pixels.guided_backprop import GuidedBackprop, ruled_attribution
from captum_cnn_ext.errors import ArgumentError, choose


def guided_map(cam: Tensor, pixels: Tensor, interpolate_mode: str) -> Tensor:
    """relu(sum_k cam_k), upsampled to the pixels' size, times the pixels."""
    heat = cam.sum(1, keepdim=True).relu()
    up: Tensor = LayerAttribution.interpolate(heat, tuple(pixels.shape[2:]), interpolate_mode)
    return pixels * up


class GuidedCam(Documented, GradientAttribution):
    r"""Guided Grad-CAM with any layer attribution in Grad-CAM's place.

    .. math::
        L = \mathrm{up}\Big(\mathrm{relu} \sum_k \mathrm{cam}_k\Big) \cdot \mathrm{guided}

    The map says where, guided backpropagation which pixels there. With :class:`LayerGradCam`
    this is ``captum.attr.GuidedGradCam`` (for networks that Captum's guided backpropagation sees).
    The part that depends on the class is the map's: see :func:`class_blindness`.

    Cost: the map's passes, one forward and one backward pass.

    Reference: Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, *Grad-CAM: Visual Explanations
    from Deep Networks via Gradient-based Localization*, 2017, arXiv:1610.02391, section 3.2.

    Args:
        cam: a layer attribution, of this package or of Captum, for one layer that gives maps.
        rule: what rectifiers do in the second factor: ``"guided"``, ``"deconvnet"``,
            ``"gradient"``.
        smooth: what smooth activations do there, ``"gate"`` or ``"slope"``.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import GuidedCam, LayerHiResCam
        >>> model = resnet18().eval()
        >>> guided = GuidedCam(LayerHiResCam(model, "layer4"))
        >>> guided.attribute(torch.randn(2, 3, 64, 64), target=[3, 5]).shape
        torch.Size([2, 3, 64, 64])
    """

    def __init__(
        self, cam: LayerAttribution, *, rule: str = "guided", smooth: str = "gate"
    ) -> None:
        if not isinstance(cam, LayerAttribution):
            raise TypeError(
                "cam: expected a layer attribution, e.g. LayerHiResCam(model, 'layer4'), got "
                f"{type(cam).__name__}"
            )
        GradientAttribution.__init__(self, cam.forward_func)
        self.cam, self.rule, self.smooth = cam, choose("rule", rule, RULES), smooth
        self.grad_cam, self.guided_backprop = cam, GuidedBackprop(cam.forward_func)  # Captum's

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: TargetType = None,
        additional_forward_args: Any = None,
        interpolate_mode: str = "nearest",
        attribute_to_layer_input: bool = False,
        **cam_arguments: Any,
    ) -> Any:
        """The product, of the inputs' shape, detached; empty for an input of other dimensions.

        Args:
            inputs: one tensor (N, C, H, W) or a tuple of them; not modified.
            interpolate_mode: how the map is upsampled: "nearest" as in Captum, "bilinear", ...
            attribute_to_layer_input: take the map at the layer's input.
            cam_arguments: further arguments of the map's ``attribute``.

        Raises:
            ArgumentError: the map has no positions, or there is one for each of several layers, or
                no input has its dimensions (Captum gives empty tensors).
            TargetError: the output has no such target.
        """
        tensors = as_tensors(inputs)
        run = getattr(self.cam.attribute, "__wrapped__", None)
        takes = inspect.signature(self.cam.attribute).parameters
        arguments = {
            "target": target,
            "additional_forward_args": additional_forward_args,
            "attribute_to_layer_input": attribute_to_layer_input,
            **cam_arguments,
        }
        arguments = {k: v for k, v in arguments.items() if k in takes or k in cam_arguments}
        cam = run(self.cam, inputs, **arguments) if run else self.cam.attribute(inputs, **arguments)
        if isinstance(cam, tuple) and len(cam) == 1:
            (cam,) = cam
        if not isinstance(cam, Tensor) or cam.ndim < 3:
            found = tuple(cam.shape) if isinstance(cam, Tensor) else f"{type(cam).__name__} of maps"
            raise ArgumentError(
                f"cam: expected one map (N, C, h, w) from {type(self.cam).__name__}, got {found}; "
                "choose one layer that gives maps"
            )
        pixels, coverage = ruled_attribution(
            self.forward_func,
            tensors,
            additional_forward_args,
            [],
            lambda recording: select_score(recording.output, target),
            self.rule,
            self.smooth,
        )
        coverage.warn_of_unknown("GuidedCam")
        fitting = [part.ndim == cam.ndim for part in pixels]
        if not any(fitting):
            raise ArgumentError(
                f"inputs: none has as many dimensions as the map {tuple(cam.shape)}; expected one "
                f"that it can be upsampled to, got {[tuple(part.shape) for part in pixels]}"
            )
        if not all(fitting):
            which = [i for i, fits in enumerate(fitting) if not fits]
            warn_user(
                f"GuidedCam: the map cannot be upsampled to inputs {which}, which get an empty "
                "tensor, as in Captum"
            )
        with torch.no_grad():
            products = tuple(
                guided_map(cam, part, interpolate_mode) if fits else part.new_empty(0)
                for part, fits in zip(pixels, fitting, strict=True)
            )
        return products if isinstance(inputs, tuple) else products[0]
