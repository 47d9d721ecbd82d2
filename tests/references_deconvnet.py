"""Deconvnet and guided reconstructions again: slow, literal, never importing the package.

``rectifiers_follow`` replaces every spelling of ReLU by a custom autograd Function while a model
runs. ``deconvnet_of_a_stack`` is the paper's deconvnet: it walks a stack of layers down again,
with explicit unpooling, rectification and transposed filters, and uses no autograd at all.
"""

from contextlib import contextmanager
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn


class _Ruled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, rule, low, high):
        ctx.save_for_backward(x)
        ctx.settings = rule, low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx, g):
        (x,), (rule, low, high) = ctx.saved_tensors, ctx.settings
        rising = (x > low) & (x < high)
        if rule == "gradient":
            g = g * rising
        elif rule == "deconvnet":
            g = torch.where(g > 0, g, 0)
        else:
            g = torch.where((g > 0) & rising, g, 0)
        return g, None, None, None


@contextmanager
def rectifiers_follow(rule):
    """Every way to write ReLU or ReLU6 has the rule in its backward inside the block."""

    def relu(x, inplace=False):
        return _Ruled.apply(x, rule, 0.0, float("inf"))

    def in_place(x):
        x.data  # noqa: B018
        return x.copy_(relu(x.clone()))

    def relu6(x, inplace=False):
        return _Ruled.apply(x, rule, 0.0, 6.0)

    with (
        mock.patch.object(F, "relu", relu),
        mock.patch.object(F, "relu_", in_place),
        mock.patch.object(F, "relu6", relu6),
        mock.patch.object(torch, "relu", relu),
        mock.patch.object(torch, "relu_", in_place),
        mock.patch.object(torch.Tensor, "relu", relu),
        mock.patch.object(torch.Tensor, "relu_", in_place),
        mock.patch.object(nn.ReLU, "forward", lambda self, x: relu(x)),
        mock.patch.object(nn.ReLU6, "forward", lambda self, x: relu6(x)),
    ):
        yield


def attribution(model, x, rule, select):
    """d select(model) / dx with the rule; ``select`` gets the model's output."""
    x = x.detach().clone().requires_grad_()
    with rectifiers_follow(rule):
        score = select(model(x * 1)).sum()
    (found,) = torch.autograd.grad(score, x)
    return found


def deconvnet_of_a_stack(layers, x, channel, seed):
    """The strongest unit (or the whole map) of one channel, down through a stack of layers."""
    going_up = []
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            y, switches = F.max_pool2d(
                x, layer.kernel_size, layer.stride, layer.padding, return_indices=True
            )
        else:
            y, switches = layer(x.clone()).detach(), None
        going_up.append((layer, x, switches))
        x = y
    r = torch.zeros_like(x)
    for n in range(len(x)):
        a = x[n, channel]
        if seed == "max":
            row, column = divmod(int(a.argmax()), a.shape[1])
            r[n, channel, row, column] = a[row, column]
        else:
            r[n, channel] = a
    for layer, before, switches in reversed(going_up):
        r = _down(layer, before, switches, r)
    return r


def _down(layer, before, switches, r):
    if isinstance(layer, nn.MaxPool2d):
        # scatter-add: where poolings overlap, one pixel may be the maximum of several windows
        flat = torch.zeros_like(before).flatten(2)
        return flat.scatter_add(2, switches.flatten(2), r.flatten(2)).reshape(before.shape)
    if isinstance(layer, nn.ReLU):
        return torch.where(r > 0, r, 0)
    if isinstance(layer, nn.BatchNorm2d):
        scale = layer.weight / (layer.running_var + layer.eps).sqrt()
        return (r * scale.reshape(1, -1, 1, 1)).detach()
    assert isinstance(layer, nn.Conv2d)
    lost = [
        (before.shape[2 + i] + 2 * p - d * (k - 1) - 1) % s
        for i, (p, d, k, s) in enumerate(
            zip(layer.padding, layer.dilation, layer.kernel_size, layer.stride, strict=True)
        )
    ]
    return F.conv_transpose2d(
        r, layer.weight, None, layer.stride, layer.padding, lost, layer.groups, layer.dilation
    ).detach()
