"""A network that gives a class activation map beside its scores, to be exported and deployed."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import Layer, find_layer
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.replay.patching import layer_hook
from captum_cnn_ext._engine.running.layer_sites import layer_sites
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext.attr.cams.classifier_cam import LayerCam
from captum_cnn_ext.attr.layers.tail_forward import TailForward
from captum_cnn_ext.errors import ArgumentError

SIDE = 224  # of the image that is tried where none is given
ROWS = 64  # of the tail at once, outside of an exported program
CLOSE = 1e-4  # of the largest score: the classifier's weights give the scores


class WithMap(nn.Module):
    r"""Scores and a class activation map from one call of one module, ready for export.

    .. math:: M_p = \sum_k W_{ck} A_{kp} \quad \text{or} \quad
              M_p = y_c \text{ of } A \text{ kept at position } p \text{ only}

    Where average pooling and a linear layer follow the layer, the map is CAM, in closed form; its
    mean plus the classifier's bias is the score. Elsewhere it is Recipro-CAM. ``method`` says
    which. Both need no gradient, so that ``torch.export.export`` and ``torch.onnx.export`` make one
    program of it, whose batch may be dynamic. Model and weights are shared, not copied.

    Cost: one forward pass, and for Recipro-CAM H W rows of what follows the layer for each example;
    to construct it, a few forward passes of one image. Nothing is differentiable.

    References: Zhou, Khosla, Lapedriza, Oliva, Torralba, *Learning Deep Features for
    Discriminative Localization*, 2016, arXiv:1512.04150; Byun, Lee, *Recipro-CAM: Fast
    gradient-free visual explanations for convolutional neural networks*, 2022, arXiv:2209.14074.

    Args:
        model: gives scores (N, classes), in evaluation mode.
        layer: gives maps (N, K, H, W): a module of it or its dotted name.
        inputs: an example (N, C, H, W), by which the head is judged; None tries 224 x 224.
        target: whose map: None is each example's strongest class, an integer or a list of them
            those classes, ``"all"`` every class.

    Shape: inputs (N, C, H, W) to scores (N, classes) and maps (N, T, h, w) of the layer's size, in
    units of the scores; T is 1, the number of targets, or of classes.

    Raises:
        ArgumentError: a model in training mode, another form of output, or an image that does not
            fit; a layer or class that is not there.
        TypeError: no module.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import WithMap
        >>> model = WithMap(resnet18().eval(), "layer4")
        >>> scores, maps = model(torch.randn(2, 3, 64, 64))
        >>> scores.shape, maps.shape, model.method
        (torch.Size([2, 1000]), torch.Size([2, 1, 2, 2]), 'LayerCam')
        >>> batch = {0: torch.export.Dim("batch")}
        >>> program = torch.export.export(
        ...     model, (torch.randn(2, 3, 64, 64),), dynamic_shapes=(batch,), strict=False)
        >>> program.module()(torch.randn(5, 3, 64, 64))[1].shape
        torch.Size([5, 1, 2, 2])
    """

    def __init__(
        self,
        model: nn.Module,
        layer: Layer,
        inputs: Tensor | None = None,
        *,
        target: int | Sequence[int] | str | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
        if model.training:
            raise ArgumentError(
                "model: is in training mode, in which a map is of a batch; call eval()"
            )
        self.model = model
        module = find_layer(model, layer)
        (self._site,) = layer_sites(model, module, False, None)
        image = _example(model) if inputs is None else inputs
        with state_as_found(model, []), torch.no_grad():
            maps, scores = self._run(image)
            if maps.ndim != 4 or scores.ndim != 2:
                raise ArgumentError(
                    f"layer {self._site.name!r}: gives {tuple(maps.shape)}, the model "
                    f"{tuple(scores.shape)}; expected maps (N, K, H, W) and scores (N, classes)"
                )
            self._around = self._goes_around(image, maps)
        self._classes = scores.shape[1]
        self._targets = _targets(target, self._classes)
        self._classifier = _classifier(model, module, image, maps, scores)
        self.training = False

    @property
    def method(self) -> str:
        """The class of `captum_cnn_ext.attr` that gives the same maps."""
        return "LayerReciproCam" if self._classifier is None else "LayerCam"

    def extra_repr(self) -> str:
        """What ``print`` shows of it."""
        return f"layer={self._site.name!r}, method={self.method}"

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (N, classes) and maps (N, T, h, w), detached.

        Args:
            inputs: what the model takes, (N, C, H, W).
        """
        if _exporting():
            return self._mapped(inputs)
        with torch.no_grad():
            return self._mapped(inputs)

    def _mapped(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        if self._classifier is None:
            scores, alone = self._positions(inputs)
            if self._targets == "all":
                return scores, alone
            index = self._chosen(scores)[:, :, None, None].expand(-1, -1, *alone.shape[2:])
            return scores, alone.gather(1, index)
        maps, scores = self._run(inputs)
        matrix: Tensor = self.model.get_submodule(self._classifier).weight.flatten(1)  # type: ignore[operator, union-attr, assignment]
        if self._targets == "all":
            return scores, torch.einsum("ck,nkhw->nchw", matrix, maps)
        return scores, torch.einsum("ntk,nkhw->nthw", matrix[self._chosen(scores)], maps)

    def _chosen(self, scores: Tensor) -> Tensor:
        """The classes whose maps are wanted, (N, T)."""
        if self._targets is None:
            return scores.argmax(1, keepdim=True)
        each = torch.tensor(self._targets, device=scores.device)
        return each.expand(scores.shape[0], -1)

    def _run(self, inputs: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The layer's maps and the scores; with ``given`` in the place of the maps."""
        seen: list[Tensor] = []

        def see(tensors: list[Tensor]) -> list[Tensor]:
            seen.append(tensors[0].clone())  # what follows may write into it
            return tensors if given is None else [given, *tensors[1:]]

        with layer_hook(self._site, see):
            scores = output_tensor(self.model(inputs.clone()))  # models may write into it
        if not seen:
            raise ArgumentError(f"layer {self._site.name!r}: the forward pass does not reach it")
        if len(seen) > 1:
            raise ArgumentError(
                f"layer {self._site.name!r}: is called {len(seen)} times in a forward pass; "
                "expected a layer that is called once"
            )
        return seen[0], scores

    def _positions(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The scores, and each class's score of each position alone, (N, classes, h, w)."""
        if not _exporting():
            tail = TailForward(self.model, self._site.module, inputs)
            maps, scores = tail.activation, tail.output
        else:
            maps, scores = self._run(inputs)
        size = math.prod(maps.shape[2:])
        only = torch.eye(size, dtype=maps.dtype, device=maps.device).reshape(-1, 1, *maps.shape[2:])
        rows = (maps.unsqueeze(1) * only).flatten(0, 1)  # example by example
        if not _exporting():
            examples = tail.rows.repeat_interleave(size)
            parts = [slice(start, start + ROWS) for start in range(0, len(rows), ROWS)]
            alone = torch.cat([tail(rows[part], examples[part]) for part in parts])
        else:
            _, alone = self._run(self._beside(inputs, size), rows)
        found = alone.reshape(-1, size, self._classes).transpose(1, 2)
        return scores, found.reshape(-1, self._classes, *maps.shape[2:])

    def _beside(self, inputs: Tensor, size: int) -> Tensor:
        """What the model gets when rows of maps are given: a row for each, where it needs one."""
        if not self._around:
            return inputs  # whose way to the layer is computed for nothing, once
        return inputs.unsqueeze(1).expand(-1, size, *inputs.shape[1:]).flatten(0, 1)

    def _goes_around(self, image: Tensor, maps: Tensor) -> bool:
        """Whether what follows the layer reads the input, or an earlier layer, too."""
        two = torch.cat([image[:1], image[:1] / 2])
        rows = torch.cat([maps[:1]] * 4)
        try:
            found = self._run(two, rows)[1]
        except (RuntimeError, ValueError, IndexError):  # numbers of rows that do not go together
            return True
        whole = self._run(torch.cat([image[:1]] * 4), rows)[1]
        return found.shape != whole.shape or not torch.allclose(found, whole, rtol=1e-4)


def _exporting() -> bool:
    return torch.compiler.is_compiling()  # in torch.export, and in torch.onnx.export through it


def _example(model: nn.Module) -> Tensor:
    """An image that the first convolution takes; the same each time."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        raise ArgumentError("inputs: the model has no convolution to tell; pass an example")
    numbers = torch.arange(first.in_channels * SIDE * SIDE, device=first.weight.device)
    image = (numbers * 0.37).sin() + (numbers / 1000).cos()
    return image.reshape(1, first.in_channels, SIDE, SIDE).to(first.weight.dtype)


def _targets(target: Any, classes: int) -> list[int] | str | None:
    if target is None or target == "all":
        return None if target is None else "all"
    listed = [target] if isinstance(target, int) else target
    whole = isinstance(listed, (list, tuple)) and len(listed) > 0
    if not whole or not all(type(t) is int and 0 <= t < classes for t in listed):
        raise ArgumentError(
            f"target={target!r}: expected None, 'all', or class indices from 0 to {classes - 1}"
        )
    return list(listed)


def _classifier(
    model: nn.Module, layer: nn.Module, image: Tensor, maps: Tensor, scores: Tensor
) -> str | None:
    """The name of the linear layer that follows the pooling; None where the head is another."""
    try:
        LayerCam(model, layer).attribute(image, 0)
    except ArgumentError:
        return None
    pooled = maps.mean((2, 3))
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            continue
        matrix = module.weight.detach().flatten(1)
        if matrix.shape != (scores.shape[1], maps.shape[1]):
            continue
        bias = 0 if module.bias is None else module.bias.detach()
        if bool(((pooled @ matrix.T + bias - scores).abs() <= CLOSE * scores.abs().max()).all()):
            return str(name)
    return None
