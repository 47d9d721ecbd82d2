"""CAM: the classifier's own weights on the maps that it pools."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.backward.autograd_graph import AVERAGING, LINEAR, RESHAPING
from captum_cnn_ext._engine.judging.arguments import Layer, find_layer
from captum_cnn_ext._engine.judging.captum_compat import TargetType
from captum_cnn_ext._engine.judging.output_targets import is_function, is_linear
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.judging.targets import select_score
from captum_cnn_ext._engine.running.batching import Chunk
from captum_cnn_ext._engine.running.layer_recording import Recording
from captum_cnn_ext.attr.cams.base import Evidence, Request
from captum_cnn_ext.attr.cams.gradient_base import GradientCam, T
from captum_cnn_ext.errors import ArgumentError, TargetError

_POOL = (*AVERAGING, "Div")


class LayerCam(GradientCam):
    r"""CAM: the classifier's own weights on the feature maps that it pools.

    .. math:: L_p = \sum_k W_{ck} A_{kp}

    This is CAM itself; LayerCAM (Jiang 2021) is `LayerLayerCam`, as Captum names its classes.

    Needs a network that ends in layer -> global average pooling -> (flatten, dropout) -> linear.
    That is read from the forward pass; where it is not so, the error says what was found, and
    ``classifier=`` names the linear layer to use. The mean of the map plus the classifier's bias
    is the logit.

    Cost: one forward pass, one backward pass of the tail; with ``classifier`` one forward pass.

    Reference: Zhou, Khosla, Lapedriza, Oliva, Torralba, *Learning Deep Features for
    Discriminative Localization*, 2016, arXiv:1512.04150.

    Args:
        layer: the layer whose output is pooled: a module or its dotted name.
        classifier: the ``Linear`` or 1x1 convolution whose weights are used, as a module or dotted
            name; None finds it in the forward pass.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerCam
        >>> model = resnet18().eval()
        >>> x = torch.randn(1, 3, 64, 64)
        >>> mean = LayerCam(model, "layer4").attribute(x, target=3).mean()
        >>> torch.allclose(mean + model.fc.bias[3], model(x)[0, 3], atol=1e-4)
        True
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        classifier: Layer | None = None,
    ) -> None:
        GradientCam.__init__(self, forward_func, layer, device_ids)
        self.classifier: nn.Module | None = None
        if classifier is not None:
            self.classifier = find_layer(forward_func, classifier, "classifier")
            if not isinstance(self.classifier, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
                raise TypeError(
                    "classifier: expected a Linear layer or a 1x1 convolution, got "
                    f"{type(self.classifier).__name__}"
                )

    def _each_target(
        self,
        chunk: Chunk,
        request: Request,
        targets: Sequence[TargetType],
        use: Callable[[list[Evidence]], T],
    ) -> list[T]:
        if self.classifier is None:
            return super()._each_target(chunk, request, targets, use)
        if request.create_graph:
            raise ArgumentError(
                "create_graph=True: with classifier= no gradient is taken; leave classifier out"
            )
        found = self._bare(chunk, request)
        return [
            use([replace(e, others=(self._rows(e.activation, target),)) for e in found])
            for target in targets
        ]

    def _found(self, recording: Recording, target: TargetType, request: Request) -> list[Evidence]:
        end = self._score(recording.output, target)
        if is_function(target) and _all_linear(target):
            end = output_tensor(recording.output)  # what comes after only adds scores up
        for i, site in enumerate(request.sites):
            _check_linear_head(recording.operations_after(i, end), site.name)
        return super()._found(recording, target, request)

    def _rows(self, activation: Tensor, target: TargetType) -> Tensor:
        """The classifier's weights for each example's target class, shape (N, K)."""
        assert self.classifier is not None
        matrix: Tensor = self.classifier.weight.detach().flatten(1)  # type: ignore[operator, union-attr]
        each = target if isinstance(target, list) else [target]
        if is_function(target):  # a sum of class scores has that sum of the classes' weights
            if not _all_linear(target):
                raise TargetError(
                    f"target={target!r}: classifier= reads the weights of classes; expected class "
                    "indices, or a Difference or Several of given classes; leave classifier out "
                    "for another target"
                )
            one_by_one = torch.stack([select_score(matrix.T, one) for one in each])
            rows = one_by_one.expand(len(activation), -1)
        else:
            classes = torch.arange(len(matrix), device=activation.device)
            rows = matrix[select_score(classes.expand(len(activation), -1), target)]
        if rows.shape[1] != activation.shape[1]:
            raise ArgumentError(
                f"classifier: its weights are for {rows.shape[1]} channels, but the layer gives "
                f"{activation.shape[1]}; expected the linear layer that follows the layer's pooling"
            )
        return rows

    def _weights(self, activations: Tensor, evidence: Tensor) -> Tensor:
        # through a global average pooling every position of a channel has the same gradient, W / P
        spread = evidence.amax(2) - evidence.amin(2)
        if len(spread) and spread.max() > 1e-4 * evidence.abs().max():
            raise ArgumentError(
                "LayerCam: positions of this layer do not count equally, so its pooling is not "
                "one global average; use LayerHiResCam, which equals CAM where CAM is defined"
            )
        return evidence.sum(2, keepdim=True)


def _all_linear(target: Any) -> bool:
    return all(map(is_linear, target if isinstance(target, list) else [target]))


def _check_linear_head(operations: list[str], layer: str) -> None:
    """Only pooling, one linear layer and changes of shape may stand between layer and score."""
    kinds = [name.split("Backward")[0] for name in operations]
    linear = [kind for kind in kinds if kind in LINEAR]
    other = sorted({k for k in kinds if k not in (*LINEAR, *RESHAPING) and not k.startswith(_POOL)})
    if other or len(linear) != 1:
        found = ", ".join(other) if other else f"{len(linear)} linear layers"
        raise ArgumentError(
            f"layer {layer!r}: CAM needs global average pooling and one linear layer between the "
            f"layer and the score; found {found}. Choose the layer that is pooled, name the linear "
            "layer with classifier=, or use LayerHiResCam."
        )
