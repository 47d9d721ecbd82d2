"""Micro-models with answers that can be worked out by hand, in float64."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext.testing.networks import (  # noqa: F401
    CalledTwice,
    Functional,
    GoesOnAnyway,
    Net,
    Residual,
    WritesIntoInput,
    image_batch,
    seeded,
)


class GapLinear(nn.Module):
    """conv -> ReLU -> global average -> linear, every weight written down."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False, dtype=torch.float64)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(2, 3, dtype=torch.float64)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -2.0]).reshape(2, 1, 1, 1))
            self.fc.weight.copy_(torch.tensor([[2.0, 4.0], [-8.0, 0.0], [1.0, -1.0]]))
            self.fc.bias.copy_(torch.tensor([0.5, -0.25, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.conv(x)).mean((2, 3)))


def _seeded(module: nn.Module) -> nn.Module:
    return seeded(module).eval()


class Split(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * 1.5, -x[:, :3]


class TupleOutput(Net):
    def __init__(self) -> None:
        super().__init__(nn.Linear(7, 5))
        self.split = Split()

    def features(self, x: Tensor) -> Tensor:
        first, second = self.split(self.block(self.stem(x)))
        return torch.cat([first.tanh().mean((2, 3)), (second**2).mean((2, 3))], 1)


class Join(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 4, 1)

    def forward(self, parts: list[Tensor]) -> Tensor:
        return self.conv(torch.cat(parts, 1))


class ListInput(Net):
    """A layer whose input is a list of tensors, as in DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.join = Join()

    def features(self, x: Tensor) -> Tensor:
        stem = self.stem(x)
        return self.relu(self.join([stem, self.block(stem)]))


class TwoInputs(Net):
    def forward(self, x: Tensor, y: Tensor, scale: float = 1.0) -> Tensor:
        return scale * self.head(self.features(x + y**2))


class Breaks(Net):
    """Raises after ``block``, in the middle of a forward pass."""

    def features(self, x: Tensor) -> Tensor:
        super().features(x)
        raise ArithmeticError("the model's own error")


class Unreached(Net):
    """``block`` is there but never called."""

    def features(self, x: Tensor) -> Tensor:
        return self.relu(self.stem(x))


class SideBranch(Net):
    """``block`` is called, but the output does not depend on it."""

    def features(self, x: Tensor) -> Tensor:
        self.block(self.stem(x))
        return self.relu(self.stem(x))


class ValueDependent(Net):
    """Calls ``block`` once or twice, depending on the values."""

    def features(self, x: Tensor) -> Tensor:
        out = self.block(self.stem(x))
        if out.sum() > -1e9:
            out = self.block(out)
        return self.relu(out)


class Noisy(Net):
    """Training-time behaviour: dropout and batch statistics."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(self.features(x), 0.5, self.training))


def build(kind: type[nn.Module]) -> nn.Module:
    """A seeded float64 network of that kind, in evaluation mode."""
    return _seeded(kind())


def as_detector(model: nn.Module):
    """Detections in torchvision's form from a network's five numbers: three boxes, two classes."""

    def detect(*args: Tensor) -> list[dict[str, Tensor]]:
        found = []
        for row in output_tensor(model(*args)):
            part = row.sigmoid()
            x, y = part[:3], part[1:4]
            boxes = torch.stack([x, y, x + 2 + part[2:5], y + 3], 1)
            labels = torch.arange(3, device=row.device) % 2
            found.append({"boxes": boxes, "labels": labels, "scores": part[:3]})
        return found

    return detect


def one_dimensional() -> nn.Module:
    return _seeded(
        nn.Sequential(
            nn.Conv1d(2, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(4, 4, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(36, 5),
        )
    )


def three_dimensional() -> nn.Module:
    return _seeded(
        nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    )
