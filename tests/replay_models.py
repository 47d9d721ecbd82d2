"""Networks that a careless replay gets wrong: in-place writes, aliases, branches, other orders."""

import models
import torch
import torch.nn.functional as F
from torch import nn


class WritesUnseen(models.Net):
    """The in-place ReLU's result is not used: what it wrote into is."""

    def features(self, x):
        out = self.norm(self.stem(x))
        self.relu(out)
        doubled = out * 2
        return self.block(out) + doubled


class ReadsBeforeTheWrite(models.Net):
    def features(self, x):
        out = self.norm(self.stem(x))
        before = out * 2
        self.relu(out)
        return self.block(out) + before + out


class WritesIntoGlue(models.Net):
    """A module writes into a tensor that no module gave."""

    def features(self, x):
        glue = self.stem(x) * 2
        self.relu(glue)
        return self.block(glue) + glue


class PassesThrough(models.Net):
    """Dropout gives its own input; the sum is written into both names."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout()

    def features(self, x):
        stem = self.stem(x)
        same = self.drop(stem)
        same += 1
        return self.block(stem) + same


class LaterAddition(models.Net):
    def features(self, x):
        identity = self.stem(x)
        out = self.block(identity)
        identity += out
        return self.relu(identity + self.norm(out))


class Windows(models.Net):
    """Modules whose first dimension is not the batch."""

    def __init__(self):
        super().__init__()
        self.inside = nn.Linear(6, 6)
        self.bias = nn.Linear(6, 6)

    def features(self, x):
        stem = self.stem(x)
        rows = self.inside(stem.flatten(0, 2))
        table = self.bias(torch.ones(5, 6, dtype=x.dtype))
        return self.block(rows.reshape(stem.shape) + table)


class Branches(models.Net):
    def __init__(self):
        super().__init__()
        self.other = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(inplace=True))

    def features(self, x):
        side = self.other(x)
        main = self.relu(self.block(self.stem(x)))
        return torch.cat([main[:, :2], side[:, 2:]], 1) * F.sigmoid(
            side.mean((1, 2, 3), keepdim=True)
        )


class Shared(models.Net):
    """The layer is called three times, inside and outside of a container."""

    def __init__(self):
        super().__init__()
        self.twice = nn.Sequential(self.block, nn.Tanh(), self.block)

    def features(self, x):
        return self.relu(self.block(self.twice(self.stem(x))))


class Nested(models.Net):
    """The layer runs inside a module that only refers to it."""

    class Holder(nn.Module):
        def __init__(self, hidden):
            super().__init__()
            self.hidden = [hidden]

        def forward(self, x):
            return self.hidden[0](x)

    def __init__(self):
        super().__init__()
        self.holder = self.Holder(self.block)

    def features(self, x):
        return self.relu(self.holder(self.stem(x)))


class OtherOrder(models.Net):
    """Which module comes first depends on the layer's values... and on how often it ran."""

    runs = 0

    def features(self, x):
        OtherOrder.runs += 1
        first, second = (self.stem, self.norm) if OtherOrder.runs == 1 else (self.norm_first, None)
        out = first(x)
        out = self.norm(out) if second else out
        return self.relu(self.block(out))

    def norm_first(self, x):
        return self.stem(self.relu(x.clone()))
