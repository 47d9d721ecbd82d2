"""How often each method makes the host wait for a device, and what makes it wait more often."""

import functools
import warnings

import every_class
import models
import torch
from pretend_device import on_device, pretend, synchronisations, to_device
from torch import nn

from captum_cnn_ext import metrics, synthesis
from captum_cnn_ext.attr import DeconvNet

SIZES = {
    "base": {},
    "examples": {"examples": 6},
    "channels": {"channels": 16},
    "side": {"side": 16},
}


class Sized(nn.Module):
    """Two convolutions, pooling and a linear layer, of any width and for any size."""

    def __init__(self, channels):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, channels, 3, padding=1), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))

    def forward(self, x):
        return self.head(self.block(self.stem(x)))


def _all_channels(model, layer, x):
    return DeconvNet(model, layer).attribute(x, list(range(layer[0].out_channels)))


def _maximize(model, layer, x, steps=2):
    return synthesis.maximize(
        model, synthesis.Channel(layer, [1] * len(x)), tuple(x.shape[2:]), steps=steps
    )


OTHERS = {
    "DeconvNet, every channel": _all_channels,
    "maximize": _maximize,
    "maximize, more steps": functools.partial(_maximize, steps=6),
    "insertion": lambda model, layer, x: metrics.insertion(model, x, x, 1, steps=4),
    "insertion, more steps": lambda model, layer, x: metrics.insertion(model, x, x, 1, steps=12),
    "road": lambda model, layer, x: metrics.road(model, x, x, 1),
    "confidence": lambda model, layer, x: metrics.confidence(model, x, x, 1),
    "sparseness": lambda model, layer, x: metrics.sparseness(x, x),
}
NAMES = [*every_class.NAMES, *OTHERS]


def counts(name, examples=2, channels=4, side=8):
    """Times that the host waits for the device, in both directions, in one call."""
    if name == "LayerFeatureAblation":
        side //= 2  # a pass for each number of the layer
    model = models._seeded(Sized(channels)).float()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(examples, 2, side, side, generator=generator)
    with pretend(), warnings.catch_warnings(), synchronisations() as counted:
        warnings.simplefilter("ignore")
        to_device(model)
        layer, x = model.block, on_device(x)
        if name in OTHERS:
            OTHERS[name](model, layer, x)
        else:
            every_class.calls(model, layer, x)[name]()
    return counted.total()


def table(name):
    """The counts at the base size, and with more of one thing."""
    return {what: counts(name, **size) for what, size in SIZES.items()}
