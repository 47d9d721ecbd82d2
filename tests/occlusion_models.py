"""Networks whose operations a tile must pass through, and some that no tape can hold."""

import torch
import torch.nn.functional as F
from torch import nn


def conv(i, o, k=3, **options):
    return nn.Conv2d(i, o, k, **options)


class Body(nn.Module):
    """Classifies whatever ``features`` gives by its mean and a flattened pooling."""

    def __init__(self):
        super().__init__()
        self.layers()
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class Strided(Body):
    def layers(self):
        self.one = conv(3, 6, 5, stride=2, padding=2)
        self.two = conv(6, 8, 3, stride=2, padding=1, dilation=2)
        self.three = conv(8, 8, 1, stride=2)

    def features(self, x):
        return self.three(F.relu(self.two(F.relu(self.one(x)))))


class Residual(Body):
    def layers(self):
        self.stem, self.norm = conv(3, 8, padding=1, bias=False), nn.BatchNorm2d(8)
        self.block = nn.Sequential(conv(8, 8, padding=1), nn.BatchNorm2d(8), nn.ReLU(True))
        self.last = nn.BatchNorm2d(8)

    def features(self, x):
        x = F.relu_(self.norm(self.stem(x)))
        out = self.block(x)
        out += x
        return F.silu(self.last(out))


class Pools(Body):
    def layers(self):
        self.one, self.two = conv(3, 8), conv(8, 8, groups=8, padding=1)
        self.max = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.padded = nn.MaxPool2d(3, 2, padding=1)
        self.mean = nn.AvgPool2d(3, 1, padding=1)

    def features(self, x):
        return self.padded(self.two(self.mean(self.max(self.one(x)))))


class UnevenPools(Body):
    """Averages over fewer positions at the border go on as whole maps."""

    def layers(self):
        self.one, self.two = conv(3, 8), conv(8, 8)

    def features(self, x):
        x = F.avg_pool2d(self.one(x), 3, 2, padding=1, count_include_pad=False)
        return F.avg_pool2d(self.two(x), 2, 2, ceil_mode=True)


class Dense(Body):
    def layers(self):
        self.one, self.two = conv(3, 4, padding=1), conv(7, 2, padding=1)
        self.three = conv(6, 5, 1)

    def features(self, x):
        first = torch.cat([x, self.one(x)], 1)
        second = F.hardtanh(self.two(first))
        left, right = torch.split(first, [3, 4], 1)
        third = self.three(torch.cat([second, right], 1))
        return torch.cat([third, left[:, 1:] * 0.5, second[:, :1]], 1)


class SqueezeExcitation(Body):
    def layers(self):
        self.one, self.squeeze, self.excite = conv(3, 8), conv(8, 2, 1), conv(2, 8, 1)

    def features(self, x):
        x = F.hardswish(self.one(x))
        gate = F.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(gate))))


class Padded(Body):
    def layers(self):
        self.one, self.two = conv(3, 8, stride=2), conv(8, 8)
        self.slopes = nn.PReLU(8)

    def features(self, x):
        x = self.slopes(self.one(F.pad(x, (0, 1, 1, 2), value=0.3)))
        return self.two(F.pad(x, (1, 1, 1, 1), mode="reflect"))


class Plain(Body):
    """Shuffled channels, a view and a position map: whole maps from some depth on."""

    def layers(self):
        self.one, self.two = conv(3, 8, padding=1), conv(8, 8)
        self.register_buffer("places", torch.linspace(-1, 1, 23)[:, None] * torch.ones(1, 1, 1, 21))

    def features(self, x):
        x = self.one(x) + self.places
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.two(x)


class Flat(Body):
    """A head of positions, with a token for each example."""

    def layers(self):
        self.one, self.out = conv(3, 2, stride=4), nn.Linear(2, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 2))

    def features(self, x):
        tokens = self.one(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        return self.out(F.layer_norm(tokens, (2,))).transpose(1, 2).unsqueeze(-1)


class LooksAtValues(Body):
    def layers(self):
        self.one = conv(3, 8)

    def features(self, x):
        x = self.one(x)
        return x if x.sum() > 0 else -x


class WritesThroughAView(Body):
    def layers(self):
        self.one = conv(3, 8)

    def features(self, x):
        x = self.one(x)
        first = x[:, :4]
        first.relu_()
        return x


class FillsABuffer(Body):
    def layers(self):
        self.one = conv(3, 8)

    def features(self, x):
        x = self.one(x)
        buffer = torch.zeros_like(x)
        buffer.copy_(x)
        return buffer


class MixesItsBatch(Body):
    def layers(self):
        self.one = conv(3, 8)

    def features(self, x):
        x = self.one(x)
        return x - x.mean(0) / 1000


class Draws(Body):
    def layers(self):
        self.one = conv(3, 8)

    def features(self, x):
        return F.dropout(self.one(x), 1e-9, training=True)


FOLLOWED = [
    Strided, Residual, Pools, UnevenPools, Dense, SqueezeExcitation, Padded, Plain, Flat,
]  # fmt: skip
REFUSED = {
    LooksAtValues: "takes a value out",
    WritesThroughAView: "written through one view",
    FillsABuffer: "writes",
    MixesItsBatch: "not the examples|does not begin|number of examples",
    Draws: "draws random numbers|training mode",
}


def build(cls, seed=0):
    """The network with weights and batch norms worth looking at, float64, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    model = cls().double().eval()
    for parameter in model.parameters():
        drawn = torch.randn(parameter.shape, generator=generator, device="cpu").double() * 0.3
        parameter.data.copy_(drawn)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(module.running_mean.to("cpu").normal_(generator=generator))
            drawn = module.running_var.to("cpu").uniform_(0.5, 2, generator=generator)
            module.running_var.copy_(drawn)
    return model


def images(count=2, size=(23, 21), seed=1):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, 3, *size, generator=generator, device="cpu").double()
    return drawn.to(torch.get_default_device())
