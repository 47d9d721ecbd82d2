"""Receptive fields counted without the package: chains by hand, gradients, a literal sweep."""

import copy

import torch
import torch.nn.functional as F
from torch import nn


def chain_field(steps):
    """(size, stride, padding) of a chain of (kernel, stride, padding, dilation), as in a textbook:
    every kernel adds (k - 1) times the stride so far."""
    size, stride, padding = 1, 1, 0
    for kernel, step, pad, dilation in steps:
        size += (kernel - 1) * dilation * stride
        padding += pad * stride
        stride *= step
    return size, stride, padding


def all_ones(model):
    """The network with equal positive weights in float64: no gradient cancels or is cut off."""
    model = copy.deepcopy(model).double().eval()
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.constant_(weight, 1 / weight[0].numel())
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(weight)
        elif isinstance(module, nn.ReLU6):
            module.max_val = float("inf")
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)
    return model


def gradient_box(model, layer, image, position, monkeypatch):
    """((top, bottom), (left, right)) of the pixels with a gradient of all units at a position."""

    def average(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, **_):
        assert dilation in (1, (1, 1))
        return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)

    monkeypatch.setattr(F, "max_pool2d", average)  # a maximum has a gradient at one pixel only
    x = torch.ones(1, *image, dtype=torch.float64).requires_grad_()
    seen = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *a: seen.append(a[2]))
    model(x)
    handle.remove()
    seen[-1][0, :, position[0], position[1]].sum().backward()
    touched = (x.grad != 0).any(1)[0].nonzero()
    (top, left), (bottom, right) = touched.amin(0).tolist(), (touched.amax(0) + 1).tolist()
    return (top, bottom), (left, right)


def nan_box(model, layer, image, position):
    """The same by setting one row, then one column, to NaN at a time: H + W forward passes."""
    spans = []
    for axis in (0, 1):
        hit = []
        for pixel in range(image[1 + axis]):
            x = torch.zeros(1, *image)
            x.narrow(2 + axis, pixel, 1).fill_(float("nan"))
            seen = []
            handle = model.get_submodule(layer).register_forward_hook(lambda *a: seen.append(a[2]))  # noqa: B023
            with torch.no_grad():
                model(x)
            handle.remove()
            if seen[-1][0, :, position[0], position[1]].isnan().any():
                hit.append(pixel)
        spans.append((min(hit), max(hit) + 1) if hit else (0, 0))
    return tuple(spans)
