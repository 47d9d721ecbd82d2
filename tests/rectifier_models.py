"""Micro-models in which rectifiers are written in every way that hooks on modules do not see."""

import torch
import torch.nn.functional as F
from models import _seeded
from torch import nn


class Wired(nn.Module):
    """Two convolutions and a head; what happens in between is the subject."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))

    def body(self, x):
        return self.relu(self.second(self.relu(self.first(x))))


class FunctionalRelu(Wired):
    def body(self, x):
        return F.relu(self.second(torch.relu(self.first(x)))).relu()


class PreActivation(Wired):
    """The rectifier's input is also the shortcut."""

    def body(self, x):
        h = self.first(x)
        return self.relu(h + self.second(self.relu(h)))


class TwoOnOneTensor(Wired):
    def body(self, x):
        h = self.first(x)
        return self.relu(self.second(F.relu(h) - 2 * self.relu(h) + 0.1 * h))


class ParallelBranches(Wired):
    """One module on two branches whose inputs are both there before it runs."""

    def body(self, x):
        a, b = self.first(x), self.first(-x)
        return self.second(self.relu(a) - self.relu(b))


class ReluFirst(Wired):
    def body(self, x):
        return self.relu(self.first(self.relu(x)))


class InPlace(Wired):
    """The result of ``relu_`` is thrown away; the next convolution sees its effect."""

    def body(self, x):
        h = self.first(x)
        h.relu_()
        h = self.second(h)
        F.relu_(h)
        return h


class InPlaceOnView(Wired):
    """An in-place ReLU on a view, as after an instance norm: its node is hidden."""

    def body(self, x):
        h = self.first(x)
        F.relu_(h.view(len(h), 4, -1))
        return F.relu(self.second(h))


class Relu6(Wired):
    def body(self, x):
        return F.relu6(self.second(F.relu6(9 * self.first(x))))


KINDS = {
    kind.__name__: kind
    for kind in (
        FunctionalRelu,
        PreActivation,
        TwoOnOneTensor,
        ParallelBranches,
        ReluFirst,
        InPlace,
        InPlaceOnView,
        Relu6,
    )
}


def build(kind):
    return _seeded(kind())


def stack(name):
    """Convolutional stacks in AlexNet's and in VGG's shape, float64."""
    if name == "alexnet":
        layers = [
            nn.Conv2d(3, 6, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(6, 8, 5, padding=2, groups=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(8, 8, 3, padding=1, dilation=1),
            nn.ReLU(),
        ]
    else:
        layers = [
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(inplace=True),
        ]
    return _seeded(nn.Sequential(*layers))


def photos(n=2, size=67):
    generator = torch.Generator().manual_seed(5)
    drawn = torch.randn(n, 3, size, size, generator=generator, device="cpu").double()
    return drawn.to(torch.get_default_device())
