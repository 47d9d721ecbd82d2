"""Small networks for the checks, in float64: what happens around the layer ``block`` differs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 5


class Net(nn.Module):
    """Two convolutions and a head; what happens around the second convolution is the subject."""

    def __init__(self, head: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.block = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = head or nn.Sequential(
            nn.Flatten(), nn.Linear(4 * 5 * 6, 7), nn.Tanh(), nn.Linear(7, CLASSES)
        )

    def features(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.relu(self.block(F.relu(self.norm(self.stem(x))))))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.features(x)))


class Functional(Net):
    """The rectifier is a function that writes into the layer's output."""

    def features(self, x: Tensor) -> Tensor:
        return torch.relu_(self.block(F.relu(self.stem(x))))


class Residual(Net):
    """What is added is written into the layer's own output."""

    def features(self, x: Tensor) -> Tensor:
        identity = self.stem(x)
        out = self.block(identity)
        out += identity
        return cast(Tensor, self.relu(out))


class CalledTwice(Net):
    """``relu`` runs twice in one forward pass, as in torchvision's residual blocks."""

    def features(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.relu(self.block(self.relu(self.stem(x)))))


class GoesOnAnyway(Net):
    """A model that catches exceptions in its forward."""

    def forward(self, x: Tensor) -> Tensor:
        try:
            return cast(Tensor, self.head(self.features(x)))
        except Exception:
            return torch.zeros(len(x), CLASSES, dtype=x.dtype)


class WritesIntoInput(Net):
    """A model that changes the tensor it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.features(x.mul_(2))))


class OutOfPlace(Net):
    """The function of `Net`, with nothing written into what another operation made."""

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.block(F.relu(self.norm(self.stem(x)))))


class Doubled(OutOfPlace):
    """The function of `WritesIntoInput`."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x)


class Scaled(Net):
    """Takes a second argument, by which its input is multiplied."""

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return super().forward(scale * x)


class Dense(Net):
    """Scores at every position, as in segmentation: (N, classes, H, W)."""

    def __init__(self, head: nn.Module | None = None) -> None:
        super().__init__(nn.Conv2d(4, CLASSES, 1))


class OnePosition(Dense):
    """The scores of `Dense` at row 2, column 3: (N, classes)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :, 2, 3]


class Stops(nn.Module):
    """Stands in a layer's place and raises when it is called."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        raise self.error("from the middle of the forward pass")


@dataclass(frozen=True)
class Network:
    """A kind of network, and the layer of it that is explained."""

    kind: Callable[[nn.Module], nn.Module]
    layer: str = "block"


NETWORKS = {
    "batch norm, in-place": Network(Net),
    "functional": Network(Functional),
    "residual, in-place add": Network(Residual),
    "layer called twice": Network(CalledTwice, "relu"),
    "catches exceptions": Network(GoesOnAnyway),
}
OF_ONE_FUNCTION = ("batch norm, in-place", "catches exceptions")  # that of `OutOfPlace`
FIRST = "batch norm, in-place"


def build(kind: Callable[[nn.Module], nn.Module], training: bool = False) -> nn.Module:
    """A network of that kind that ends in pooling and a linear layer, always the same weights."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))
    model = kind(head)  # as every module, made in training mode
    return seeded(model if training else model.eval())


def seeded(module: nn.Module) -> nn.Module:
    """The same module in float64, with weights and statistics drawn from one seed."""
    generator = torch.Generator().manual_seed(7)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(
                0.6 * torch.randn(parameter.shape, generator=generator, device="cpu").double()
            )
        for name, buffer in module.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(
                    0.5 + torch.rand(buffer.shape, generator=generator, device="cpu").double()
                )
            elif name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator, device="cpu").double())
    return module


def image_batch(n: int = 3) -> Tensor:
    """The first n of the inputs, (n, 2, 5, 6), where tensors are made."""
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randn(n, 2, 5, 6, generator=generator, device="cpu").double()
    return drawn.to(torch.get_default_device())
