"""How a unit depends on an earlier layer: the gradient from a frozen origin."""

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import Layer, find_layer
from captum_cnn_ext._engine.running.layer_recording import record
from captum_cnn_ext._engine.running.layer_sites import layer_sites
from captum_cnn_ext._numbers import as_count, as_count_or_none
from captum_cnn_ext.attr.layers.reshape_transform import channel_maps
from captum_cnn_ext.errors import ArgumentError


def unit_gradients(
    model: nn.Module,
    inputs: Tensor,
    layer: Layer,
    origin: Layer,
    channel: int,
    *,
    call: int | None = None,
    origin_call: int | None = None,
) -> Tensor:
    r"""The gradient of one channel of a later layer, by each unit of an earlier one.

    .. math:: \frac{\partial}{\partial A_l} \; \tfrac12 \sum_p u_p^2

    where *u* is the channel's map: its gradient weighted by its activations, as when the whole map
    is taken back to pixels.

    Cost: one forward pass up to the origin, one backward pass from it.

    Reference: Yosinski, Clune, Nguyen, Fuchs, Lipson, *Understanding Neural Networks Through Deep
    Visualization*, 2015, arXiv:1506.06579, whose toolbox freezes an origin and shows the gradient
    at any layer.

    Args:
        model: the network.
        inputs: (N, C, H, W).
        layer: where the gradient is taken, a module or its dotted name.
        origin: the later layer.
        channel: of the origin.
        call, origin_call: which call of a layer that runs several times; None is the last.

    Returns:
        ``(N, C, *positions)`` of the layer, detached.

    Raises:
        ArgumentError: a channel that there is not, or an origin that does not depend on the layer.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.insights import unit_gradients
        >>> x = torch.rand(1, 3, 64, 64)
        >>> unit_gradients(resnet18().eval(), x, "layer1", "layer3", channel=7).shape
        torch.Size([1, 64, 16, 16])
    """
    (here,) = layer_sites(model, find_layer(model, layer), False, call)
    origin_call = as_count_or_none("origin_call", origin_call, 0)
    (there,) = layer_sites(model, find_layer(model, origin, "origin"), False, origin_call)
    with record(model, [here, there], (inputs,), from_inputs=True) as recording:
        ours, theirs = recording.outputs(0)[0], recording.outputs(1)[0]
        units = channel_maps(theirs, (inputs,), there.name, None)
        if not 0 <= as_count("channel", channel, 0) < units.shape[1]:
            raise ArgumentError(
                f"channel={channel}: expected 0 to {units.shape[1] - 1}, the channels of "
                f"{there.name!r}"
            )
        score = units[:, channel].square().sum() / 2
        (gradient,) = torch.autograd.grad(score, ours, allow_unused=True)
    if gradient is None or here.module is there.module:
        raise ArgumentError(
            f"layer={here.name!r}: channel {channel} of {there.name!r} does not depend on it; "
            "expected a layer before the origin"
        )
    return channel_maps(gradient.detach(), (inputs,), here.name, None)
